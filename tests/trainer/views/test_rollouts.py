"""/ops/runs/<id>/rollouts: the best paid answers of a run."""

from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.contract import Rollout
from trainer.engine import rollouts
from trainer.models import TrainingRun
from trainer.services.launching import path_of

pytestmark = pytest.mark.django_db
DIRECTORY = "run-" + "a" * 32


@pytest.fixture
def page(portal: Portal, settings: Any, tmp_path: Path) -> str:
    """Of a run with two steps of thirty answers, every third of them not learned from."""
    settings.DATA_DIR = tmp_path
    path_of(DIRECTORY).mkdir(parents=True)
    for step in (1, 2):
        lines = [
            Rollout(
                step=step, key=f"{n}", domain="add", prompt=f"How much is {n} + 0?", completion=f"surely {n}",
                reward=n / 30, advantage=0.1, reason="Matches.", learned=n % 3 > 0,
            )
            for n in range(30)
        ]  # fmt: skip
        rollouts.write(path_of(DIRECTORY) / "rollouts", step, lines)
    TrainingRun.objects.filter(pk=portal.run.pk).update(directory=DIRECTORY)
    return f"/ops/runs/{portal.run.pk}/rollouts"


def test_the_twenty_best_paid_answers_are_one_click_away(portal: Portal, page: str):
    assert page in text(browser(portal.operator).get(f"/ops/runs/{portal.run.pk}"))

    looked = browser(portal.operator).get(page).context["looked"]

    assert [row["key"] for row in looked.rows][:4] == ["29", "29", "28", "28"]
    assert len(looked.rows) == 20


def test_the_next_page_goes_on(portal: Portal, page: str):
    reply = browser(portal.operator).get(f"{page}?skip=20")

    assert (reply.context["first"], reply.context["last"], reply.context["more"]) == (21, 40, None)


def test_steps_lie_side_by_side(portal: Portal, page: str):
    reply = browser(portal.operator).get(f"{page}?step=2")

    assert (reply.context["step_before"], reply.context["step_behind"]) == (1, None)


def test_one_prompt_is_followed_over_the_steps(portal: Portal, page: str):
    looked = browser(portal.operator).get(f"{page}?key=7").context["looked"]

    assert [(row["step"], row["key"]) for row in looked.rows] == [(2, "7"), (1, "7")]


@pytest.mark.parametrize("filter", ["text=surely+4", "domain=add", "least=0.5&most=0.9", "learned=no", "least=much"])
def test_filters_are_taken_from_the_address(portal: Portal, page: str, filter: str):
    assert browser(portal.operator).get(f"{page}?{filter}").context["looked"].rows


def test_what_no_answer_matches_is_said(portal: Portal, page: str):
    assert "No answer is under this filter" in text(browser(portal.operator).get(f"{page}?text=nobody+said+that"))


def test_answers_of_the_shared_line_are_hidden_from_contributors(portal: Portal, page: str):
    told = text(browser(portal.contributor).get(page))

    assert ("reviewers and operators see them" in told, "surely" in told) == (True, False)


def test_a_directory_that_is_elsewhere_is_said(portal: Portal):
    TrainingRun.objects.filter(pk=portal.run.pk).update(directory=DIRECTORY)

    told = text(browser(portal.operator).get(f"/ops/runs/{portal.run.pk}/rollouts"))

    assert "not on this machine" in told


def test_they_can_be_had_as_a_file(portal: Portal, page: str):
    assert len(text(browser(portal.operator).get(f"{page}?format=csv")).splitlines()) == 21
