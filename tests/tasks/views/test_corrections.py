"""Pages that grow and correct a dataset: rejected rows, one task's form, changes, exports, another look."""

import json

import pytest

from tasks.models import Appeal, RowIssue, Task, Upload
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from tests.tasks.pipeline import imported

pytestmark = pytest.mark.django_db


def own(portal: Portal, state: str = "approved") -> Task:
    return Task.objects.filter(memberships__dataset=portal.contributed, state=state).earliest("pk")


def dataset(portal: Portal, verb: str) -> str:
    return f"/datasets/{portal.team.slug}/{portal.contributed.slug}{verb}"


def uploaded(portal: Portal) -> Upload:
    """Its one row has no reference."""
    return imported(portal.contributed, [{"prompt": "Compute 6 + 5.", "grader": {"type": "number"}}])


def test_the_rejected_rows_of_an_upload_come_as_a_file(portal: Portal):
    reply = browser(portal.contributor).get(f"/submit/{uploaded(portal).pk}/rejected")

    (row,) = (json.loads(line) for line in text(reply).splitlines())
    assert reply["Content-Disposition"] == 'attachment; filename="rows.rejected.jsonl"'
    assert (row["_line"], row["_code"]) == (1, "reference_missing")


def form(task: Task, **changes: str) -> dict[str, str]:
    given = {
        "prompt": task.prompt,
        "item": json.dumps(task.item),
        "grader": '{"type": "number"}',
        "domain": task.domain,
    }
    return given | changes


def test_a_corrected_task_leads_to_its_upload(portal: Portal):
    task = own(portal)

    reply = browser(portal.contributor).post(f"/tasks/{task.pk}/correct", form(task, item='{"reference": 1}'))

    assert (reply.status_code, reply["Location"]) == (302, f"/submit/{Upload.objects.latest('pk').pk}")


def test_what_is_wrong_with_a_correction_stands_beside_its_field(portal: Portal):
    task = own(portal)

    reply = browser(portal.contributor).post(f"/tasks/{task.pk}/correct", form(task, item='{"reference": "many"}'))

    assert (reply.status_code, list(reply.context["form"].errors)) == (400, ["item"])


def test_the_subject_of_a_task_changes_at_once(portal: Portal):
    task = own(portal)

    reply = browser(portal.contributor).post(f"/tasks/{task.pk}/correct", form(task, domain="sums"), follow=True)

    assert "The task says so now." in text(reply)


@pytest.mark.parametrize("who", ["reviewer", "operator"])
def test_workers_of_the_pool_correct_nobodys_task(portal: Portal, who: str):
    assert browser(getattr(portal, who)).get(f"/tasks/{own(portal).pk}/correct").status_code == 404


def test_changes_since_the_newest_version_are_counted(portal: Portal):
    Task.objects.filter(pk=own(portal).pk).update(state="rejected")

    reply = browser(portal.contributor).get(dataset(portal, "/changes"))

    withdrawn = portal.receipt.withdrawn
    assert (reply.context["counts"].removed, reply.context["kind"]) == (1 + withdrawn, "removed")


def test_a_dataset_is_exported_from_its_page(portal: Portal):
    reply = browser(portal.contributor).get(dataset(portal, "/export?format=csv&split=validation"))

    assert (reply["Content-Type"], text(reply).splitlines()[0].split(",")[0]) == ("text/csv", "prompt")


def test_the_list_of_a_contributed_dataset_leaves_out_the_sealed_split_as_a_file(portal: Portal):
    rows = json.loads(text(browser(portal.contributor).get(dataset(portal, "?format=json"))))

    assert {row["split"] for row in rows} == {"train", "validation"}


def test_the_sealed_split_is_not_offered_for_contributed_data(portal: Portal):
    assert 'name="sealed"' not in text(browser(portal.contributor).get(dataset(portal, "")))


# Another look


def test_a_rejected_task_offers_another_look_to_its_contributor(portal: Portal):
    task = own(portal)
    Task.objects.filter(pk=task.pk).update(state="rejected", reason_code="unclear")

    page = text(browser(portal.contributor).get(f"/tasks/{task.pk}"))

    assert f'action="/tasks/{task.pk}/appeal"' in page


def test_the_next_appeal_follows_an_answer(portal: Portal):
    appeal = Appeal.objects.latest("pk")

    reply = browser(portal.reviewer).post(f"/review/appeals/{appeal.pk}/grant", {"answer": "Right."})

    assert (reply["Location"], Task.objects.get(pk=appeal.task_id).state) == ("/review/appeals", "proved")


def test_the_contributor_reads_the_answer_on_the_page_of_the_task(portal: Portal):
    appeal = Appeal.objects.latest("pk")
    browser(portal.reviewer).post(f"/review/appeals/{appeal.pk}/refuse", {"answer": "Two readings are possible."})

    page = text(browser(portal.contributor).get(f"/tasks/{appeal.task_id}"))

    assert "Two readings are possible." in page


def test_another_look_at_a_refused_row_is_asked_on_the_uploads_page(portal: Portal):
    line = RowIssue.objects.filter(upload=portal.upload).earliest("line").line
    RowIssue.objects.filter(upload=portal.upload, line=line).update(code="secret_found")
    client = browser(portal.contributor)

    offered = f"/submit/{portal.upload.pk}/appeal" in text(client.get(f"/submit/{portal.upload.pk}"))
    client.post(f"/submit/{portal.upload.pk}/appeal", {"line": line, "note": "An invented key."})

    assert (offered, Appeal.objects.latest("pk").line) == (True, line)


def test_a_refused_row_stands_beside_its_issue(portal: Portal):
    appeal = Appeal.objects.create(
        space=portal.contributed.space,
        upload=uploaded(portal),
        line=1,
        code="secret_found",
        note="x",
        asked_by=portal.contributor,
    )

    page = text(browser(portal.reviewer).get(f"/review/appeals/{appeal.pk}"))

    assert ("Compute 6 + 5." in page, "has no <code>reference</code>" in page) == (True, True)
