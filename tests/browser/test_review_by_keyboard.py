"""Review without a mouse: every key does what its button does."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tasks.models import Review, Task

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(visit: Any, portal: Any) -> Page:
    """The first proved task of the pool, open for review."""
    first = Task.objects.filter(space__is_system=True, state="proved").latest("pk")
    return visit(portal.reviewer).open(f"/review/{first.pk}?state=proved")


def shown(page: Page) -> int:
    return int(page.locator("h1").inner_text().removeprefix("Task "))


def press(page: Page, key: str) -> None:
    """Press a key that leads to another page, and wait for it."""
    with page.expect_navigation():
        page.keyboard.press(key)


def test_j_goes_to_the_next_task_and_k_back(page: Page):
    first = shown(page)

    press(page, "j")
    second = shown(page)
    press(page, "k")

    assert (second < first, shown(page)) == (True, first)


def test_a_approves_and_shows_the_next_task_and_u_takes_it_back(page: Page):
    task = shown(page)

    press(page, "a")
    after_a = (Task.objects.get(pk=task).state, shown(page) != task)
    press(page, "u")

    assert (after_a, Task.objects.get(pk=task).state) == (("approved", True), "proved")


def test_r_asks_for_a_reason_and_enter_rejects(page: Page):
    task = shown(page)

    page.keyboard.press("r")
    page.get_by_label("Reason").select_option("ambiguous")
    page.get_by_role("textbox", name="Note").fill("Which of the two?")
    press(page, "Enter")

    review = Review.objects.filter(task=task, undone_at=None).latest("pk")
    assert (review.decision, review.reason_code, review.note) == ("rejected", "ambiguous", "Which of the two?")


def test_a_letter_typed_into_the_note_decides_nothing(page: Page):
    task = shown(page)

    page.keyboard.press("r")
    page.get_by_role("textbox", name="Note").press_sequentially("a u j")

    assert (shown(page), Task.objects.get(pk=task).state) == (task, "proved")


def test_a_question_mark_lists_the_keys(page: Page):
    page.keyboard.press("?")

    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
