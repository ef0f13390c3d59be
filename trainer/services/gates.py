"""Deciding on a finished evaluation: read what the engine used and wrote, judge, keep the report, move the alias."""

from typing import Any

import msgspec
from django.db import transaction

from tasks.crash import crash_point
from tasks.graders import judges
from tasks.models import Task
from tasks.models.events import Subject, record
from trainer.contract import EvalItem, Sampling, Score, sampling_digest
from trainer.evaluation.costs import lengths_from
from trainer.evaluation.decision import Digests, GateDecision, Reason
from trainer.evaluation.exposure import Exposure
from trainer.evaluation.gates import decide as judge
from trainer.evaluation.policy import policy_from
from trainer.evaluation.scoring import ANCHOR, CANDIDATE, CHAMPION, SuiteScores
from trainer.evaluation.suites import graders_digest, suite_digest
from trainer.models import Evaluation, GateReport, Line
from trainer.services import answers, contamination, credit, policies, promotion, rows, second_grading, slicing, suites
from trainer.services.answers import Answers
from trainer.services.second_grading import Regraded
from trainer.states import AliasName, EvaluationState, Verdict

MOST_FLIPS = 200  # shown in a report, regressions first


def decide(evaluation: Evaluation) -> GateReport:
    """The report of a finished evaluation; made once. PROMOTE moves the champion in the same transaction.

    Where the policy or the line asks for a sign-off, or somebody has locked the champion, PROMOTE waits for a person
    (promotion.promote). Of a control
    run it says that the suites rise by chance, and nothing moves.
    """
    gathered = answers.read(evaluation)
    with judges.for_team(evaluation.line.team_id):
        broken = bool(_moved(evaluation)) or policies.today(evaluation).digest() != policies.evaluated_under(evaluation)
        regraded = Regraded() if broken else second_grading.regrade(evaluation, gathered)
    with transaction.atomic():
        line = Line.objects.select_for_update().get(pk=evaluation.line_id)
        existing = GateReport.objects.filter(evaluation=evaluation).first()
        if existing is not None:
            return existing
        decision, flips, scores = _judged(evaluation, gathered, regraded)
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
        moves = moves and line.locked(AliasName.CHAMPION) is None
        if decision.verdict is Verdict.PROMOTE and moves:
            promotion.promote(evaluation.candidate, actor=None, reason=decision.sentence, report=report)
        crash_point("gate.before_commit")
    return report


def undecided() -> Any:
    return Evaluation.objects.filter(state=EvaluationState.SUCCEEDED, report=None).order_by("pk")


def _judged(
    evaluation: Evaluation, gathered: Answers, regraded: Regraded
) -> tuple[GateDecision, list[dict[str, Any]], list[SuiteScores]]:
    items, scores = gathered.items, gathered.scores
    grouped = answers.grouped(gathered)
    decision = judge(
        policy_from(evaluation.policy),
        grouped,
        expected=_expected(evaluation),
        found=_found(evaluation, gathered),
        faults=[*_moved(evaluation), *_contamination(evaluation)],
        independent=regraded.independent,
        trained=regraded.trained,
        lengths=lengths_from(scores),
        look=evaluation.look,
    )
    found = slicing.slices_of(grouped, items, scores, alpha=decision.alpha)
    exposure = msgspec.convert(evaluation.exposure, list[Exposure])
    whole = msgspec.structs.replace(decision, slices=found, gap_steps=regraded.steps, exposure=exposure)
    return whole, _flips(scores), grouped


def _expected(evaluation: Evaluation) -> Digests:
    """What was to be compared, from the rows that were frozen when it was asked for."""
    frozen = {suite.name: suite for suite in evaluation.suites.all()}
    return Digests(
        policy=policies.evaluated_under(evaluation),
        champion=evaluation.champion.digest,
        candidate=evaluation.candidate.digest,
        sampling=sampling_digest(*(msgspec.convert(look.sampling, Sampling) for look in answers.looks_of(evaluation))),
        suites={name: suite.digest for name, suite in frozen.items()},
        graders={name: suites.digests(suite)[1] for name, suite in frozen.items()},
        anchor=evaluation.anchor.digest if evaluation.anchor else "",
    )


def _found(evaluation: Evaluation, gathered: Answers) -> Digests:
    """What was compared, computed again from the engine's own directories and today's policy."""
    by_suite: dict[str, list[EvalItem]] = {}
    for item in gathered.items:
        by_suite.setdefault(item.suite, []).append(item)
    return Digests(
        policy=policies.today(evaluation).digest(),
        champion=_answered_as(gathered, CHAMPION),
        candidate=_answered_as(gathered, CANDIDATE),
        sampling=sampling_digest(*(spec.sampling for spec in gathered.specs)),
        suites={name: suite_digest(rows) for name, rows in by_suite.items()},
        graders={name: graders_digest(rows) for name, rows in by_suite.items()},
        anchor=_answered_as(gathered, ANCHOR),
    )


def _answered_as(gathered: Answers, side: str) -> str:
    """Digest of the version that answered on a side in every look; several are none of them."""
    return "+".join(sorted({spec.sides[side].digest for spec in gathered.specs if side in spec.sides}))


def _moved(evaluation: Evaluation) -> list[Reason]:
    """Another promotion, or a roll back, while the engine was at work: nothing follows for today's champion."""
    champion = evaluation.line.alias(AliasName.CHAMPION)
    if champion.pk == evaluation.champion_id:
        return []
    words = f"The champion is {champion.name} by now, not {evaluation.champion.name}: evaluate the candidate again."
    return [Reason("champion_moved", words)]


def _contamination(evaluation: Evaluation) -> list[Reason]:
    if leaked := contamination.leaked(evaluation):
        return [Reason("contamination", f"{len(leaked)} prompts of the suites were among the rows that trained it.")]
    return []


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
