"""Suites over HTTP: standings, rotation with consequences first, and a file brought as a suite."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tasks.models import Dataset, Task
from tasks.services.importing import import_upload
from tasks.services.proving import prove_upload
from tasks.states import Split
from tests import world
from tests.cast import Person
from trainer.models import ImportedSuite, Line, ModelVersion, SuiteRotation
from trainer.services import evaluations, imported_suites

pytestmark = pytest.mark.django_db
ABOUT = {"name": "exam", "source": "our school", "licence": "CC-BY-4.0", "revision": "2026-11"}


@pytest.fixture
def line(operator: Person) -> Line:
    line, _ = world.line_of(operator, "shared", "shared")
    return line


@pytest.fixture
def asked(line: Line, contributor: Person) -> Line:
    """With one suite that one candidate was evaluated on."""
    dataset = world.contributed_dataset(contributor)
    world.imported(dataset, world.rows(80), contributor)
    Task.objects.filter(memberships__dataset=dataset).update(state="approved", split=Split.TRAIN)
    sealed = Task.objects.filter(memberships__dataset=dataset).order_by("pk").values_list("pk", flat=True)[:40]
    Task.objects.filter(pk__in=list(sealed)).update(split=Split.SEALED)
    version = ModelVersion.objects.create(line=line, number=1, digest="1" * 64, origin="run")
    evaluations.start(version, actor=None)
    return line


def call(person: Person, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    reply = getattr(person.api, method)(f"/api/v1/{path}", body, format="json")
    return reply.status_code, reply.json()


def test_standings_say_how_often_each_suite_was_looked_at(asked: Line, operator: Person):
    (found,) = operator.api.get(f"/api/v1/suites/standings?line={asked.pk}").json()

    assert (found["name"], found["sealed"], found["used"], found["budget"]) == ("sums", 40, 1, 20)
    assert found["version"]["number"] == 1
    assert found["source"] == "sealed tasks of the domain sums"


def test_without_confirmation_a_rotation_is_only_told(asked: Line, operator: Person):
    status, told = call(operator, "post", "suite-rotations", {"line": asked.pk, "name": "sums"})

    assert (status, told["wanted"], told["retired"], told["sealed"]) == (200, 10, 10, 10)
    assert not SuiteRotation.objects.exists()


def test_a_confirmed_rotation_is_done_and_listed(asked: Line, operator: Person):
    body = {"line": asked.pk, "name": "sums", "reason": "A paper quotes it.", "confirm": True}
    status, done = call(operator, "post", "suite-rotations", body)

    assert (status, done["retired"], done["actor"]) == (201, 10, "otto")
    assert call(operator, "get", f"suite-rotations/{done['id']}")[1]["reason"] == "A paper quotes it."


def test_who_does_not_operate_the_line_rotates_nothing(asked: Line, contributor: Person):
    body = {"line": asked.pk, "name": "sums", "reason": "Why not.", "confirm": True}

    assert call(contributor, "post", "suite-rotations", body)[0] == 403
    assert not SuiteRotation.objects.exists()


def test_a_suite_that_is_not_there_has_nothing_to_rotate(asked: Line, operator: Person):
    status, refused = call(operator, "post", "suite-rotations", {"line": asked.pk, "name": "nothing"})

    assert (status, refused["code"]) == (400, "nothing_to_rotate")


def test_a_file_is_brought_as_a_suite_and_asked_once_it_is_through(line: Line, operator: Person):
    status, suite = call(operator, "post", "imported-suites", {"line": line.pk, **ABOUT, "grader": {"type": "number"}})
    body = b"".join(
        json.dumps({"prompt": f"How many are {n} hens and {n} geese?", "reference": 2 * n}).encode() + b"\n"
        for n in range(100, 130)
    )
    sent = operator.api.post(
        "/api/v1/uploads", {"dataset": suite["dataset"], "file": SimpleUploadedFile("exam.jsonl", body)}
    )
    upload = sent.json()
    import_upload(upload["id"])
    prove_upload(upload["id"])
    imported_suites.register_new()

    shown = call(operator, "get", f"imported-suites/{suite['id']}")[1]
    assert status == 201
    assert (shown["registered"], shown["waits_for"]) == (30, "")
    assert set(Task.objects.values_list("split", flat=True)) == {"sealed"}


def test_a_published_set_brings_its_source_licence_and_mapping(line: Line, operator: Person):
    body = {"line": line.pk, "name": "gsm8k", "catalogue": "gsm8k", "revision": "0123abc"}

    status, suite = call(operator, "post", "imported-suites", body)

    assert (status, suite["licence"]) == (201, "MIT")
    assert suite["mapping"]["columns"] == {"question": "prompt", "answer": "reference"}


def test_a_suite_without_a_licence_is_refused(line: Line, operator: Person):
    status, refused = call(operator, "post", "imported-suites", {"line": line.pk, **ABOUT, "licence": " "})

    assert (status, refused["param"]) == (400, "licence")


def test_of_a_shared_lines_suite_others_see_what_it_is_and_not_its_dataset(
    line: Line, operator: Person, stranger: Person
):
    suite = imported_suites.create(line, actor=operator.user, **ABOUT)

    assert call(stranger, "get", f"imported-suites/{suite.pk}")[0] == 200
    assert call(stranger, "get", f"datasets/{suite.dataset_id}")[0] == 404
    assert not Dataset.objects.for_user(stranger.user).exists()


def test_a_private_lines_suite_is_nobody_elses(contributor: Person, stranger: Person):
    line, _ = world.line_of(contributor, "carlas")
    suite = imported_suites.create(line, actor=None, **ABOUT)

    assert call(stranger, "get", f"imported-suites/{suite.pk}")[0] == 404
    assert call(stranger, "post", "imported-suites", {"line": line.pk, **ABOUT, "name": "mine"})[0] == 404
    assert ImportedSuite.objects.count() == 1
