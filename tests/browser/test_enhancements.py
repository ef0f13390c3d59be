"""What the small scripts add: live parts, curves, the theme, the drop zone."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tasks.models import Sample, Upload
from trainer.services import serving
from trainer.views.findings import CHARTS

pytestmark = pytest.mark.django_db


def test_the_chosen_theme_stays_on_the_next_page(visit: Any, portal: Any):
    visitor = visit(portal.operator, color_scheme="light")
    page = visitor.open("/")

    page.get_by_role("button", name="Switch to dark colours").click()
    visitor.open("/datasets")

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"


def test_curves_are_drawn_from_the_metrics(visit: Any, portal: Any):
    page = visit(portal.operator).open(f"/ops/runs/{portal.run.pk}")

    without_numbers = {"change", "validation_domain"}  # their sentences say why
    expect(page.locator(".chart canvas")).to_have_count(len(CHARTS) - len(without_numbers))


def test_a_dropped_file_is_uploaded_and_its_page_opens(visit: Any, portal: Any, tmp_path: Path):
    file = tmp_path / "dropped.jsonl"
    file.write_text('{"prompt": "Compute 2 + 2.", "reference": 4, "grader": {"type": "number"}}\n')
    page = visit(portal.contributor).open(f"/submit?dataset={portal.private.pk}")

    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_text("dropped.jsonl, 1 kB, will be uploaded.")).to_be_visible()
    with page.expect_navigation():
        page.get_by_role("button", name="Upload").click()

    upload = Upload.objects.get(dataset=portal.private, filename="dropped.jsonl")
    assert page.url.endswith(f"/submit/{upload.pk}")


def test_the_status_of_a_run_that_goes_on_is_polled(visit: Any, portal: Any):
    page = visit(portal.contributor).open(f"/ops/runs/{portal.going.pk}")

    with page.expect_response(lambda reply: reply.url.endswith("/status")) as answer:
        pass

    assert answer.value.status == 200


def test_a_part_that_has_not_changed_is_answered_304(visit: Any, portal: Any):
    page = visit(portal.stranger).open("/")

    with page.expect_response(
        lambda reply: reply.url.endswith("/wheel") and reply.status == 304, timeout=15_000
    ) as answer:
        pass

    assert answer.value.status == 304


def test_the_source_field_shows_where_the_grader_is_written_in_python(visit: Any, portal: Any):
    page = visit(portal.contributor).open(f"/submit/{portal.upload.pk}/grader")
    expect(page.locator("textarea[name=source]")).to_be_hidden()

    page.locator("textarea[name=grader]").fill('{"type": "python"}')

    expect(page.locator("textarea[name=source]")).to_be_visible()


def test_control_and_enter_grade_what_was_typed(visit: Any, portal: Any):
    page = visit(portal.contributor).open(f"/submit/{portal.upload.pk}/grader")
    answer = page.locator("[data-gold]").inner_text()

    page.locator("textarea[name=completion]").fill(f"It is {answer}.")
    with page.expect_navigation():
        page.locator("textarea[name=completion]").press("Control+Enter")

    expect(page.locator("#grade").get_by_text("Matches the reference.")).to_be_visible()


def test_enter_in_the_row_field_shows_that_row(visit: Any, portal: Any):
    page = visit(portal.contributor).open(f"/submit/{portal.upload.pk}/grader")

    page.locator("input[name=at]").fill("7")
    with page.expect_navigation():
        page.locator("input[name=at]").press("Enter")

    expect(page.get_by_text("Line 7, task")).to_be_visible()


def test_an_answer_that_a_script_fetched_can_be_marked_wrong(visit: Any, portal: Any, monkeypatch: pytest.MonkeyPatch):
    said = {"choices": [{"message": {"content": "It is 75."}}], "usage": {"completion_tokens": 3}}
    monkeypatch.setattr(serving, "chat", lambda *_args, **_options: said)
    page = visit(portal.contributor).open("/playground")
    page.get_by_role("button", name="Ask both").click()
    wrong = page.locator("details[data-wrong=right]")

    wrong.get_by_text("This answer is wrong").click()
    wrong.get_by_text("or another grader").click()
    wrong.get_by_label("Start from an example").select_option("number")
    wrong.locator("textarea[name=reference]").fill("85")
    wrong.get_by_label("I agree").check()
    with page.expect_navigation():
        wrong.get_by_role("button", name="Keep it to send back").click()

    kept = Sample.objects.latest("pk")
    expect(page.get_by_text("Kept in your basket")).to_be_visible()
    assert (kept.version, kept.answer, kept.row["grader"]["absolute_tolerance"]) == ("shared/v3", "It is 75.", 0.01)
