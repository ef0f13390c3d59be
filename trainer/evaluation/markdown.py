"""A decision as Markdown: for a terminal, a pull request, or a file beside the model."""

from collections.abc import Iterator

from trainer.evaluation.costs import Cost
from trainer.evaluation.decision import GateDecision, GateRow, Taken
from trainer.evaluation.exposure import Exposure
from trainer.evaluation.finding import Finding
from trainer.evaluation.invariants import Invariant
from trainer.evaluation.points import pp
from trainer.evaluation.scorer_gap import GapAtStep, ScorerGap

FINDINGS = {
    Finding.PASS: "passes",
    Finding.HOLD: "holds",
    Finding.INCONCLUSIVE: "cannot tell",
    Finding.WATCHED: "watched",
}


def lines(decision: GateDecision) -> Iterator[str]:
    """Verdict and sentence, the reasons, then a row for every suite and what it was compared with."""
    yield f"# {decision.verdict.value}"
    yield ""
    yield decision.sentence
    yield ""
    for reason in decision.reasons:
        yield f"- {reason.sentence}"
    if decision.look and decision.look.of > 1:
        yield from ["", _look(decision.look)]
    if warnings := [one.warning for one in decision.exposure if one.warning]:
        yield from ["", *(f"- {warning}" for warning in warnings)]
    if decision.rows:
        yield from ["", *_table(decision)]
    others: list[Invariant | ScorerGap | Cost] = [*decision.invariants, *decision.gaps, *decision.costs]
    if others:
        yield from ["", *(f"- {FINDINGS[one.finding]}: {one.sentence}" for one in others)]
    if decision.gap_steps:
        yield from ["", *_over_steps(decision.gap_steps)]
    if decision.sign_off:
        yield from ["", "The policy asks for a sign-off: a person confirms before anything moves."]
    yield ""
    yield f"Policy {decision.policy[:12]}"
    exposed = {one.suite: one for one in decision.exposure}
    for suite, digest in sorted(decision.digests.suites.items()):
        yield f"Suite {suite} {digest[:12]}{_exposed(exposed.get(suite))}"


def _exposed(exposure: Exposure | None) -> str:
    return f", {' '.join([exposure.share, *exposure.notes])}" if exposure else ""


def _over_steps(steps: list[GapAtStep]) -> Iterator[str]:
    yield _cells(["step of the run", "answers", "paid by training, %", "by the independent grader, %"])
    yield "|---:|---:|---:|---:|"
    for one in steps:
        yield _cells([str(one.step), str(one.answers), pp(one.reward), pp(one.independent)])


def _look(look: Taken) -> str:
    told = f"Look {look.number} of {look.of}: {look.spent:.3g} of a one-sided alpha of {look.whole:.3g} is spent."
    return told if look.next is None else f"{told} The next one reads {look.next:g} times the planned answers."


def _table(decision: GateDecision) -> Iterator[str]:
    level = f"{100 * (1 - 2 * decision.alpha):.3g} %"
    heads = ["suite", "role", "items × answers", "champion %", "candidate %", "difference, pp", f"{level} interval"]
    yield _cells([*heads, "must be above", "smallest effect seen", "finding"])
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---|"
    for row in decision.rows:
        yield from _rows(row)


def _rows(row: GateRow) -> Iterator[str]:
    cells = [
        row.suite,
        row.role,
        f"{row.n:,} × {row.answers_per_item}",
        pp(row.champion.mean),
        pp(row.candidate.mean),
        pp(row.difference),
        f"{pp(row.low)} to {pp(row.high)}",
        "–" if row.role == "watched" else pp(row.threshold),
        pp(row.minimal_effect),
        FINDINGS[row.finding],
    ]
    yield _cells(cells)
    if row.anchor:
        interval = f"{pp(row.anchor.low)} to {pp(row.anchor.high)}"
        against = pp(row.anchor.difference)
        found = FINDINGS[row.anchor.finding]
        yield _cells(
            [row.suite, "against the anchor", "", "", "", against, interval, pp(row.anchor.threshold), "", found]
        )


def _cells(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
