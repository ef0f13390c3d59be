"""What must work where scripts do not run."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tasks.models import Task, Upload
from tests.browser.pages import pages

pytestmark = pytest.mark.django_db


def test_the_run_page_shows_its_numbers_and_findings(visit: Any, portal: Any):
    page = visit(portal.operator, java_script_enabled=False).open(f"/ops/runs/{portal.run.pk}")

    expect(page.get_by_text("Training reward rose from")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="1.930").first).to_be_visible()


def test_the_wheel_shows_its_counts(visit: Any, portal: Any):
    page = visit(portal.operator, java_script_enabled=False).open("/")

    expect(page.get_by_role("link", name="rows uploaded")).to_be_visible()


def test_rows_can_be_pasted_and_uploaded(visit: Any, portal: Any):
    page = visit(portal.contributor, java_script_enabled=False).open("/submit")

    page.get_by_text("or paste rows").click()
    page.locator("textarea[name=pasted]").fill(
        '{"prompt": "Compute 1 + 1.", "reference": 2, "grader": {"type": "number"}}'
    )
    page.locator("select[name=dataset]").select_option(str(portal.private.pk))
    page.get_by_role("button", name="Upload").click()

    upload = Upload.objects.get(dataset=portal.private, filename="pasted.jsonl")
    expect(page).to_have_url(f"{page.url.partition('/submit')[0]}/submit/{upload.pk}")


def test_a_task_can_be_rejected_with_a_reason(visit: Any, portal: Any):
    _, path = pages(portal)["review-task"]
    page = visit(portal.reviewer, java_script_enabled=False).open(path)
    task = int(path.partition("?")[0].rpartition("/")[2])

    page.get_by_label("Reason").select_option("unclear")
    page.get_by_role("button", name="Reject", exact=True).click()

    assert Task.objects.get(pk=task).state == "rejected"


def test_a_grader_can_be_tried_checked_and_used(visit: Any, portal: Any):
    page = visit(portal.contributor, java_script_enabled=False).open(f"/submit/{portal.upload.pk}/grader")

    page.locator("select[name=example]").select_option("number")
    page.get_by_role("button", name="Insert it").click()
    page.get_by_label("the one in the editor").check()
    page.locator("textarea[name=completion]").fill("no number")
    page.get_by_role("button", name="Grade it").click()
    expect(page.locator("#grade").get_by_text("incorrect")).to_be_visible()
    page.get_by_role("button", name="Check it").click()
    page.get_by_role("button", name="Use for rows to come").click()

    portal.contributed.refresh_from_db()
    assert portal.contributed.default_grader.config["absolute_tolerance"] == 0.01
