"""The gate's sentences. Every number in them is in the rows; 1 pp is 0.01 in score units."""

import math
from collections.abc import Sequence

from trainer.evaluation.decision import GateRow
from trainer.evaluation.finding import Finding
from trainer.evaluation.planning import More
from trainer.evaluation.points import pp
from trainer.evaluation.policy import GatePolicy
from trainer.states import Verdict


def _limit(margin: float) -> str:
    return f"{100 * margin:.3g} pp"


def _interval(row: GateRow, policy: GatePolicy) -> str:
    return f"{100 * (1 - 2 * policy.alpha):.3g} % CI {pp(row.low)} to {pp(row.high)}"


def row_sentence(row: GateRow, policy: GatePolicy) -> str:
    shown = f"{row.suite}: {pp(row.difference)} pp ({_interval(row, policy)})"
    if row.finding is Finding.WATCHED and row.role == "guard":
        return f"{shown}; no fall is shown, nor that there is none beyond {_limit(row.margin)}: only a shown one holds."
    if row.finding is Finding.HOLD and row.undecided_because:
        return f"{shown}; it fell. Whether by more than {_limit(row.margin)} cannot be told: here a shown fall holds."
    if row.finding is Finding.WATCHED:
        return f"{shown}; watched, decides nothing."
    if row.finding is Finding.INCONCLUSIVE:
        return f"{shown}; {_doubt(row)}"
    if row.anchor and row.anchor.finding is Finding.HOLD:
        fall = f"{pp(row.anchor.difference)} pp ({pp(row.anchor.low)} to {pp(row.anchor.high)})"
        return f"{shown}; against the anchor {fall}, beyond its margin of {_limit(-row.anchor.threshold)}."
    if row.role == "target":
        asked = "better" if row.threshold == 0 else f"better by more than {_limit(row.threshold)}"
        return f"{shown}; {asked}." if row.finding is Finding.PASS else f"{shown}; not {asked}."
    if row.finding is Finding.PASS:
        return f"{shown}; cannot be worse than {_limit(row.margin)}."
    return f"{shown}; worse by more than its margin of {_limit(row.margin)}."


def _doubt(row: GateRow) -> str:
    """What keeps a row undecided and what would settle it."""
    if row.undecided_because == "errors_decide":
        return "the answers that could not be graded decide it: repair the grader and evaluate again."
    if row.undecided_because == "too_few_clusters":
        return f"only {row.clusters} independent items, at least {row.more_items} more are needed."
    if not row.undecided_because:
        return "the comparison with the anchor cannot tell yet."
    wanted = f"at most {_limit(row.margin)} worse" if row.role == "guard" else f"above {_limit(row.threshold)}"
    question = f"it cannot be told whether it is {wanted}."
    if row.undecided_because == "permutation_disagrees":
        question = "the interval and the permutation test disagree."
    more = More(items=row.more_items, answers_per_item=row.more_answers)
    return f"{question} {more.sentence(row.answers_per_item)}"


def _guarded(guards: Sequence[GateRow]) -> str:
    small = sum(row.finding is Finding.WATCHED for row in guards)
    unproven = f"on {small} suite{'' if small == 1 else 's'} no fall is shown, where no proof was asked"
    margin = max((row.margin for row in guards if row.finding is Finding.PASS), default=math.nan)
    if not math.isnan(margin):
        proven = f"no guard can be worse than {_limit(margin)}"
        return f"{proven}; {unproven}" if small else proven
    return unproven if small else "there is no guard"


def headline(verdict: Verdict, rows: Sequence[GateRow], policy: GatePolicy, checks: Sequence[str] = ()) -> str:
    """The one honest sentence on top of a report. `checks`: sentences of other parts that decide."""
    if verdict is Verdict.PROMOTE:
        target = next(row for row in rows if row.role == "target")
        better = f"Better by {pp(target.difference)} pp on the target ({_interval(target, policy)})"
        return f"{better}; {_guarded([row for row in rows if row.role == 'guard'])}."
    deciding = Finding.HOLD if verdict is Verdict.HOLD else Finding.INCONCLUSIVE
    told = [*(row.sentence for row in rows if row.finding is deciding), *checks]
    opening = "Held" if verdict is Verdict.HOLD else "Cannot tell yet"
    others = ("", " One more finding likewise.", f" {len(told) - 1} more findings likewise.")[min(len(told) - 1, 2)]
    return f"{opening}: {told[0]}{others}"
