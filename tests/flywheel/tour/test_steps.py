"""Which datasets the tour makes on a live server, where python graders cannot be confined and where they can; and when
its later turns begin.

Django's test server reads no chunked bodies, so the files themselves stay here; tests/journeys upload them.
"""

from datetime import timedelta

import pytest
from django.utils import timezone

from flywheel.celery import app
from flywheel.samples.families import FAMILIES
from flywheel.tour import plan, report
from flywheel.tour.client import Client, Refused
from flywheel.tour.steps import Tour
from tasks.models import Dataset, Event, Task
from tests import world
from tests.cast import of_own_team, of_the_pool
from trainer.models import Firing, Line, Recipe, Schedule, TrainingRun


@pytest.fixture
def tour(transactional_db, live_server, settings, tmp_path, monkeypatch):
    settings.DATA_DIR = tmp_path
    monkeypatch.setitem(app.conf, "task_always_eager", True)
    monkeypatch.setattr(Client, "upload", lambda self, path, dataset: {"id": dataset, "bytes": path.stat().st_size})
    return Tour(live_server.url, seed=1, share=0.1)


def test_without_a_sandbox_what_needs_one_is_left_out_in_a_sentence_and_the_rest_goes_on(tour, monkeypatch, capsys):
    monkeypatch.setenv("SANDBOX_LEVELS", "none")

    uploads = tour.upload(1)

    assert len(uploads) == Dataset.objects.count() == 9
    assert tour.domains == {"fractions", *(family.domain for family in FAMILIES)} - {"shuffles"}
    assert "ada-shuffles is left out: The sandbox is switched off" in capsys.readouterr().out


def test_with_a_sandbox_nothing_is_left_out(tour):
    assert len(tour.upload(1)) == 10


def test_a_domain_of_which_nothing_was_approved_gets_no_weight(tour):
    tour.domains = {"maxima"}

    assert not tour._approved("maxima")


def test_any_other_refusal_stops_the_tour(tour, monkeypatch):
    monkeypatch.setattr("flywheel.tour.steps.CONSENT_VERSION", "never given")

    with pytest.raises(Refused, match="consent"):
        tour.upload(1)


@pytest.fixture
def shared(tour: Tour) -> Line:
    """The shared line after a turn, with twelve new tasks that are proved."""
    grace = of_own_team("grace")
    turned = world.full(
        of_the_pool("olga", "operator"), purpose="shared", dataset=world.contributed_dataset(grace), uploader=grace
    )
    Schedule.objects.all().delete()
    world.imported(world.contributed_dataset(grace, "More"), world.rows(40, start=100), grace)
    return Line.objects.get(pk=turned["line"])


def test_a_later_turn_waits_for_all_of_its_training_tasks_and_for_nobody(tour: Tour, shared: Line):
    waiting = Task.objects.filter(state="proved", split="train").count()

    tour.schedule_turn(shared, Recipe.objects.get().pk, 2)

    schedule = Schedule.objects.get()
    assert waiting > 20
    assert (schedule.cron, schedule.min_hours, schedule.min_new_tasks) == ("* * * * *", 0, waiting)


def test_a_later_turn_that_was_approved_in_part_waits_for_the_rest(tour: Tour, shared: Line):
    waiting = Task.objects.filter(state="proved", split="train")
    count, half = waiting.count(), [task.pk for task in waiting[:10]]
    Task.objects.filter(pk__in=half).update(state="approved", approved_at=timezone.now())

    tour.schedule_turn(shared, Recipe.objects.get().pk, 2)

    assert Schedule.objects.get().min_new_tasks == count


def test_a_turn_that_has_begun_is_not_scheduled_again(tour: Tour, shared: Line):
    tour.schedule_turn(shared, Recipe.objects.get().pk, 1)

    assert not Schedule.objects.exists()


def test_the_schedule_is_made_once_and_changed_where_it_differs(tour: Tour, shared: Line):
    for fields in (plan.NIGHTLY, plan.NIGHTLY, plan.EVERY_MINUTE, plan.NIGHTLY, plan.NIGHTLY):
        tour.schedule(shared, Recipe.objects.get().pk, **fields)

    assert Schedule.objects.get().cron == "0 3 * * *"
    assert Event.objects.filter(kind="schedule.changed").count() == 2


def test_the_run_that_the_schedule_starts_is_followed_and_told(tour: Tour, shared: Line, capsys):
    tour.schedule(shared, Recipe.objects.get().pk, **plan.EVERY_MINUTE)
    first, schedule = TrainingRun.objects.get(), Schedule.objects.get()
    run = TrainingRun.objects.create(
        line=shared, start=first.start, dataset_version=first.dataset_version, spec={}, state="succeeded"
    )
    due = run.created_at - timedelta(seconds=9)
    Firing.objects.create(schedule=schedule, due_at=due, outcome="ran", reason="31 newly approved tasks.", run=run)

    followed = tour.scheduled_run(shared, 2)

    assert followed == run
    assert "UTC: ran. 31 newly approved tasks." in capsys.readouterr().out
    assert report._began(run) == {
        "by": "the schedule",
        "reason": "31 newly approved tasks.",
        "cron": "* * * * * UTC",
        "due_at": due.isoformat(),
        "after_seconds": 9.0,
    }
    assert report._began(first)["due_at"] is None
