"""Evaluations: champion and candidate on the same sealed items, planned before they run."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from tasks.errors import Conflict
from tasks.graders.registry import asks_a_model
from tasks.models.events import Subject, record
from tasks.services.access import require_role
from tasks.states import Role
from trainer.contract import EvalItem, EvaluateSpec, Result, Sampling, encode
from trainer.evaluation.planning import Plan
from trainer.evaluation.policy import GatePolicy
from trainer.evaluation.scoring import OVERALL
from trainer.evaluation.suites import suite_digest
from trainer.launchers.protocol import write_whole
from trainer.models import Evaluation, Line, ModelVersion, SuiteVersion
from trainer.services import contamination, known_answers, planning, policies, rotation, rows, suites, wake
from trainer.services.bases import reference
from trainer.services.known_answers import Asked
from trainer.states import AliasName, EvaluationState

SIDES = ("champion", "candidate", "anchor")


def start(candidate: ModelVersion, *, actor: Any) -> Evaluation:
    """Freeze the suites, plan K and n, and queue the comparison with the line's champion."""
    line = candidate.line
    require_role(actor, line.team, Role.OPERATOR)
    with transaction.atomic():
        Line.objects.select_for_update().get(pk=line.pk)
        running = (
            Evaluation.objects.filter(candidate=candidate, report=None)
            .exclude(state__in=[EvaluationState.FAILED, EvaluationState.CANCELLED])
            .first()
        )
        if running is not None:
            return running
        champion, anchor = line.alias(AliasName.CHAMPION), line.alias(AliasName.ANCHOR)
        if champion.pk == candidate.pk:
            raise Conflict("is_champion", f"{candidate.name} is the champion: there is nothing to compare it with.")
        if before := _same_question(candidate, champion, anchor):
            return _again(before, actor)
        seen = contamination.imported(line, [champion, candidate, anchor])
        without = {name: found.keys for name, found in seen.items()}
        budget = policies.of(line).look_budget
        notes = rotation.when_spent(line, candidate, suites.available(line, without=without), budget)
        available = suites.available(line, without=without)
        if not available:
            raise Conflict(
                "nothing_sealed",
                f"{line.name} has no suite: at least {suites.FEWEST} approved tasks of a domain must be sealed.",
            )
        planned = planning.planned(line, policies.of(line), available)
        policy, plan = planned.policy, planned.plan
        sizes = _first_look(policy, plan)
        frozen = suites.freeze(line, sizes, without=without)
        evaluation = Evaluation.objects.create(
            line=line,
            candidate=candidate,
            champion=champion,
            requested_by=actor,
            anchor=anchor if anchor and anchor.pk != champion.pk else None,
            sampling=msgspec.to_builtins(_sampling(candidate, plan.answers_per_item)),
            policy=msgspec.to_builtins(policy),
            policy_digest=policy.digest(),
            plan=msgspec.to_builtins(plan),
        )
        _hold(evaluation, frozen)
        for name, found in seen.items():
            notes.setdefault(name, []).extend(found.sentences)
        _expose(evaluation, budget, notes)
        _queued(evaluation, actor)
    return evaluation


def _same_question(candidate: ModelVersion, champion: ModelVersion, anchor: ModelVersion | None) -> Evaluation | None:
    """The first evaluation of the candidate against this champion under this policy, if its suites are as they were.

    Whoever asks again gets the same items, settings and guards, and so the same answers: another draw, or a plan that
    knows from the first one what would pass, would spend alpha that nobody declared.
    """
    anchored = anchor if anchor and anchor.pk != champion.pk else None
    asked = Evaluation.objects.filter(candidate=candidate, champion=champion, anchor=anchored, extends=None)
    for before in asked.select_related("line").order_by("pk"):
        if policies.today(before).digest() == policies.evaluated_under(before) and suites.stand(before.suites.all()):
            return before
    return None


def _again(before: Evaluation, actor: Any) -> Evaluation:
    evaluation = Evaluation.objects.create(
        line=before.line,
        candidate=before.candidate,
        champion=before.champion,
        requested_by=actor,
        anchor=before.anchor,
        sampling=before.sampling,
        policy=before.policy,
        policy_digest=before.policy_digest,
        plan=before.plan,
        exposure=before.exposure,
    )
    evaluation.suites.set(before.suites.all())
    _queued(evaluation, actor)
    return evaluation


def _queued(evaluation: Evaluation, actor: Any) -> None:
    names = {"candidate": evaluation.candidate.name, "champion": evaluation.champion.name}
    record(
        "evaluation.queued",
        subject=Subject("evaluation", str(evaluation.pk)),
        team=evaluation.line.team_id,
        actor=actor,
        data={**names, "policy": evaluation.policy_digest},
    )
    wake.supervisor()


def _hold(evaluation: Evaluation, frozen: list[SuiteVersion]) -> None:
    """A candidate that comes again is no new look."""
    own = SuiteVersion.objects.filter(pk__in=[suite.pk for suite in frozen])
    known = list(own.filter(evaluations__candidate=evaluation.candidate).values_list("pk", flat=True))
    own.exclude(pk__in=known).update(looks=F("looks") + 1)
    evaluation.suites.set(frozen)


def _expose(evaluation: Evaluation, budget: int, notes: Mapping[str, Sequence[str]]) -> None:
    """Keep what is known of the suites before the first answer: their looks, what was rotated, what was left out, and
    what the candidate was trained on: of a suite that was not brought as a file that makes the verdict INVALID."""
    leaked = contamination.leaked_by_suite(evaluation)
    name = evaluation.candidate.name
    known = {
        suite: f"{count:,} items stood among the rows that trained {name}: its verdict will be INVALID."
        for suite, count in leaked.items()
    }
    told = {suite: [*notes.get(suite, ()), *([known[suite]] if suite in known else [])] for suite in {*notes, *known}}
    exposed = rotation.exposure(evaluation.line, _names(evaluation), budget, told)
    evaluation.exposure = msgspec.to_builtins(exposed)
    evaluation.save(update_fields=["exposure"])


def _names(evaluation: Evaluation) -> list[str]:
    return list(evaluation.suites.values_list("name", flat=True))


def _first_look(policy: GatePolicy, plan: Plan) -> dict[str, int]:
    """Suite → items: of a policy that looks before all planned answers are in, a part of the plan."""
    share = min(policy.looks[0], 1.0)
    return {
        planned.suite: min(max(math.ceil(share * planned.n), suites.FEWEST), planned.n)
        for planned in plan.suites
        if planned.suite != OVERALL
    }


def _sampling(candidate: ModelVersion, answers_per_item: int) -> Sampling:
    """The settings that the line's training samples with. One seed a line: a champion's answers are known to the next
    candidate, and nobody gets another draw by asking again."""
    spec = candidate.run.spec if candidate.run else {}
    return Sampling(
        answers_per_item=answers_per_item,
        temperature=float(spec.get("temperature", 1.0)),
        max_completion_tokens=int(spec.get("max_completion_tokens", 48)),
        seed=candidate.line_id,
    )


def _asked_before(evaluation: Evaluation, suite: SuiteVersion) -> set[int]:
    """Tasks that the looks before have answers of, where this one adds items; nothing where it adds answers to them."""
    before = evaluation.extends
    if before is None or set(before.suites.values_list("pk")) == set(evaluation.suites.values_list("pk")):
        return set()
    return set(before.suites.filter(name=suite.name).values_list("items__task", flat=True))


def _items(evaluation: Evaluation, ordered: Iterable[SuiteVersion], asked: dict[str, Asked]) -> Iterator[EvalItem]:
    """Suite by suite; what was asked of each is put into `asked` as it goes."""
    for suite in ordered:
        items = list(suites.items(suite, but=_asked_before(evaluation, suite)))
        repeatable = not any(asks_a_model(item.grader) for item in items)
        asked[suite.name] = Asked(suite_digest(items), len(items), repeatable)
        yield from items


def sides_of(evaluation: Evaluation) -> dict[str, ModelVersion]:
    versions = {"champion": evaluation.champion, "candidate": evaluation.candidate, "anchor": evaluation.anchor}
    return {side: version for side, version in versions.items() if version is not None}


class EvaluationKind:
    name = "evaluation"
    model = Evaluation
    states = EvaluationState
    queued = EvaluationState.QUEUED
    running = frozenset({EvaluationState.RUNNING})
    succeeded = EvaluationState.SUCCEEDED
    failed = EvaluationState.FAILED

    def queue(self) -> Any:
        return Evaluation.objects.filter(state=EvaluationState.QUEUED).order_by("pk")

    def prepare(self, work: Evaluation, directory: Path) -> None:
        ordered = sorted(work.suites.all(), key=lambda suite: suite.name)
        asked: dict[str, Asked] = {}
        rows.write_lines(directory / "items.jsonl", _items(work, ordered, asked))
        sides = sides_of(work)
        told = EvaluateSpec(
            evaluation=str(work.pk),
            sides={side: reference(version) for side, version in sides.items()},
            known=known_answers.take(work, sides, asked, directory),
            sampling=msgspec.convert(work.sampling, Sampling),
            attempt=work.attempt,
        )
        write_whole(directory / "spec.json", encode(told))

    def read_progress(self, work: Evaluation, directory: Path) -> None:
        """The heartbeat says it all; the scores are read once, by the gate."""

    def finish(self, work: Evaluation, directory: Path, result: Result) -> bool:
        return Evaluation.objects.advance(
            work.pk,
            EvaluationState.RUNNING,
            EvaluationState.SUCCEEDED,
            attempt=work.attempt,
            finished_at=timezone.now(),
            handle=None,
            lease_until=None,
            peak_memory_bytes=max(work.peak_memory_bytes, result.peak_memory_bytes),
        )

    def wants_pause(self, work: Evaluation) -> bool:
        return False

    def stopped_early(self, work: Evaluation) -> EvaluationState:
        return EvaluationState.QUEUED
