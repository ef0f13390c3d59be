"""The part of a recipe's page about difficulty: empty, going, measured."""

import pytest

from tasks.models import Task
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import DifficultyCheck, PassRate
from trainer.services import difficulty

pytestmark = pytest.mark.django_db


@pytest.fixture
def measured(portal: Portal) -> Portal:
    """Every task of the recipe: a third is always solved, a third sometimes, a third never."""
    measure = difficulty.measure_of(portal.recipe)
    assert measure is not None
    PassRate.objects.bulk_create(
        PassRate(
            space_id=measure.space, content=content, model=measure.version.digest, sampling=measure.drawn,
            version=measure.version, task=pk, answers=8, graded=8, passes=(0, 3, 8)[at % 3], reward=0.5,
        )
        for at, (pk, content) in enumerate(difficulty.tasks_of(portal.recipe).values_list("pk", "content_digest"))
    )  # fmt: skip
    return portal


def _page(user: object, portal: Portal) -> str:
    return text(browser(user).get(f"/ops/recipes/{portal.recipe.pk}"))


def test_without_rates_the_page_says_what_measuring_is_good_for(portal: Portal):
    page = _page(portal.operator, portal)

    assert "Nobody knows yet which of these" in page
    assert "Measure with the champion" in page


def test_a_check_is_started_from_the_page(portal: Portal):
    browser(portal.operator).post(f"/ops/recipes/{portal.recipe.pk}/measure")

    check = DifficultyCheck.objects.get(recipe=portal.recipe)
    assert (check.state, check.requested_by) == ("queued", portal.operator)


def test_a_check_that_goes_on_shows_its_progress_and_is_asked_for_again(portal: Portal):
    difficulty.start(portal.line, actor=portal.operator, recipe=portal.recipe)

    page = _page(portal.operator, portal)

    assert f'data-poll="/ops/recipes/{portal.recipe.pk}/difficulty"' in page
    assert "Cancel the measurement" in page


def test_a_check_is_cancelled_from_the_page(portal: Portal):
    check = difficulty.start(portal.line, actor=portal.operator, recipe=portal.recipe)

    browser(portal.operator).post(f"/ops/difficulty/{check.pk}/cancel")

    check.refresh_from_db()
    assert check.state == "cancelled"


def test_the_part_that_polls_says_when_it_is_finished(portal: Portal):
    reply = browser(portal.operator).get(f"/ops/recipes/{portal.recipe.pk}/difficulty")

    assert reply["X-Finished"] == "1"


def test_the_histogram_shows_what_lies_in_the_teaching_zone(measured: Portal):
    shown = browser(measured.operator).get(f"/ops/recipes/{measured.recipe.pk}").context["histogram"]

    tasks = difficulty.tasks_of(measured.recipe).count()
    assert (shown.inside + shown.above + shown.below, shown.above) == (tasks, tasks // 3)
    assert [bar.inside for bar in shown.bars] == [True] * 6 + [False] * 3


def test_the_hardest_and_the_easiest_tasks_are_shown_to_who_may_read_them(measured: Portal):
    ends = browser(measured.operator).get(f"/ops/recipes/{measured.recipe.pk}").context["ends"]

    assert [(title, {rate.passes for _, _, rate in rows}) for title, rows in ends] == [
        ("Hardest", {0}),
        ("Easiest", {8}),
    ]


def test_a_stranger_sees_counts_and_no_task(measured: Portal):
    page = _page(measured.stranger, measured)

    prompts = Task.objects.filter(space=measured.line.team).values_list("messages", flat=True)
    assert "teaching zone" in page
    assert not any(messages[0]["content"] in page for messages in prompts)


def test_a_contributor_has_no_button(portal: Portal):
    assert "Measure with the champion" not in _page(portal.contributor, portal)


def test_a_contributor_cannot_measure_the_shared_line(portal: Portal):
    browser(portal.contributor).post(f"/ops/recipes/{portal.recipe.pk}/measure")

    assert not portal.recipe.difficulty_checks.exists()


def test_the_form_offers_the_band(portal: Portal):
    assert "mixes only what the champion solves" in _page(portal.operator, portal)


def test_a_check_that_waits_is_in_the_queue_of_operations(portal: Portal):
    difficulty.start(portal.line, actor=portal.operator, recipe=portal.recipe)

    assert f"Difficulty of {portal.recipe.name}" in text(browser(portal.operator).get("/ops/queue"))
