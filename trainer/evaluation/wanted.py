"""Which domains more tasks are wanted of, and why: where the champion fails, and where there is too little to train on
or to measure by.

A domain whose held-out items the champion answers nearly always is not wanted, however thin it is: more of the same
would teach nothing and guard little.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tasks.splits import SEALED_PERCENT, VALIDATION_PERCENT
from trainer.evaluation.decision import Rate

FAILS_BELOW = 0.5  # the whole interval of its rate lies under it: at best every other item is answered right
SOLVED_FROM = 0.9  # the whole interval lies from here up: nine of ten at the least
FEWEST_UNTAUGHT = 320  # five steps of 64 prompts (trainer.presets): of fewer the same one comes again at once
_TRAIN_PERCENT = 100 - SEALED_PERCENT - VALIDATION_PERCENT

RULE = (
    "First the domains where the champion fails, the lowest upper end of its interval first; then those too thin for "
    "training, the fewest untaught rows first; then those too thin for measuring, the smallest share of the sealed "
    "rows that are needed first; last those that are not wanted."
)


class Reason(StrEnum):
    """Why tasks of a domain are wanted. The first that holds places the domain."""

    FAILS = "champion fails"
    THIN_TRAINING = "thin for training"
    THIN_MEASURING = "thin for measuring"
    COVERED = "covered"  # not wanted: nothing of these
    NEARLY_SOLVED = "nearly solved"  # not wanted


UNWANTED = frozenset({Reason.COVERED, Reason.NEARLY_SOLVED})


@dataclass(frozen=True, slots=True)
class Coverage:
    """What there is of a domain."""

    domain: str
    rows: int = 0  # approved, of the training split
    measured: int = 0  # of these: the champion was asked them
    solved: int = 0  # of these: right too often to teach (trainer.mixing.Band)
    sealed: int = 0  # approved, of the sealed split, each prompt once
    needed: int | None = 0  # sealed rows at which the guard sees its margin; None: no number is enough
    rate: Rate | None = None  # of the champion on the suite; None: not measured yet
    items: int = 0  # of the suite, in the report that the rate is of

    @property
    def teaching(self) -> int:
        """Known to lie in the zone that teaches."""
        return self.measured - self.solved

    @property
    def untaught(self) -> int:
        """What a mixture may take: rows that are not known to be solved."""
        return self.rows - self.solved


@dataclass(frozen=True, slots=True)
class Wanted:
    """A domain's place on the list. `sentences`: one for each of the reasons."""

    have: Coverage
    reasons: tuple[Reason, ...]
    sentences: tuple[str, ...]
    more: int  # rows of all splits that would end its thinness, about; 0: it is not thin

    @property
    def reason(self) -> Reason:
        return self.reasons[0]

    @property
    def is_wanted(self) -> bool:
        return self.reason not in UNWANTED


def judged(have: Coverage) -> Wanted:
    reasons = _reasons(have)
    more = 0 if reasons[0] in UNWANTED else _more(have)
    return Wanted(have, reasons, tuple(_sentence(reason, have) for reason in reasons), more)


def ordered(domains: Iterable[Coverage]) -> list[Wanted]:
    """By RULE; the name decides between equals."""
    return sorted(map(judged, domains), key=_place)


def _reasons(have: Coverage) -> tuple[Reason, ...]:
    if have.rate is not None and have.rate.low >= SOLVED_FROM:
        return (Reason.NEARLY_SOLVED,)
    found = (
        (Reason.FAILS, have.rate is not None and have.rate.high < FAILS_BELOW),
        (Reason.THIN_TRAINING, have.untaught < FEWEST_UNTAUGHT),
        (Reason.THIN_MEASURING, have.needed is None or have.sealed < have.needed),
    )
    return tuple(reason for reason, holds in found if holds) or (Reason.COVERED,)


def _more(have: Coverage) -> int:
    """A tenth of all prompts is sealed and eight tenths train, by chance: so many more are about enough for both."""
    train = max(FEWEST_UNTAUGHT - have.untaught, 0) * 100 / _TRAIN_PERCENT
    sealed = max((have.needed or 0) - have.sealed, 0) * 100 / SEALED_PERCENT
    return math.ceil(max(train, sealed))


def _place(one: Wanted) -> tuple[int, float, str]:
    have, rank = one.have, list(Reason).index(one.reason)
    match one.reason:
        case Reason.THIN_TRAINING:
            within: float = have.untaught
        case Reason.THIN_MEASURING:
            within = have.sealed / have.needed if have.needed else 0.0
        case _:
            within = have.rate.high if have.rate else 1.0
    return rank, within, have.domain


def _sentence(reason: Reason, have: Coverage) -> str:
    if have.rate is not None and reason in (Reason.FAILS, Reason.NEARLY_SOLVED):
        fails = reason is Reason.FAILS
        end = f"at best {_percent(have.rate.high)}" if fails else f"at least {_percent(have.rate.low)}"
        return f"The champion answers {_percent(have.rate.mean)} of the held-out items, {end}."
    if reason is Reason.THIN_TRAINING:
        return f"{_rows(have.untaught)} can still teach; {FEWEST_UNTAUGHT} are five steps of training."
    if reason is Reason.COVERED:
        return "Rows enough to train on and to measure by, and the champion does not fail."
    if have.needed is None:
        return "Under the gate's policy no number of sealed rows is enough to see a fall."
    return f"{_rows(have.sealed, 'sealed ')} of the {have.needed:,} that its guard needs to see its margin."


def _rows(count: int, kind: str = "") -> str:
    return f"{count:,} {kind}row{'' if count == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def finding(rows: Sequence[Wanted]) -> str:
    """The list in one sentence."""
    if not rows:
        return "No domain has an approved task yet: the first upload opens the list."
    wanted = [one for one in rows if one.is_wanted]
    if not wanted:
        return f"None of {_domains(len(rows))} is wanted: the champion fails nowhere, and nothing is thin."
    counts = {reason: sum(one.reason is reason for one in wanted) for reason in Reason if reason not in UNWANTED}
    told = ", ".join(f"{count} {_TOLD[reason]}" for reason, count in counts.items() if count)
    return f"{len(wanted)} of {_domains(len(rows))} {'is' if len(wanted) == 1 else 'are'} wanted: {told}."


_TOLD = {
    Reason.FAILS: "where the champion fails",
    Reason.THIN_TRAINING: "too thin for training",
    Reason.THIN_MEASURING: "too thin for measuring",
}


def _domains(count: int) -> str:
    return f"{count:,} domain{'' if count == 1 else 's'}"


def facts(row: Wanted) -> dict[str, Any]:
    """A domain for files and programs. No prompt, no team, no dataset: figures."""
    have = row.have
    return {
        "domain": have.domain,
        "wanted": row.is_wanted,
        "reasons": [reason.value for reason in row.reasons],
        "sentences": list(row.sentences),
        "rate": have.rate.mean if have.rate else None,
        "low": have.rate.low if have.rate else None,
        "high": have.rate.high if have.rate else None,
        "items": have.items,
        "rows": have.rows,
        "untaught": have.untaught,
        "measured": have.measured,
        "teaching": have.teaching,
        "solved": have.solved,
        "sealed": have.sealed,
        "needed": have.needed,
        "more": row.more,
    }
