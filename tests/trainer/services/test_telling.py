"""From the log of events to deliveries: all of them, once, with what the receiver needs."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.models import EventSeal
from tasks.models.events import seal, verify
from tests import cast
from tests.cast import Person
from tests.trainer.services.hooked import add, happened, line, promote, run, told
from trainer.models import Delivery, Evaluation, GateReport, Line, NewsCursor, TrainingRun
from trainer.news import News
from trainer.services import promotion, telling, training, webhooks
from trainer.states import RunState

pytestmark = pytest.mark.django_db
ADDRESS = "https://192.0.43.8/news"  # public, and never called here


@pytest.fixture
def carla() -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def lines(carla: Person) -> Line:
    return line(carla)


def messages() -> list[dict[str, Any]]:
    return [json.loads(body) for body in Delivery.objects.order_by("pk").values_list("body", flat=True)]


def test_a_promotion_is_told_with_version_reason_and_who(carla: Person, lines: Line):
    add(carla, ADDRESS)

    promote(lines, carla)
    told()

    (message,) = messages()
    assert message["type"] == "model.promoted"
    assert message["data"] == {
        "line": "carlas",
        "version": "carlas/v1",
        "before": "carlas/v0",
        "by": "carla",
        "gate": None,
        "sentence": "It answers better.",
        "page": "http://127.0.0.1:8000/ops/models/carlas",
    }


def test_a_rollback_is_no_promotion(carla: Person, lines: Line):
    add(carla, ADDRESS)
    promote(lines, carla)

    promotion.roll_back(lines, actor=carla.user, reason="It was worse after all.")
    told()

    assert [(m["type"], m["data"]["version"]) for m in messages()] == [
        ("model.promoted", "carlas/v1"),
        ("model.rolled_back", "carlas/v0"),
    ]


def test_a_moved_anchor_is_no_news(carla: Person, lines: Line):
    add(carla, ADDRESS)

    promotion.move(lines, "anchor", lines.versions.get(number=1), actor=carla.user, reason="A new yardstick.")

    assert told() == 0


def test_a_run_that_succeeded_is_told_with_its_version_and_its_ending(carla: Person, lines: Line):
    add(carla, ADDRESS)
    ended = run(lines, "succeeded")
    lines.versions.filter(number=1).update(run=ended)
    ending = {"code": "alarm", "sentence": "Entropy collapsed."}

    happened("trainingrun.succeeded", "trainingrun", ended.pk, carla, ending=ending)
    told()

    data = messages()[0]["data"]
    assert (data["run"], data["version"], data["code"], data["sentence"]) == (
        ended.pk,
        "carlas/v1",
        "alarm",
        "Entropy collapsed.",
    )


def test_a_budget_that_pauses_a_run_is_told(carla: Person, lines: Line, tmp_path: Path):
    from trainer.contract import Ending, Result

    add(carla, ADDRESS)
    going = run(lines)
    ending = Ending("budget_minutes", "Its 5 minutes are spent.")

    training.TrainingKind().finish(going, tmp_path, Result(status="paused", attempt=0, ending=ending))
    told()

    (message,) = messages()
    assert (message["type"], message["data"]["code"]) == ("run.paused", "budget_minutes")


def test_a_run_that_broke_is_told_with_its_fault(carla: Person, lines: Line):
    add(carla, ADDRESS)
    broken = run(lines, "failed")

    happened("trainingrun.failed", "trainingrun", broken.pk, carla, code="disk_full", sentence="The disk is full.")
    told()

    (message,) = messages()
    assert (message["type"], message["data"]["code"], message["data"]["sentence"]) == (
        "run.failed",
        "disk_full",
        "The disk is full.",
    )


def test_a_verdict_and_an_evaluation_that_broke_are_told(carla: Person, lines: Line):
    add(carla, ADDRESS)
    old, new = lines.versions.get(number=0), lines.versions.get(number=1)
    sides = {"line": lines, "candidate": new, "champion": old, "sampling": {}, "policy": {}, "policy_digest": "4" * 64}
    judged, broken = (Evaluation.objects.create(**sides, state=state) for state in ("succeeded", "running"))
    report = GateReport.objects.create(
        line=lines, evaluation=judged, verdict="HOLD", sentence="Not better.", decision={}, policy_digest="4" * 64
    )

    happened("gate.hold", "gatereport", report.pk, carla)
    Evaluation.objects.advance(broken.pk, "running", "failed", data={"code": "lost", "sentence": "It was lost."})
    told()

    verdict, fault = messages()
    assert (verdict["type"], verdict["data"]["verdict"], verdict["data"]["candidate"]) == (
        "gate.decided",
        "HOLD",
        "carlas/v1",
    )
    assert (fault["type"], fault["data"]["code"]) == ("evaluation.failed", "lost")


def test_only_what_was_asked_for_is_told(carla: Person, lines: Line):
    other = line(carla, "other")
    runs_only = add(carla, ADDRESS, name="runs", types=["run.cancelled"])
    other_only = add(carla, ADDRESS, name="other line", line=other)
    promote(lines, carla)
    TrainingRun.objects.advance(run(other).pk, RunState.RUNNING, RunState.CANCELLED, actor=carla.user)

    told()

    found = set(Delivery.objects.values_list("hook", "type"))
    assert found == {(runs_only.pk, "run.cancelled"), (other_only.pk, "run.cancelled")}


def test_news_of_another_team_are_not_told(carla: Person, lines: Line):
    sven = cast.of_own_team("sven")
    add(sven, ADDRESS)

    promote(lines, carla)

    assert told() == 0


def test_what_happened_before_the_webhook_was_there_is_not_told(carla: Person, lines: Line):
    promote(lines, carla)
    add(carla, ADDRESS)

    assert told() == 0


def test_what_happened_while_it_was_off_is_not_told_later(carla: Person, lines: Line):
    hook = add(carla, ADDRESS)
    webhooks.switch(hook, False, actor=carla.user)
    promote(lines, carla)
    told()

    webhooks.switch(hook, True, actor=carla.user)

    assert told() == 0


def test_the_same_events_are_told_once(carla: Person, lines: Line):
    add(carla, ADDRESS)
    promote(lines, carla)

    assert (told(), told(), Delivery.objects.count()) == (1, 0, 1)


def test_more_than_one_transaction_holds_is_told_in_one_go(carla: Person, lines: Line, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(telling, "AT_ONCE", 2)
    add(carla, ADDRESS)
    for _ in range(5):
        happened("trainingrun.cancelled", "trainingrun", run(lines).pk, carla)

    assert told() == 5


def test_what_is_not_sealed_yet_waits(carla: Person, lines: Line):
    """Its id may be smaller than that of one which is committed later."""
    add(carla, ADDRESS)
    promote(lines, carla)

    before = telling.tell()
    seal()

    assert (before, telling.tell()) == (0, 1)


def test_the_chain_of_the_log_holds_whatever_is_told(carla: Person, lines: Line):
    add(carla, ADDRESS)
    promote(lines, carla)
    told()
    told()

    held, broken_at = verify()

    assert (held, broken_at) == (EventSeal.objects.count(), None)
    assert NewsCursor.objects.get().seal == EventSeal.objects.latest("pk").pk


def test_every_kind_of_news_has_its_facts():
    assert set(telling._FACTS) == set(News) - {News.TEST}
