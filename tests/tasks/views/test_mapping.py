"""/submit/<id>/mapping: nothing is imported before somebody has seen how the rows are read."""

import json
from typing import Any

import pytest

from tasks.models import SavedMapping, Upload
from tasks.services import accounts, leases, mapping, uploads
from tasks.states import Role, UploadState
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text

pytestmark = pytest.mark.django_db

CSV = b"frage,antwort,thema\nWas ist 1 + 1?,2,Summen\nWas ist 2 + 2?,4,Summen\n"
CHOSEN = {"dialect": "columns", "target-0": "prompt", "target-1": "reference", "target-2": "metadata.", "name-2": "t"}


@pytest.fixture
def waiting(portal: Portal) -> Upload:
    return unmapped(portal, CSV, "fragen.csv")


def unmapped(portal: Portal, body: bytes, filename: str) -> Upload:
    upload, _ = uploads.receive(portal.private, [body], filename=filename, actor=portal.contributor)
    leases.claim(Upload, upload.pk, UploadState.RECEIVED, UploadState.IMPORTING)
    upload.refresh_from_db()
    assert mapping.look(upload) is None
    upload.refresh_from_db()
    return upload


def post(portal: Portal, upload: Upload, verb: str, headers: Any = None, **changes: str) -> Any:
    form = {**CHOSEN, "verb": verb, **changes}
    return browser(portal.contributor).post(f"/submit/{upload.pk}/mapping", form, headers=headers)


def test_the_page_of_an_upload_that_waits_is_the_one_of_its_mapping(portal: Portal, waiting: Upload):
    assert browser(portal.contributor).get(f"/submit/{waiting.pk}")["Location"] == f"/submit/{waiting.pk}/mapping"


def test_the_page_of_an_upload_that_begins_to_wait_stops_asking_and_loads_anew(portal: Portal, waiting: Upload):
    assert browser(portal.contributor).get(f"/submit/{waiting.pk}/progress")["X-Finished"] == "1"


@pytest.mark.parametrize(("target", "told"), [("reference", False), ("metadata.", True)])
def test_columns_without_a_right_answer_are_told(portal: Portal, waiting: Upload, target: str, told: bool):
    page = text(post(portal, waiting, "preview", **{"target-1": target, "name-1": "antwort", "target-2": "domain"}))

    assert ("No column holds the right answer" in page) == told


def test_the_page_shows_columns_and_rows(portal: Portal, waiting: Upload):
    page = text(browser(portal.contributor).get(f"/submit/{waiting.pk}/mapping"))

    assert ("frage" in page, "Was ist 2 + 2?" in page, "No column is the prompt" in page) == (True, True, True)


def test_a_preview_shows_what_rows_become_and_stores_nothing(portal: Portal, waiting: Upload):
    page = text(post(portal, waiting, "preview"))

    waiting.refresh_from_db()
    assert ("<dt>reference</dt>" in page, waiting.state, waiting.mapping) == (True, "unmapped", None)


def test_a_script_that_previews_gets_the_rows_alone(portal: Portal, waiting: Upload):
    part = text(post(portal, waiting, "preview", headers={"X-Requested-With": "preview"}))

    assert ("<dt>prompt</dt>" in part, "<html" in part) == (True, False)


def test_confirming_starts_the_import(portal: Portal, waiting: Upload):
    reply = post(portal, waiting, "confirm")

    waiting.refresh_from_db()
    columns = {"frage": "prompt", "antwort": "reference", "thema": "metadata.t"}
    assert (reply["Location"], waiting.state) == (f"/submit/{waiting.pk}", "received")
    assert waiting.mapping == {"dialect": "columns", "columns": columns}


def test_what_is_to_be_remembered_is(portal: Portal, waiting: Upload):
    post(portal, waiting, "confirm", remember="on")

    assert SavedMapping.objects.get().user == portal.contributor


def test_a_grader_for_the_file_is_part_of_its_mapping(portal: Portal, waiting: Upload):
    post(portal, waiting, "confirm", grader='{"type": "number"}')

    waiting.refresh_from_db()
    assert waiting.mapping["grader"] == {"type": "number"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"target-0": "ignore"}, "No column is the prompt"),
        ({"target-2": "reference"}, "2 columns are the reference"),
        ({"grader": '{"type": "numbr"}'}, "no grader of type"),
        ({"dialect": "alien"}, "Select a valid choice"),
        ({"target-0": "nonsense"}, "Select a valid choice"),
    ],
)
def test_what_makes_no_task_is_said_and_nothing_begins(
    portal: Portal, waiting: Upload, changes: dict[str, str], told: str
):
    page = text(post(portal, waiting, "confirm", **changes))

    waiting.refresh_from_db()
    assert (told in page, waiting.state) == (True, "unmapped")


def test_a_known_dialect_needs_one_look(portal: Portal):
    rows = [{"question": f"What is {n} + 1?", "answer": f"It is #### {n + 1}"} for n in range(5)]
    upload = unmapped(portal, b"".join(json.dumps(row).encode() + b"\n" for row in rows), "gsm.jsonl")

    page = text(browser(portal.contributor).get(f"/submit/{upload.pk}/mapping"))

    assert "These look like questions of GSM8K" in page


def test_columns_inside_objects_are_offered(portal: Portal):
    rows = [{"prompt": "1 + 1?", "reward_model": {"style": "rule", "ground_truth": "2"}, "data_source": "openai/gsm8k"}]
    upload = unmapped(portal, json.dumps(rows[0]).encode(), "verl.jsonl")

    page = text(browser(portal.contributor).get(f"/submit/{upload.pk}/mapping"))

    assert "reward_model.ground_truth" in page


def test_who_may_only_look_finds_no_button(portal: Portal, waiting: Upload):
    portal.contributor.memberships.filter(team=portal.team).exclude(role="reviewer").delete()

    page = text(browser(portal.contributor).get(f"/submit/{waiting.pk}/mapping"))

    assert "Confirm and import" not in page


def test_a_stranger_sees_nothing(portal: Portal, waiting: Upload):
    assert browser(portal.stranger).get(f"/submit/{waiting.pk}/mapping").status_code == 404


def test_how_an_imported_file_was_read_can_still_be_seen(portal: Portal):
    assert browser(portal.contributor).get(f"/submit/{portal.upload.pk}/mapping").status_code == 200


def test_an_upload_that_waits_is_withdrawn_on_its_page(portal: Portal, waiting: Upload):
    page = text(browser(portal.contributor).get(f"/submit/{waiting.pk}/mapping"))

    reply = browser(portal.contributor).post(f"/submit/{waiting.pk}/withdraw")

    waiting.refresh_from_db()
    assert ("Withdraw this upload" in page, reply["Location"], waiting.withdrawn) == (True, "/submit", True)


def test_a_withdrawn_upload_says_so_and_offers_no_second_try(portal: Portal, waiting: Upload):
    browser(portal.contributor).post(f"/submit/{waiting.pk}/withdraw")

    page = text(browser(portal.contributor).get(f"/submit/{waiting.pk}"))

    assert "Withdrawn before a row" in page
    assert ("The import failed" in page, "Import again" in page) == (False, False)


def test_the_columns_of_a_withdrawn_upload_lead_to_its_page(portal: Portal, waiting: Upload):
    browser(portal.contributor).post(f"/submit/{waiting.pk}/withdraw")

    reply = browser(portal.contributor).get(f"/submit/{waiting.pk}/mapping")

    assert reply["Location"] == f"/submit/{waiting.pk}"


def test_who_may_not_confirm_is_offered_no_withdrawal(portal: Portal, waiting: Upload):
    accounts.join(portal.private.team, portal.stranger, Role.REVIEWER, actor=None)

    page = text(browser(portal.stranger).get(f"/submit/{waiting.pk}/mapping"))

    assert "Withdraw this upload" not in page
