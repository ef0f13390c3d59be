"""Texts marked in their places, and prompts side by side."""

import pytest

from tasks.models import Task, TaskFinding
from tasks.views import findings
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text


def test_a_span_is_marked_in_its_place():
    assert findings.marked("call 555 now", [(5, 8, "phone")]) == [("call ", ""), ("555", "phone"), (" now", "")]


def test_overlapping_spans_mark_nothing_twice():
    pieces = findings.marked("abcdef", [(0, 4, "one"), (2, 6, "two")])

    assert [(piece.text, piece.mark) for piece in pieces] == [("abcd", "one"), ("ef", "two")]


@pytest.mark.parametrize("span", [(-5, 2), (4, 99), (50, 60), (3, 3)])
def test_a_span_outside_the_text_breaks_nothing(span: tuple[int, int]):
    assert "".join(piece.text for piece in findings.marked("abcdef", [(*span, "x")])) == "abcdef"


def test_what_two_prompts_share_is_marked_on_both_sides():
    mine, theirs = findings.shared("Add two and three.", "Add four and three.")

    assert [piece.text for piece in mine if piece.mark] == ["Add ", "and three."]
    assert "".join(piece.text for piece in theirs) == "Add four and three."


def test_case_and_blanks_make_no_other_word():
    mine, _ = findings.shared("ADD TWO\t and  three.", "Add two and three.")

    assert [(piece.text, piece.mark) for piece in mine] == [("ADD TWO\t and  three.", "shared")]


def test_two_long_prompts_are_shown_without_marks():
    mine, _ = findings.shared("a " * 5000, "a " * 5000)

    assert [piece.mark for piece in mine] == [""]


def found(portal: Portal) -> Task:
    return Task.objects.filter(memberships__dataset=portal.contributed, findings__kind="overlap").latest("pk")


@pytest.mark.django_db
def test_markup_in_a_prompt_is_escaped_where_it_is_marked(portal: Portal):
    task = found(portal)
    Task.objects.filter(pk=task.pk).update(messages=[{"role": "user", "content": "<script>1</script>"}])

    page = text(browser(portal.contributor).get(f"/tasks/{task.pk}"))

    assert ("<script>1" in page, "&lt;script" in page) == (False, True)


@pytest.mark.django_db
def test_a_near_duplicate_is_shown_beside_the_task_that_came_first(portal: Portal):
    task = found(portal)
    other = TaskFinding.objects.get(task=task, kind="near_duplicate").other

    page = text(browser(portal.contributor).get(f"/tasks/{task.pk}"))

    assert f'href="/tasks/{other}"' in page


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["/tasks/{task}", "/submit/{upload}/findings"])
def test_a_wrapped_copy_is_shown_with_what_stands_around_it(portal: Portal, page: str):
    task = found(portal)
    evidence = {"shared": "why", "wrapper": ["question: … answer", "think step by step"]}
    TaskFinding.objects.filter(task=task, kind="near_duplicate").update(similarity=0.9996, evidence=evidence)
    upload = task.memberships.get(dataset=portal.contributed).upload_id

    shown = text(browser(portal.contributor).get(page.format(task=task.pk, upload=upload)))

    assert "“question: … answer”, “think step by step”" in shown
    assert "99.9 %" in shown


@pytest.mark.django_db
def test_another_teams_task_is_not_shown(portal: Portal):
    task = found(portal)
    others = Task.objects.exclude(memberships__dataset__team=portal.team).filter(state="approved").earliest("pk")
    TaskFinding.objects.filter(task=task, kind="near_duplicate").update(other=others.pk)

    page = text(browser(portal.contributor).get(f"/tasks/{task.pk}"))

    assert ("a task of another team" in page, f"/tasks/{others.pk}" in page) == (True, False)


@pytest.mark.django_db
def test_the_queue_is_filtered_by_what_was_found(portal: Portal):
    reply = browser(portal.reviewer).get("/review?state=proved&finding=near_duplicate")

    assert [kinds for _, _, kinds in reply.context["rows"]] == [["near_duplicate", "overlap", "personal"]]


@pytest.mark.django_db
def test_a_near_duplicate_is_rejected_as_one_with_one_key(portal: Portal):
    task = Task.objects.filter(space__is_system=True, state="proved", findings__kind="near_duplicate").earliest("pk")

    page = text(browser(portal.reviewer).get(f"/review/{task.pk}"))

    assert 'data-key="d"' in page
