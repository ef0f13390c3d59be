"""What makes a comparison INVALID, with the reason; and a promotion that is killed on the way."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tasks.models import Dataset, Event, Grader, Task, User
from tests.trainer.services.settling import settle
from trainer.contract import Score
from trainer.models import AliasMove, CreditEntry, Evaluation, GateReport, Line, SuiteItem
from trainer.services import answers, gates, policies, recipes, runs
from trainer.services.launching import path_of

POLICY: dict[str, Any] = {"answers_per_item": 2, "expected_effect": 0.9, "guards": [{"suite": "add", "margin": 0.3}]}
Evaluate = Callable[..., Evaluation]


@pytest.fixture
def evaluated(line: Line, fill: Callable[..., Dataset], operator: User, knobs: Callable[..., None]) -> Evaluate:
    """An evaluation that is done and not decided, of a candidate that is better."""

    def one(**policy: Any) -> Evaluation:
        knobs(champion=0.3, candidate=0.7)
        Line.objects.filter(pk=line.pk).update(auto_promote=False)
        policies.change(Line.objects.get(pk=line.pk), {**POLICY, **policy}, actor=operator)
        fill(sealed=60, train=20)
        recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
        runs.start(line, actor=operator, recipe=recipe)
        settle(GateReport.objects.filter(line=line).exists)
        report = GateReport.objects.get(line=line)
        evaluation = report.evaluation
        assert report.verdict == "PROMOTE" or "guards" in policy
        CreditEntry.objects.filter(report=report).delete()
        report.delete()
        return Evaluation.objects.get(pk=evaluation.pk)

    return one


def reasons(report: GateReport) -> dict[str, str]:
    return {reason["code"]: reason["sentence"] for reason in report.decision["reasons"]}


def test_what_is_whole_is_promoted(evaluated: Evaluate):
    assert gates.decide(evaluated()).verdict == "PROMOTE"


def test_an_edited_policy_is_named(evaluated: Evaluate, operator: User):
    evaluation = evaluated()
    policies.change(evaluation.line, {**POLICY, "delta_min": 0.01}, actor=operator)

    report = gates.decide(evaluation)

    assert report.verdict == "INVALID"
    assert reasons(report) == {
        "policy_changed": "The policy changed after the candidate was evaluated; evaluate it again."
    }


def test_an_edited_policy_that_was_put_back_is_no_other_policy(evaluated: Evaluate, operator: User):
    evaluation = evaluated()
    policies.change(evaluation.line, {**POLICY, "delta_min": 0.01}, actor=operator)
    policies.change(evaluation.line, POLICY, actor=operator)

    assert gates.decide(evaluation).verdict == "PROMOTE"


def test_a_changed_grader_is_named_with_its_suite(evaluated: Evaluate):
    evaluation = evaluated()
    other = Grader.objects.create(digest="9" * 64, type="number", config={"type": "number", "pass_threshold": 0.5})
    first = SuiteItem.objects.filter(suite__in=evaluation.suites.filter(name="add")).first()
    assert first is not None
    Task.objects.filter(pk=first.task_id).update(grader=other)

    report = gates.decide(evaluation)

    assert report.verdict == "INVALID"
    assert reasons(report)["grader_differs"] == "Suite “add” was graded by another grader than planned."


def test_a_suite_that_the_policy_names_and_nobody_answered_is_named(evaluated: Evaluate):
    report = gates.decide(evaluated(guards=[{"suite": "geometry"}]))

    assert (report.verdict, reasons(report)) == ("INVALID", {"suite_missing": "Suite “geometry” has no answers."})


@pytest.mark.parametrize(("share", "verdict"), [(0.02, "INVALID"), (0.005, "PROMOTE")])
def test_two_percent_of_grader_errors_are_too_many_and_half_a_percent_are_bounded(
    evaluated: Evaluate, share: float, verdict: str
):
    evaluation = evaluated()
    path = path_of(evaluation.directory) / "scores.jsonl"
    scores = list(answers.lines(path, Score))
    asked = [at for at, score in enumerate(scores) if (score.side, score.suite) == ("candidate", "add")]
    for at in asked[: max(round(share * len(asked)), 1)]:
        scores[at] = msgspec.structs.replace(scores[at], outcome="ungradable", score=0.0)
    path.write_bytes(b"".join(msgspec.json.encode(score) + b"\n" for score in scores))

    report = gates.decide(evaluation)

    assert report.verdict == verdict
    if verdict == "INVALID":
        assert "of the candidate's answers to “add” could not be graded; at most 1 % may." in report.sentence


# A promotion that is killed

_DECIDE = """
import sys, django
django.setup()
from trainer.models import Evaluation
from trainer.services import gates
gates.decide(Evaluation.objects.get(pk=int(sys.argv[1])))
"""
POINTS = ["promotion.half_way", "gate.before_commit"]


def whole(line: Line) -> tuple[int, int, int, int, int]:
    """Champion's number, reports, moves, their events, reports with credit: of a promotion that is whole, or absent."""
    return (
        line.alias("champion").number,
        GateReport.objects.filter(line=line).count(),
        AliasMove.objects.filter(line=line, name="champion").exclude(old=None).count(),
        Event.objects.filter(kind="alias.champion", data__new="shared/v1").count(),
        CreditEntry.objects.filter(report__line=line).values("report").distinct().count(),
    )


@pytest.mark.parametrize("point", POINTS)
def test_a_promotion_that_is_killed_half_way_is_absent_and_the_next_one_whole(
    transactional_db: None,
    evaluated: Evaluate,
    line: Line,
    server_environment: dict[str, str],
    settings: Any,
    point: str,
):
    evaluation = evaluated()
    Line.objects.filter(pk=line.pk).update(auto_promote=True)
    env = {**server_environment, "DJANGO_SETTINGS_MODULE": "flywheel.settings", "DATA_DIR": str(settings.DATA_DIR)}
    env |= {"FLYWHEEL_CRASH_AT": point, "SECRET_KEY": os.environ["SECRET_KEY"]}

    killed = subprocess.run(
        [sys.executable, "-c", _DECIDE, str(evaluation.pk)], env=env, capture_output=True, text=True, check=False
    )
    absent = whole(line)
    gates.decide(Evaluation.objects.get(pk=evaluation.pk))

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert absent == (0, 0, 0, 0, 0)
    assert whole(line) == (1, 1, 1, 1, 1)
