"""/graders: the catalogue, a configuration checked, a text graded against any row that the caller may see."""

from collections.abc import Iterator
from typing import Any

import pytest

from tasks.graders import judges, registry
from tasks.graders.judges import Judges
from tasks.models import DatasetTask, Grader, Upload
from tasks.services import trying
from tests import cast, world
from tests.cast import Person
from tests.fakes import judge, model_server
from tests.fakes.model_server import FakeModelServer

pytestmark = pytest.mark.django_db
RUN, VALIDATE = "/api/v1/graders/run", "/api/v1/graders/validate"


def _example(kind: str) -> dict[str, Any]:
    example = registry.modules()[kind].EXAMPLE
    return {name: example[name] for name in ("grader", "item", "completion")}


@pytest.fixture
def upload(contributor: Person) -> Upload:
    return world.imported(world.private_dataset(contributor), world.rows(3), contributor)


@pytest.fixture
def row(upload: Upload) -> DatasetTask:
    """Its answer is 7."""
    return upload.memberships.select_related("task").get(line=1)


def post(person: Person, path: str, body: Any) -> Any:
    return person.api.post(path, body, format="json")


def test_the_catalogue_names_every_type(contributor: Person):
    types = [entry["type"] for entry in contributor.api.get("/api/v1/graders").json()]

    assert types == list(registry.types())


@pytest.mark.parametrize(
    "kind", [kind for kind in registry.types() if not registry.asks_a_model(_example(kind)["grader"])]
)
def test_a_grader_grades_its_own_example_as_correct(contributor: Person, kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trying, "SECONDS", 120.0)  # workers that start on a busy machine

    grade = post(contributor, RUN, _example(kind)).json()

    assert (grade["outcome"], grade["score"]) == ("correct", 1.0)


def test_a_text_is_graded_against_a_task_with_its_own_grader(contributor: Person, row: DatasetTask):
    grade = post(contributor, RUN, {"task": row.task_id, "completion": "It is 7."}).json()

    assert (grade["outcome"], grade["read"], grade["usage"]) == ("correct", "7", {})


def test_a_text_is_graded_against_a_line_of_an_upload(contributor: Person, upload: Upload):
    grade = post(contributor, RUN, {"upload": upload.pk, "line": 2, "completion": "10"}).json()

    assert grade["outcome"] == "correct"


def test_a_given_grader_wins_over_the_rows_own(contributor: Person, row: DatasetTask):
    grader = {"type": "number", "absolute_tolerance": 5}

    grade = post(contributor, RUN, {"task": row.task_id, "grader": grader, "completion": "11"}).json()

    assert grade["outcome"] == "correct"


def test_a_given_item_wins_over_the_rows_own(contributor: Person, row: DatasetTask):
    grade = post(contributor, RUN, {"task": row.task_id, "item": {"reference": 8}, "completion": "8"}).json()

    assert grade["outcome"] == "correct"


def test_a_row_of_another_team_is_404(stranger: Person, row: DatasetTask):
    assert post(stranger, RUN, {"task": row.task_id, "completion": "7"}).status_code == 404


def test_an_upload_of_another_team_is_404(stranger: Person, upload: Upload):
    assert post(stranger, RUN, {"upload": upload.pk, "line": 1, "completion": "7"}).status_code == 404


def test_a_line_that_is_no_task_is_404(contributor: Person, upload: Upload):
    reply = post(contributor, RUN, {"upload": upload.pk, "line": 99, "completion": "7"})

    assert (reply.status_code, reply.json()["param"]) == (404, "line")


def test_an_upload_without_a_line_is_refused(contributor: Person, upload: Upload):
    reply = post(contributor, RUN, {"upload": upload.pk, "completion": "7"})

    assert (reply.status_code, reply.json()["code"]) == (400, "row_missing")


def test_a_text_alone_is_refused(contributor: Person):
    reply = post(contributor, RUN, {"completion": "7"})

    assert (reply.status_code, reply.json()["code"]) == (400, "grader_missing")


def test_a_key_that_only_reads_may_grade(row: DatasetTask, contributor: Person):
    secret = cast.key(contributor.user, contributor.team, ["read"])
    reader = Person(contributor.user, contributor.team, secret)

    assert post(reader, RUN, {"task": row.task_id, "completion": "7"}).status_code == 200


JUDGED = {"type": "score_model", "model": "judge", "input": [{"role": "user", "content": "{{ sample.output_text }}"}]}
JUDGED_IN_PART = {"type": "multi", "graders": {"a": {"type": "number"}, "b": JUDGED}, "calculate_output": "a * b"}


@pytest.mark.parametrize("grader", [JUDGED, JUDGED_IN_PART], ids=["judge", "multi"])
def test_a_key_that_only_reads_may_spend_no_judges_tokens(contributor: Person, grader: dict[str, Any]):
    reader = Person(contributor.user, contributor.team, cast.key(contributor.user, contributor.team, ["read"]))

    with judge.running() as asked, judges.using(asked.judges()):
        reply = post(reader, RUN, {"grader": grader, "item": {"reference": 7}, "completion": "7"})

    assert (reply.status_code, reply.json()["code"], asked.asked) == (403, "permission_denied", [])


def test_a_rows_own_judge_is_not_asked_for_a_key_that_only_reads(contributor: Person, row: DatasetTask):
    row.task.grader = Grader.objects.create(type="score_model", digest="0" * 64, config=JUDGED)
    row.task.save()
    reader = Person(contributor.user, contributor.team, cast.key(contributor.user, contributor.team, ["read"]))

    assert post(reader, RUN, {"task": row.task_id, "completion": "7"}).status_code == 403


def test_a_key_that_writes_may_ask_a_judge(contributor: Person):
    writer = Person(contributor.user, contributor.team, cast.key(contributor.user, contributor.team, ["read", "write"]))

    with judge.running() as asked, judges.using(asked.judges()):
        asked.answers = [judge.score(1)]
        grade = post(writer, RUN, {"grader": JUDGED, "item": {}, "completion": "7"}).json()

    assert (grade["outcome"], len(asked.asked)) == ("correct", 1)


@pytest.fixture
def served(settings: Any) -> Iterator[FakeModelServer]:
    with model_server.running() as fake, judges.using(Judges(pause_seconds=0.001)):
        settings.MODEL_SERVER_URL, settings.DATABASE_CONFIGURED = fake.url, True
        yield fake


@pytest.fixture
def own_judge(contributor: Person) -> dict[str, Any]:
    """A served model of the contributor's team."""
    world.line_of(contributor, "carla-sums")
    return {**JUDGED, "model": "carla-sums", "input": [{"role": "user", "content": '{"result": 1}'}]}


def test_a_teams_served_model_judges_for_its_team(
    contributor: Person, own_judge: dict[str, Any], served: FakeModelServer
):
    grade = post(contributor, RUN, {"grader": own_judge, "item": {}, "completion": "7"}).json()

    assert (grade["outcome"], bool(served.asked)) == ("correct", True)


def test_another_teams_served_model_is_not_asked(stranger: Person, own_judge: dict[str, Any], served: FakeModelServer):
    grade = post(stranger, RUN, {"grader": own_judge, "item": {}, "completion": "7"}).json()
    checked = post(stranger, VALIDATE, {"grader": own_judge})

    assert (grade["outcome"], grade["errors"], served.asked) == ("ungradable", ["model_grader_server_error"], [])
    assert grade["reason"] == checked.json()["detail"]
    assert "No judge is known for the model 'carla-sums'" in grade["reason"]
    assert (checked.status_code, checked.json()["code"]) == (400, "bad_grader")


def test_a_valid_configuration_comes_back_complete(contributor: Person):
    told = post(contributor, VALIDATE, {"grader": {"type": "number"}}).json()

    assert (told["grader"]["absolute_tolerance"], told["reads"]) == (0.0, ["item.reference"])


def test_a_configuration_that_only_a_trial_shows_to_be_wrong_is_400(
    contributor: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(registry, "unavailable", lambda config: "Line 3 of the source does not compile.")

    reply = post(contributor, VALIDATE, {"grader": {"type": "number"}})

    assert (reply.status_code, reply.json()["code"], reply.json()["detail"]) == (
        400,
        "bad_grader",
        "Line 3 of the source does not compile.",
    )
