"""Further looks at a candidate: more answers where those that are in cannot tell, at what the policy left of alpha.

A look that the policy reads before all planned answers are in is followed by the next of itself. One beyond the plan
costs more than was planned: it waits for a person.
"""

import math
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from tasks.errors import Conflict
from tasks.models.events import Subject, record
from tasks.services.access import require_role
from tasks.states import Role
from trainer.contract import Sampling
from trainer.evaluation.policy import policy_from
from trainer.models import Alias, Evaluation, GateReport, Line
from trainer.services import contamination, policies, suites, wake
from trainer.states import AliasName, EvaluationState, Verdict

SEEDS_APART = 1_000_003  # a look's answers have a seed of their own; versions have theirs one after another
_LEFT = [EvaluationState.FAILED, EvaluationState.CANCELLED]


@dataclass(frozen=True, slots=True)
class Offer:
    """What the next look would ask of each side."""

    look: int
    of: int
    sizes: dict[str, int]  # suite → all its items then
    more_items: int
    answers: int  # of each item that is asked: of the new ones where there are any, else of all of them once more

    @property
    def sentence(self) -> str:
        what = (
            f"{self.more_items:,} more items × {self.answers} answers"
            if self.more_items
            else f"{self.answers} more answers to each of the {sum(self.sizes.values()):,} items"
        )
        return f"Run {what} (look {self.look} of {self.of})"


def offer(report: GateReport) -> Offer | None:
    """What going on would run; None where the verdict is another or all of alpha is spent."""
    evaluation = report.evaluation
    policy = policy_from(evaluation.policy)
    if report.verdict != Verdict.INCONCLUSIVE or evaluation.look >= len(policy.looks) or not _helps(report):
        return None
    before, following = policy.looks[evaluation.look - 1], policy.looks[evaluation.look]
    now = {suite.name: suite.item_count for suite in evaluation.suites.all()}
    available = suites.available(evaluation.line)
    planned = {suite["suite"]: int(suite["n"]) for suite in evaluation.plan.get("suites", [])}
    wanted = {name: max(math.ceil(following * planned.get(name, size)), size) for name, size in now.items()}
    sizes = {name: max(min(wanted[name], available.get(name, 0)), size) for name, size in now.items()}
    more, lacking = (sum(some.values()) - sum(now.values()) for some in (sizes, wanted))
    look, of = evaluation.look + 1, len(policy.looks)
    if more and 2 * more >= lacking:
        return Offer(look, of, sizes, more, _answered(evaluation))
    return Offer(look, of, now, 0, max(math.ceil((following - before) * _planned(evaluation)), 1))


_NO_REMEDY = {"errors_decide", "scorer_gap_inconclusive"}  # a grader is to be repaired


def _helps(report: GateReport) -> bool:
    """Whether more answers could settle any of what is open."""
    codes = {reason["code"] for reason in report.decision.get("reasons", [])}
    return not codes or bool(codes - _NO_REMEDY)


def go_on(report: GateReport, *, actor: Any) -> Evaluation:
    """Queue the next look. The policy and the champion must be those of the looks before."""
    evaluation = report.evaluation
    line = evaluation.line
    require_role(actor, line.team, Role.OPERATOR)
    with transaction.atomic():
        line = Line.objects.select_for_update().get(pk=line.pk)
        if running := evaluation.extensions.exclude(state__in=_LEFT).first():
            return running
        offered = _allowed(line, report)
        seen = contamination.imported(line, [evaluation.champion, evaluation.candidate, evaluation.anchor])
        left_out = {name: found.keys for name, found in seen.items()}
        frozen = [
            suites.extend(suite, offered.sizes[suite.name], without=left_out.get(suite.name, ()))
            for suite in evaluation.suites.order_by("name")
        ]  # the very suites again, where nothing is added
        extension = Evaluation.objects.create(
            line=line,
            candidate=evaluation.candidate,
            champion=evaluation.champion,
            anchor=evaluation.anchor,
            requested_by=actor,
            extends=evaluation,
            look=offered.look,
            sampling=msgspec.to_builtins(_sampling(evaluation, offered)),
            policy=evaluation.policy,
            policy_digest=evaluation.policy_digest,
            plan=evaluation.plan,
            exposure=evaluation.exposure,
        )
        extension.suites.set(frozen)
        record(
            "evaluation.queued",
            subject=Subject("evaluation", str(extension.pk)),
            team=line.team_id,
            actor=actor,
            data={"extends": evaluation.pk, "look": offered.look, "candidate": evaluation.candidate.name},
        )
        wake.supervisor()
    return extension


def due() -> QuerySet[GateReport]:
    """Reports that cannot tell while planned answers are missing, on lines that evaluate by themselves.

    Asked at every pass of supervision: what has been followed, or never can be for its champion is another by now, is
    not among them.
    """
    followed = Evaluation.objects.filter(extends=OuterRef("evaluation"))
    reigning = Alias.objects.filter(
        line=OuterRef("line"), name=AliasName.CHAMPION, version=OuterRef("evaluation__champion")
    )
    return (
        GateReport.objects.filter(verdict=Verdict.INCONCLUSIVE, line__auto_evaluate=True, decision__look__next__lte=1)
        .filter(~Exists(followed), Exists(reigning))
        .select_related("evaluation__line__team", "evaluation__candidate", "evaluation__champion")
        .order_by("pk")
    )


def within_plan(report: GateReport) -> bool:
    """Whether the next look still belongs to what was planned."""
    policy = policy_from(report.evaluation.policy)
    at = report.evaluation.look
    return at < len(policy.looks) and policy.looks[at] <= 1


def _allowed(line: Line, report: GateReport) -> Offer:
    evaluation = report.evaluation
    if not policies.still_holds(report):
        raise Conflict("policy_changed", "The policy has changed since: evaluate the candidate anew under it.")
    if line.alias(AliasName.CHAMPION).pk != evaluation.champion_id:
        raise Conflict("stale_report", "The champion has changed since: evaluate the candidate against it.")
    offered = offer(report)
    if offered is None:
        raise Conflict(
            "no_look_left",
            f"There is no further look at {evaluation.candidate.name}: only an INCONCLUSIVE report is followed by one, "
            "and only where the policy declares it before (looks: [1, 2]).",
        )
    return offered


def _planned(evaluation: Evaluation) -> int:
    """Answers of each item that were planned, on one side."""
    return int(evaluation.plan.get("answers_per_item") or evaluation.sampling["answers_per_item"])


def _answered(evaluation: Evaluation) -> int:
    """Answers of each item by now, on one side."""
    decision = evaluation.report.decision
    return max(row["answers_per_item"] for row in decision["rows"])


def _sampling(evaluation: Evaluation, offered: Offer) -> Sampling:
    before = msgspec.convert(evaluation.sampling, Sampling)
    seed = before.seed + SEEDS_APART
    return msgspec.structs.replace(before, answers_per_item=offered.answers, seed=seed)
