"""What an evaluation on a line takes, from what earlier ones showed of its champion and of the machine."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from django.db.models import Q

from trainer.contract import Sampling
from trainer.evaluation.planning import Plan
from trainer.evaluation.policy import GatePolicy, Known, plan_for, with_guards
from trainer.models import Evaluation, GateReport, Line
from trainer.services import usage
from trainer.states import AliasName, EvaluationState, Verdict

FEWEST_CLUSTERS = 50  # of a row that tells how noisy a side is
NEWEST = 5  # evaluations that a pace is taken from


@dataclass(frozen=True, slots=True)
class Planned:
    policy: GatePolicy  # with its guards
    plan: Plan
    known: Mapping[str, Known]
    sides: int  # that answer: champion and candidate, and an anchor that is neither

    @property
    def answers(self) -> int:
        return self.plan.answers * self.sides


def planned(line: Line, policy: GatePolicy, available: Mapping[str, int]) -> Planned:
    """`available`: suite → sealed items."""
    known = champion_on(line, policy)
    guarded = with_guards(policy, available)
    anchor, champion = line.alias(AliasName.ANCHOR), line.alias(AliasName.CHAMPION)
    sides = 2 if anchor is None or anchor.pk == champion.pk else 3
    return Planned(guarded, plan_for(guarded, available, known=known), known, sides)


def champion_on(line: Line, policy: GatePolicy) -> dict[str, Known]:
    """Suite → what the newest valid comparison that today's champion took part in showed of it."""
    champion = line.alias(AliasName.CHAMPION)
    part = Q(evaluation__candidate=champion) | Q(evaluation__champion=champion)
    reports = GateReport.objects.filter(part, line=line).exclude(verdict=Verdict.INVALID).defer("flips").order_by("-pk")
    report = reports.select_related("evaluation").first()
    if report is None or champion is None:
        return {}
    side = "candidate" if report.evaluation.candidate_id == champion.pk else "champion"
    found = {}
    for row in report.decision.get("rows", []):  # as it was kept: of an earlier release it may say less
        guard = policy.guard(row["suite"])
        reading = (guard.compares if guard else None) or policy.compares
        if row.get("clusters", 0) >= FEWEST_CLUSTERS and row.get("compares") == reading:
            found[row["suite"]] = Known(row[side]["mean"], row[side].get("within"))
    return found


def seconds_for(line: Line, answers: int) -> float | None:
    """Of wall time for so many answers, by the newest evaluations of the line; None before the first."""
    whole = Evaluation.objects.filter(line=line, state=EvaluationState.SUCCEEDED, extends=None)
    done = whole.order_by("-pk")[:NEWEST]
    given = seconds = 0.0
    for evaluation in done:
        given += _asked(evaluation)
        seconds += usage.seconds_of("evaluation", evaluation.pk)
    return answers * seconds / given if given and seconds else None


def _asked(evaluation: Evaluation) -> int:
    """Answers that were asked of all sides; those that were known are none."""
    size = dict(evaluation.suites.values_list("name", "item_count"))
    sides = 2 if evaluation.anchor_id is None else 3
    known = evaluation.answered.exclude(taken_from=None).values_list("suite", flat=True)
    items = sides * sum(size.values()) - sum(size.get(name, 0) for name in known)
    return items * msgspec.convert(evaluation.sampling, Sampling).answers_per_item
