"""/submit: what became of each row, and what is refused before anything is kept."""

from io import BytesIO
from typing import Any

import pytest

from tasks.formats.hub import HubFile
from tasks.models import Dataset, PartialUpload, Task, TaskFinding, Upload
from tasks.services import fetching
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text

pytestmark = pytest.mark.django_db
ROW = '{"prompt": "Compute 1 + 2.", "reference": 3, "grader": {"type": "number"}}\n'


def new(portal: Portal, **changes: Any) -> dict[str, Any]:
    """The form for a new private dataset."""
    return {"pasted": ROW, "name": "Fresh", "team": portal.team.pk, "visibility": "private", **changes}


def test_every_broken_row_is_listed_with_its_remedy(portal: Portal):
    page = text(browser(portal.contributor).get(f"/submit/{portal.upload.pk}"))

    assert "Write one complete JSON object on the line." in page


def test_a_code_in_the_address_filters_the_issues(portal: Portal):
    page = text(browser(portal.contributor).get(f"/submit/{portal.upload.pk}?code=not_json"))

    assert ("ends too early" in page, "The row has no prompt." in page) == (True, False)


def test_the_issues_can_be_had_as_csv(portal: Portal):
    file = text(browser(portal.contributor).get(f"/submit/{portal.upload.pk}?format=csv"))

    assert file.splitlines()[0] == "line,field,code,sentence,remedy,value"


def test_pasted_rows_make_an_upload_in_a_new_dataset(portal: Portal):
    reply = browser(portal.contributor).post("/submit", new(portal))

    upload = Upload.objects.get(dataset__name="Fresh")
    assert (reply.status_code, reply["Location"]) == (302, f"/submit/{upload.pk}")


def test_a_script_that_watches_the_upload_is_told_where_to_go(portal: Portal):
    client = browser(portal.contributor)

    reply = client.post("/submit", new(portal), headers={"X-Requested-With": "upload"})

    assert (reply.status_code, reply["X-Location"]) == (204, f"/submit/{Upload.objects.latest('pk').pk}")


def test_the_same_bytes_again_lead_to_the_first_upload(portal: Portal):
    client = browser(portal.contributor)
    client.post("/submit", new(portal))
    dataset = Dataset.objects.get(name="Fresh")

    reply = client.post("/submit", {"pasted": ROW, "dataset": dataset.pk, "visibility": "private"}, follow=True)

    assert "nothing was added" in text(reply)


def test_a_contribution_without_licence_and_consent_keeps_nothing(portal: Portal):
    reply = browser(portal.contributor).post("/submit", new(portal, visibility="contributed"))

    page = text(reply)
    assert (reply.status_code, "needs a licence" in page, "needs your consent" in page) == (400, True, True)
    assert not Dataset.objects.filter(name="Fresh").exists()


@pytest.mark.parametrize("path", ["/submit", "/submit/announced"])
def test_a_name_that_is_taken_is_said_beside_it(portal: Portal, path: str):
    form = new(portal, name=portal.private.name, team=portal.private.team_id, filename="a.jsonl", length=5)

    reply = browser(portal.contributor).post(path, form)

    assert (reply.status_code, list(reply.context["form"].errors)) == (400, ["name"])
    assert "already: choose another name" in text(reply)


def test_a_new_dataset_does_not_stay_where_its_announced_file_is_refused(portal: Portal, settings: Any):
    settings.UPLOAD_MAX_BYTES = 4

    reply = browser(portal.contributor).post("/submit/announced", new(portal, filename="a.jsonl", length=5))

    assert (list(reply.context["form"].errors), Dataset.objects.filter(name="Fresh").exists()) == (["file"], False)


def test_no_dataset_is_made_for_an_empty_file(portal: Portal):
    empty = BytesIO(b"")
    empty.name = "empty.jsonl"

    browser(portal.contributor).post("/submit", new(portal, pasted="", file=empty))

    assert not Dataset.objects.filter(name="Fresh").exists()


def test_an_empty_file_is_refused_in_one_sentence(portal: Portal):
    empty = BytesIO(b"")
    empty.name = "empty.jsonl"
    form = {"file": empty, "dataset": portal.private.pk, "visibility": "private"}

    reply = browser(portal.contributor).post(
        "/submit", form, headers={"Referer": "http://testserver/submit"}, follow=True
    )

    assert "The file is empty" in text(reply)


def test_a_grader_that_is_not_known_is_refused_at_its_field(portal: Portal):
    reply = browser(portal.contributor).post("/submit", new(portal, grader='{"type": "numbr"}'))

    assert "There is no grader of type &#x27;numbr&#x27;." in text(reply)


def test_a_stranger_cannot_choose_another_teams_dataset(portal: Portal):
    form = {"pasted": ROW, "dataset": portal.private.pk, "visibility": "private"}

    assert browser(portal.stranger).post("/submit", form).status_code == 400


def test_a_finished_upload_ends_its_polling(portal: Portal):
    assert browser(portal.contributor).get(f"/submit/{portal.upload.pk}/progress")["X-Finished"] == "1"


def test_a_file_is_announced_before_its_bytes(portal: Portal):
    form = new(portal, filename="big.parquet", length=10_000_000)

    reply = browser(portal.contributor).post("/submit/announced", form)

    partial = PartialUpload.objects.get()
    assert (reply.status_code, reply.json()["address"]) == (201, f"/api/v1/uploads/resumable/{partial.pk}")
    assert (partial.filename, partial.length, partial.dataset.name) == ("big.parquet", 10_000_000, "Fresh")


def test_bytes_that_arrive_in_pieces_and_were_there_before_say_so(portal: Portal):
    form = new(portal, dataset=portal.private.pk, filename="again.jsonl", length=5)
    client = browser(portal.contributor)
    client.post("/submit/announced", form)
    partial = PartialUpload.objects.get()
    PartialUpload.objects.update(upload=portal.upload)

    page = client.get(f"/submit/announced/{partial.pk}", follow=True)

    assert (page.redirect_chain[-1][0], "uploaded before" in text(page)) == (f"/submit/{portal.upload.pk}", True)


def test_what_somebody_else_sends_is_not_there(portal: Portal):
    browser(portal.contributor).post("/submit/announced", new(portal, filename="a.jsonl", length=5))

    reply = browser(portal.stranger).get(f"/submit/announced/{PartialUpload.objects.get().pk}")

    assert reply.status_code == 404


def test_an_announcement_with_mistakes_is_the_form_again(portal: Portal):
    reply = browser(portal.contributor).post("/submit/announced", new(portal, filename="a", length=5, name=""))

    assert (reply.status_code, "Give the new dataset a name" in text(reply)) == (400, True)


def test_a_file_on_its_way_is_shown(portal: Portal):
    client = browser(portal.contributor)
    client.post("/submit/announced", new(portal, filename="big.parquet", length=10_000_000))

    assert "big.parquet" in text(client.get("/submit"))


def test_a_new_dataset_has_nothing_to_replace(portal: Portal):
    reply = browser(portal.contributor).post("/submit", new(portal, mode="replace"))

    assert "holds nothing to replace" in text(reply)


def test_a_file_may_replace_what_a_dataset_holds(portal: Portal):
    form = {"pasted": ROW, "dataset": portal.private.pk, "visibility": "private", "mode": "replace"}

    browser(portal.contributor).post("/submit", form)

    assert Upload.objects.latest("pk").mode == "replace"


def test_a_file_of_corrected_rows_says_which_upload_it_corrects(portal: Portal):
    file = BytesIO(ROW.encode())
    file.name = "corrected.jsonl"

    browser(portal.contributor).post(f"/submit/{portal.upload.pk}/corrected", {"file": file})

    assert Upload.objects.latest("pk").corrects == portal.upload


@pytest.mark.parametrize("query", ["", "?kind=duplicate", "?kind=near_duplicate"])
def test_findings_are_listed(portal: Portal, query: str):
    assert browser(portal.contributor).get(f"/submit/{portal.upload.pk}/findings{query}").status_code == 200


def test_a_finding_shows_rule_similarity_and_the_other_task(portal: Portal):
    task, other = Task.objects.filter(memberships__upload=portal.upload)[:2]
    evidence = {"shared_text": "Compute this"}
    TaskFinding.objects.create(
        task=task, kind="near_duplicate", rule="near", other=other.pk, similarity=0.91, evidence=evidence
    )

    page = text(browser(portal.contributor).get(f"/submit/{portal.upload.pk}/findings"))

    assert ("91.0 %" in page, f"/tasks/{other.pk}" in page, "Compute this" in page) == (True, True, True)


def test_a_hub_that_cannot_be_reached_is_said_beside_its_field(portal: Portal, monkeypatch: Any):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    reply = browser(portal.contributor).post("/submit", new(portal, pasted="", hub="ada/sums"))

    assert (reply.status_code, "No hub is reachable" in text(reply)) == (400, True)
    assert not Dataset.objects.filter(name="Fresh").exists()


def test_a_file_of_a_hub_is_on_its_way(portal: Portal, monkeypatch: Any):
    monkeypatch.setattr(fetching, "find", lambda *args: HubFile("data/train.parquet", 10, "http://hub/file"))

    page = text(browser(portal.contributor).post("/submit", new(portal, pasted="", hub="ada/sums"), follow=True))

    assert ("is being fetched" in page, "train.parquet" in page) == (True, True)
