"""/submit: what became of each row, and what is refused before anything is kept."""

from io import BytesIO
from typing import Any

import pytest

from tasks.models import Dataset, Upload
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
