"""Retraining that runs itself: nights pass, beats come, and nobody presses anything but the reviewer."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from flywheel.samples.families import MAXIMA, REVERSALS
from tasks.jobs import sweep
from tasks.models import Event
from tasks.services.licences import CONSENT_VERSION
from tests.cast import Person
from tests.journeys.conftest import sample_rows, settle, write_demonstrations
from tests.journeys.test_upload_to_promotion import approve_everything, contribute
from trainer.jobs import fire_schedules, supervise
from trainer.models import Firing, GateReport, Line, ModelVersion, Schedule, TrainingRun
from trainer.services import firings, lines

NIGHTLY = {
    "cron": "0 3 * * *",
    "timezone": "Europe/Berlin",
    "min_new_tasks": 100,
    "min_hours": 12,
    "quiet_from": "22:00",
    "quiet_to": "06:00",
}


@pytest.fixture
def line(platform: object, fake_engine: Callable[..., None], operator: Person, settings: Any) -> Line:
    fake_engine(champion=0.3, candidate=0.7)
    demonstrations = write_demonstrations(settings.DATA_DIR, 10_000)
    made = lines.create_shared("Shared", "shared", actor=operator.user, demonstrations=demonstrations, steps=150)
    settle(lambda: ModelVersion.objects.filter(line=made, number=0).exists())
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Sets the time that beats see; days pass in a moment."""

    def show(moment: datetime) -> None:
        monkeypatch.setattr(firings, "_now", lambda: moment)

    return show


def bring(contributor: Person, reviewer: Person, *, seed: int) -> None:
    """New tasks, approved: all that people do."""
    shared = {"visibility": "contributed", "licence": "CC0-1.0", "consent_version": CONSENT_VERSION}
    for family in (MAXIMA, REVERSALS):
        rows = sample_rows(family, 300, seed=seed)
        contribute(contributor, family, rows, **shared, slug=f"{family.domain}-{seed}")
    assert approve_everything(reviewer) > 500


def beats(until: Callable[[], bool]) -> None:
    """The jobs that beat sends, round after round."""

    def beat() -> bool:
        for job in (sweep, fire_schedules, supervise):
            job.delay()
        return until()

    settle(beat)


def night(schedule: Schedule, clock: Callable[[datetime], None], first: datetime, number: int) -> Firing:
    """What became of one night's fire time: the beats of three and of six o'clock."""
    due = first + timedelta(days=number)
    for hours in (0, 3):
        clock(due + timedelta(hours=hours))
        beats(lambda: True)
    firing = schedule.firings.get(due_at=due)
    if firing.run is not None:
        beats(lambda: ended(firing.run) and GateReport.objects.filter(evaluation__candidate__run=firing.run).exists())
    return firing


def ended(run: TrainingRun) -> bool:
    run.refresh_from_db()
    assert run.state not in ("failed", "cancelled"), run.error
    return run.state == "succeeded"


def test_two_turns_follow_each_other_by_the_clock_alone(
    line: Line, contributor: Person, reviewer: Person, operator: Person, clock: Callable[[datetime], None]
):
    recipe = operator.api.post(
        "/api/v1/recipes", {"line": line.pk, "name": "all", "body": {}, "overrides": {"steps": 6}}, format="json"
    ).json()
    body = {"line": line.pk, "recipe": recipe["id"], **NIGHTLY}
    made = operator.api.post("/api/v1/schedules", body, format="json").json()
    schedule = Schedule.objects.get(pk=made["id"])
    first = datetime.fromisoformat(made["coming"][0]["due"]).astimezone(schedule.zone)  # nights are the wall clock's
    by_hand = Event.objects.filter(actor=operator.user).count()

    empty = night(schedule, clock, first, 0)
    bring(contributor, reviewer, seed=1)
    one = night(schedule, clock, first, 1)
    idle = night(schedule, clock, first, 2)
    bring(contributor, reviewer, seed=2)
    two = night(schedule, clock, first, 3)

    # Four nights, each with its reason; two of them turned the wheel.
    assert [(firing.outcome, firing.reason.partition("hours. ")[2]) for firing in (empty, idle)] == [
        ("skipped", "0 newly approved tasks; at least 100 are asked for.")
    ] * 2
    assert all(firing.reason.startswith("Deferred from 03:00 by quiet hours. ") for firing in (empty, one, idle, two))
    assert (one.outcome, two.outcome, TrainingRun.objects.count()) == ("ran", "ran", 2)
    assert two.reason.endswith(" newly approved tasks since the last run.")
    assert Firing.objects.count() == 4

    # Each went through the gate, and the second began where the first had come to.
    versions = list(ModelVersion.objects.filter(line=line).order_by("number"))
    assert [version.name for version in versions] == ["shared/v0", "shared/v1", "shared/v2"]
    assert [version.parent for version in versions] == [None, versions[0], versions[1]]
    assert [version.run for version in versions[1:]] == [one.run, two.run]
    assert two.run.start == versions[1]
    assert two.run.mixture.size > one.run.mixture.size
    assert list(GateReport.objects.values_list("verdict", flat=True)) == ["PROMOTE", "PROMOTE"]
    champions = line.alias_moves.filter(name="champion").order_by("pk")
    assert [(move.old, move.new, move.actor) for move in champions][1:] == [
        (versions[0], versions[1], None),
        (versions[1], versions[2], None),
    ]
    assert line.alias("champion") == versions[2]

    # Nobody but the contributor and the reviewer did anything.
    assert (one.run.started_by, two.run.started_by) == (None, None)
    assert Event.objects.filter(actor=operator.user).count() == by_hand
