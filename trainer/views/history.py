"""How good each champion of a line was, from the gate reports that made or tested it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.models import AliasMove, GateReport, Line
from trainer.states import AliasName


@dataclass(frozen=True, slots=True)
class Score:
    """A champion's score on the line's target suite, with the interval of its report."""

    name: str  # "shared/v3"
    mean: float
    low: float
    high: float
    n: int
    report: int
    at: Any


def champion_scores(line: Line) -> list[Score]:
    """Oldest first; the base counts with the first report that measured it."""
    champions: list[int] = []
    for move in AliasMove.objects.filter(line=line, name=AliasName.CHAMPION).order_by("pk"):
        if move.new_id not in champions:
            champions.append(move.new_id)
    measured: dict[int, Score] = {}
    reports = GateReport.objects.filter(line=line).select_related("evaluation__candidate", "evaluation__champion")
    for report in reports.order_by("pk"):
        row = target_row(report.decision)
        if row is None:
            continue
        for side in ("champion", "candidate"):
            version = getattr(report.evaluation, side)
            version.line = line
            rate = row[side]
            measured.setdefault(
                version.pk,
                Score(version.name, rate["mean"], rate["low"], rate["high"], row["n"], report.pk, report.created_at),
            )
    return [measured[pk] for pk in champions if pk in measured]


def target_row(decision: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((row for row in decision.get("rows", ()) if row["role"] == "target"), None)


def finding(scores: list[Score]) -> str:
    """What the curve of champions shows."""
    if not scores:
        return "No champion has been measured yet: the first gate report draws the first points."
    first, last = scores[0], scores[-1]
    if len(scores) == 1:
        return f"{last.name} answers {100 * last.mean:.1f} % of the held-out items; it has not been beaten yet."
    gain = 100 * (last.mean - first.mean)
    apart = "the intervals do not overlap" if last.low > first.high else "the intervals overlap"
    return f"From {first.name} to {last.name} the champion gained {gain:+.1f} pp; {apart}.".replace("-", "−")
