"""/ops/models/<line>/suites: standings, versions, rotations; rotating with consequences first; bringing a file."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tasks.models import Task, Upload
from tasks.services.importing import import_upload
from tasks.services.proving import prove_upload
from tasks.states import Split
from tests.fixtures_portal import Portal, sealed_prompts
from tests.portal_client import browser, text
from trainer.models import Evaluation, ImportedSuite, Line, MixtureEntry, SuiteItem, SuiteRotation, SuiteVersion

pytestmark = pytest.mark.django_db
SUITES = "/ops/models/shared/suites"
ROTATE = f"{SUITES}/rotate?name=maximum"


@pytest.fixture
def asked(portal: Portal) -> Line:
    """Of the domain maximum: sealed tasks in a version that was looked at, and training tasks that nobody mixed."""
    line = portal.line
    rows = list(Task.objects.filter(space=line.team, domain="maximum").order_by("pk")[:12])
    Task.objects.filter(pk__in=[task.pk for task in rows]).update(split=Split.SEALED, state="approved")
    suite = SuiteVersion.objects.create(line=line, name="maximum", number=2, digest="9" * 64, item_count=len(rows))
    SuiteItem.objects.bulk_create(SuiteItem(suite=suite, position=n, task=task) for n, task in enumerate(rows))
    Evaluation.objects.get(pk=portal.held.evaluation_id).suites.add(suite)
    fresh = Task.objects.filter(space=line.team, domain="maximum").exclude(pk__in=[task.pk for task in rows])
    fresh.update(split=Split.TRAIN, state="approved")
    MixtureEntry.objects.filter(task__in=list(fresh)).delete()
    return line


def test_the_page_says_how_often_each_suite_was_looked_at(portal: Portal):
    page = text(browser(portal.operator).get(SUITES))

    assert "64 of 80" in page
    assert "the school at the corner, revision 2026-11, CC-BY-4.0" in page
    assert "It has no rows yet: bring a file." in page


def test_the_versions_are_filtered_and_exported(portal: Portal):
    reply = browser(portal.operator).get(f"{SUITES}?name=arithmetic&format=json")

    assert {row["name"] for row in json.loads(text(reply))} == {"arithmetic"}


def test_everybody_signed_in_reads_the_shared_lines_suites_and_changes_nothing(portal: Portal):
    page = text(browser(portal.stranger).get(SUITES))

    assert "As they stand" in page
    assert "Bring a suite" not in page
    assert "Rotate…" not in page
    assert not any(prompt in page for prompt in sealed_prompts(portal))


def test_a_private_lines_suites_are_nobody_elses(portal: Portal):
    assert browser(portal.stranger).get("/ops/models/carlas-lab-house/suites").status_code == 404


def test_a_line_without_suites_says_how_to_get_one(portal: Portal):
    page = text(browser(portal.contributor).get("/ops/models/carlas-lab-house/suites"))

    assert "No suite yet." in page


def test_a_rotation_tells_its_consequences_first(portal: Portal, asked: Line):
    page = text(browser(portal.operator).get(ROTATE))

    assert "Nothing has happened yet." in page
    assert "3 of the 12 items become validation" in page
    assert not SuiteRotation.objects.filter(name="maximum").exists()


def test_an_operator_rotates_with_a_reason(portal: Portal, asked: Line):
    reply = browser(portal.operator).post(ROTATE, {"reason": "A paper quotes it."}, follow=True)

    assert SuiteRotation.objects.get(name="maximum").actor == portal.operator
    assert "maximum was rotated" in text(reply)


def test_without_a_reason_nothing_is_rotated(portal: Portal, asked: Line):
    browser(portal.operator).post(ROTATE, {"reason": ""})

    assert not SuiteRotation.objects.filter(name="maximum").exists()


def test_a_stranger_rotates_nothing(portal: Portal, asked: Line):
    reply = browser(portal.stranger).post(ROTATE, {"reason": "Why not."})

    assert reply.status_code == 403
    assert not SuiteRotation.objects.filter(name="maximum").exists()


def test_a_suite_that_is_not_there_cannot_be_rotated(portal: Portal):
    assert browser(portal.operator).get(f"{SUITES}/rotate?name=nothing").status_code == 404


def _exam() -> SimpleUploadedFile:
    rows = [{"prompt": f"How many are {n} hens and {n} geese?", "reference": 2 * n} for n in range(100, 130)]
    return SimpleUploadedFile("exam.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))


FORM = {"name": "finals", "source": "us", "revision": "1", "licence": "MIT", "grader": '{"type": "number"}'}


def test_a_file_is_brought_and_its_upload_shown(portal: Portal):
    reply = browser(portal.operator).post(f"{SUITES}/new", {**FORM, "file": _exam()})

    suite = ImportedSuite.objects.get(name="finals")
    upload = Upload.objects.get(dataset=suite.dataset)
    assert reply.headers["Location"] == f"/submit/{upload.pk}"
    assert upload.uploaded_by == portal.operator
    assert browser(portal.operator).get(f"/submit/{upload.pk}").status_code == 200
    assert browser(portal.contributor).get(f"/submit/{upload.pk}").status_code == 404


def test_one_more_file_is_brought(portal: Portal):
    suite = ImportedSuite.objects.get(name="exam")

    browser(portal.operator).post(f"{SUITES}/{suite.pk}/bring", {"file": _exam()})

    assert Upload.objects.filter(dataset=suite.dataset).count() == 1


def test_what_is_missing_is_said_beside_what_was_typed(portal: Portal):
    reply = browser(portal.operator).post(f"{SUITES}/new", {**FORM, "licence": "", "file": _exam()})

    assert reply.status_code == 400
    assert "Name the licence" in text(reply)
    assert 'value="finals"' in text(reply)
    assert not ImportedSuite.objects.filter(name="finals").exists()


@pytest.mark.parametrize("who", ["stranger", "contributor"])
def test_who_does_not_operate_the_line_brings_nothing(portal: Portal, who: str):
    browser(getattr(portal, who)).post(f"{SUITES}/new", {**FORM, "file": _exam()})

    assert not ImportedSuite.objects.filter(name="finals").exists()


def test_the_dataset_of_a_suite_shows_no_row_and_leaves_in_no_export(portal: Portal):
    browser(portal.operator).post(f"{SUITES}/new", {**FORM, "file": _exam()})
    upload = Upload.objects.get(dataset__suite__name="finals")
    import_upload(upload.pk)
    prove_upload(upload.pk)
    address = f"/datasets/{upload.dataset.team.slug}/{upload.dataset.slug}"

    page = text(browser(portal.operator).get(address))
    exported = text(browser(portal.operator).get(f"{address}?format=json"))

    assert "every row is sealed, and nothing is trained on it" in page
    assert "Train on this" not in page
    assert 'name="sealed"' not in page
    assert json.loads(exported) == []


@pytest.mark.parametrize("who", ["stranger", "contributor", "reviewer"])
def test_the_rows_of_a_suite_are_told_to_nobody_outside(portal: Portal, who: str):
    browser(portal.operator).post(f"{SUITES}/new", {**FORM, "file": _exam()})
    upload = Upload.objects.get(dataset__suite__name="finals")
    import_upload(upload.pk)
    task = Task.objects.filter(memberships__upload=upload).earliest("pk")
    somebody = browser(getattr(portal, who))
    expected = 200 if who == "reviewer" else 404  # the pool's reviewers see the whole pool

    assert somebody.get(f"/tasks/{task.pk}").status_code == expected
    assert somebody.get(f"/datasets/{upload.dataset.team.slug}/{upload.dataset.slug}").status_code == expected
    assert ("hens and" in text(somebody.get("/datasets"))) is False
    assert upload.dataset.name not in text(browser(portal.contributor).get("/datasets"))


def test_a_report_that_was_a_look_too_many_says_so_under_its_verdict(portal: Portal):
    address = f"/ops/gates/{portal.held.pk}"

    page = text(browser(portal.operator).get(address))
    markdown = text(browser(portal.operator).get(f"{address}?format=markdown"))
    told = json.loads(text(browser(portal.operator).get(f"{address}?format=json")))

    assert page.index("3 more than its budget of 20") < page.index("Difference on each suite")
    assert "- arithmetic was looked at by 23 candidates" in markdown
    assert "look 7 of 20" in markdown
    assert told["decision"]["exposure"][0]["used"] == 23


def test_an_evaluation_shows_which_look_it_is(portal: Portal):
    page = text(browser(portal.operator).get(f"/ops/evaluations/{portal.held.evaluation_id}"))

    assert "look 23 of 20" in page
    assert "look 7 of 20" in page
