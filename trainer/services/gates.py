"""Deciding on a finished evaluation: read what the engine used and wrote, judge, keep the report, move the alias."""

from pathlib import Path
from typing import Any

import msgspec
from django.db import transaction

from tasks.crash import crash_point
from tasks.models import Task
from tasks.models.events import Subject, record
from trainer import contract
from trainer.contract import EvalItem, EvaluateSpec, Sampling, Score
from trainer.evaluation.costs import lengths_from
from trainer.evaluation.decision import Digests, GateDecision, Reason
from trainer.evaluation.gates import decide as judge
from trainer.evaluation.policy import policy_from
from trainer.evaluation.scoring import CANDIDATE, CHAMPION, SuiteScores
from trainer.evaluation.suites import graders_digest, suite_digest
from trainer.models import Evaluation, GateReport, Line, ModelVersion
from trainer.services import credit, promotion, rows, scored, slicing, suites, training_data
from trainer.services.evaluations import effective_policy, sampling_digest
from trainer.services.launching import path_of
from trainer.states import AliasName, EvaluationState, Verdict

MOST_FLIPS = 200  # shown in a report, regressions first


def decide(evaluation: Evaluation) -> GateReport:
    """The report of a finished evaluation; made once. PROMOTE moves the champion in the same transaction.

    Where the policy or the line asks for a sign-off, PROMOTE waits for a person (promotion.promote). Of a control
    run it says that the suites rise by chance, and nothing moves.
    """
    directory = path_of(evaluation.directory)
    items = scored.items(directory)
    with transaction.atomic():
        line = Line.objects.select_for_update().get(pk=evaluation.line_id)
        existing = GateReport.objects.filter(evaluation=evaluation).first()
        if existing is not None:
            return existing
        decision, flips, scores = _judged(evaluation, directory, items)
        report = GateReport.objects.create(
            line=line,
            evaluation=evaluation,
            verdict=decision.verdict,
            sentence=decision.sentence[:500],
            decision=msgspec.to_builtins(decision),
            flips=flips,
            policy_digest=decision.policy,
        )
        record(
            f"gate.{decision.verdict.lower()}",
            subject=Subject("gatereport", str(report.pk)),
            team=line.team_id,
            actor=None,
            data={"candidate": evaluation.candidate.name, "sentence": decision.sentence},
        )
        credit.measure(report, scores)
        moves = line.auto_promote and not decision.sign_off and not evaluation.candidate.is_control
        if decision.verdict is Verdict.PROMOTE and moves:
            promotion.promote(evaluation.candidate, actor=None, reason=decision.sentence, report=report)
        crash_point("gate.before_commit")
    return report


def undecided() -> Any:
    return Evaluation.objects.filter(state=EvaluationState.SUCCEEDED, report=None).order_by("pk")


def _judged(
    evaluation: Evaluation, directory: Path, items: list[EvalItem]
) -> tuple[GateDecision, list[dict[str, Any]], list[SuiteScores]]:
    scores = scored.scores(directory)
    grouped = scored.grouped(evaluation, items, scores)
    decision = judge(
        policy_from(evaluation.policy),
        grouped,
        expected=_expected(evaluation),
        found=_found(evaluation, directory, items),
        faults=[*_moved(evaluation), *_contamination(evaluation)],
        lengths=lengths_from(scores),
    )
    found = slicing.slices_of(grouped, items, scores, alpha=decision.alpha)
    return msgspec.structs.replace(decision, slices=found), _flips(scores), grouped


def _expected(evaluation: Evaluation) -> Digests:
    """What was to be compared, from the rows that were frozen when it was asked for."""
    frozen = {suite.name: suite for suite in evaluation.suites.all()}
    return Digests(
        policy=evaluation.policy_digest,
        champion=evaluation.champion.digest,
        candidate=evaluation.candidate.digest,
        sampling=sampling_digest(msgspec.convert(evaluation.sampling, Sampling)),
        suites={name: suite.digest for name, suite in frozen.items()},
        graders={name: suites.digests(suite)[1] for name, suite in frozen.items()},
        anchor=evaluation.anchor.digest if evaluation.anchor else "",
    )


def _found(evaluation: Evaluation, directory: Path, items: list[EvalItem]) -> Digests:
    """What was compared, computed again from the engine's own directory and today's policy."""
    spec = contract.decode_spec((directory / "spec.json").read_bytes())
    assert isinstance(spec, EvaluateSpec)
    by_suite: dict[str, list[EvalItem]] = {}
    for item in items:
        by_suite.setdefault(item.suite, []).append(item)
    anchor = spec.sides.get("anchor")
    return Digests(
        policy=effective_policy(evaluation.line, list(by_suite)).digest(),
        champion=spec.sides[CHAMPION].digest,
        candidate=spec.sides[CANDIDATE].digest,
        sampling=sampling_digest(spec.sampling),
        suites={name: suite_digest(rows) for name, rows in by_suite.items()},
        graders={name: graders_digest(rows) for name, rows in by_suite.items()},
        anchor=anchor.digest if anchor else "",
    )


def _moved(evaluation: Evaluation) -> list[Reason]:
    """Another promotion, or a roll back, while the engine was at work: nothing follows for today's champion."""
    champion = evaluation.line.alias(AliasName.CHAMPION)
    if champion.pk == evaluation.champion_id:
        return []
    words = f"The champion is {champion.name} by now, not {evaluation.champion.name}: evaluate the candidate again."
    return [Reason("champion_moved", words)]


def _contamination(evaluation: Evaluation) -> list[Reason]:
    """Sealed items that the candidate, or a version that it goes on from, was trained on.

    The split forbids it in the shared pool; small private sets train on all of their rows. Keys are compared within the
    line's space.
    """
    sealed = Task.objects.filter(pk__in=evaluation.suites.values("items__task")).values("exact_key")
    leaked: set[str] = set()
    version: ModelVersion | None = evaluation.candidate
    while version is not None:
        if version.run is not None:
            trained = training_data.trained_on(version.run).filter(space_id=evaluation.line.team_id)
            leaked.update(trained.filter(exact_key__in=sealed).values_list("exact_key", flat=True))
        version = version.parent
    if not leaked:
        return []
    return [Reason("contamination", f"{len(leaked)} prompts of the suites were among the rows that trained it.")]


def _flips(scores: list[Score]) -> list[dict[str, Any]]:
    """Items whose first answer flipped: regressions first, both answers side by side with the grader's reason."""
    first: dict[tuple[str, str], dict[str, Score]] = {}
    for score in scores:
        if score.sample == 0:
            first.setdefault((score.suite, score.key), {})[score.side] = score
    pairs = [(sides[CHAMPION], sides[CANDIDATE]) for sides in first.values() if {CHAMPION, CANDIDATE} <= set(sides)]
    flipped = [(old, new) for old, new in pairs if (old.outcome == "correct") != (new.outcome == "correct")]
    flipped.sort(key=lambda pair: (pair[0].outcome != "correct", pair[0].suite, int(pair[0].key)))
    kept = [pair for pair in flipped if pair[0].outcome == "correct"][: MOST_FLIPS // 2]
    kept += [pair for pair in flipped if pair[0].outcome != "correct"][: MOST_FLIPS - len(kept)]
    prompts = Task.objects.in_bulk([int(old.key) for old, _ in kept])
    return [
        {
            "suite": old.suite,
            "task": int(old.key),
            "prompt": prompts[int(old.key)].prompt,
            "kind": "regression" if old.outcome == "correct" else "gain",
            "champion": _shown(old),
            "candidate": _shown(new),
        }
        for old, new in kept
    ]


def _shown(score: Score) -> dict[str, Any]:
    said, reason = rows.storable(score.completion), rows.storable(score.reason)
    return {"completion": said, "reason": reason, "score": score.score}
