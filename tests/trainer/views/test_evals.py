"""/evals: what members of the team see of their measures, and nobody else."""

import json
from typing import Any

import pytest
from django.urls import reverse

from tests import cast
from tests.cast import Person
from trainer.models import Eval, EvalRun
from trainer.services import eval_running, eval_runs, evals

pytestmark = pytest.mark.django_db
CHECK = {
    "type": "string_check",
    "name": "same",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.n }}",
}


@pytest.fixture
def carla() -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def measure(carla: Person) -> Eval:
    return evals.create(carla.team, actor=carla.user, name="Sums", item_schema={}, criteria=[CHECK])


def start(of: Eval, person: Person, said: list[str], **given: Any) -> EvalRun:
    rows = [{"item": {"n": "1"}, "sample": {"output_text": one}} for one in said]
    source = {"type": "jsonl", "source": {"type": "file_content"}}
    return eval_runs.start(of, actor=person.user, source=source, rows=rows, **{"name": "nightly", **given})


@pytest.fixture
def run(measure: Eval, carla: Person) -> EvalRun:
    """Through: thirty rows, of which every third fails."""
    made = start(measure, carla, ["wrong" if n % 3 == 0 else "1" for n in range(30)])
    eval_running.run_eval(made.pk)
    made.refresh_from_db()
    return made


def page(run: EvalRun) -> str:
    return reverse("eval-run", args=[run.eval_id, run.pk])


def test_the_list_shows_the_newest_run(carla: Person, run: EvalRun):
    text = carla.browser.get("/evals").content.decode()

    assert ("nightly" in text, "20 of 30" in text) == (True, True)


def test_an_empty_list_says_how_one_is_made(carla: Person):
    text = carla.browser.get("/evals").content.decode()

    assert "client.evals.create" in text
    assert "{{ sample.output_text }}" in text


def test_an_eval_tells_its_newest_run_beside_the_one_before(carla: Person, run: EvalRun):
    newer = start(run.eval, carla, ["1"])
    eval_running.run_eval(newer.pk)

    text = carla.browser.get(f"/evals/{run.eval_id}").content.decode()

    assert "1 of 1 rows passed in the newest run (100.0 %), 66.7 % in the one before it." in text


def test_runs_are_shown_by_state(carla: Person, run: EvalRun):
    start(run.eval, carla, ["1"], name="waits")

    text = carla.browser.get(f"/evals/{run.eval_id}?state=queued").content.decode()

    assert ("waits" in text, "nightly" in text) == (True, False)


def test_failed_rows_are_shown_with_the_reason(carla: Person, run: EvalRun):
    text = carla.browser.get(f"{page(run)}?status=fail").content.decode()

    assert text.count("Expected to equal") == 10
    assert "Matches the reference." not in text


def test_rows_come_in_pages(carla: Person, run: EvalRun):
    first = carla.browser.get(page(run)).content.decode()
    second = carla.browser.get(f"{page(run)}?after=24").content.decode()

    assert ("after=24" in first, first.count('scope="row" class="number"')) == (True, 25)
    assert ('rel="next"' in second, second.count('scope="row" class="number"')) == (False, 5)


def test_a_row_that_holds_markup_is_text(carla: Person, measure: Eval):
    made = start(measure, carla, ["<script>alert(1)</script>"])
    eval_running.run_eval(made.pk)

    assert "<script>alert" not in carla.browser.get(page(made)).content.decode()


def test_rows_leave_as_a_file(carla: Person, run: EvalRun):
    reply = carla.browser.get(f"{page(run)}?format=json&status=fail")

    rows = json.loads(b"".join(reply))  # type: ignore[arg-type]
    assert (len(rows), rows[0]["answer"], rows[0]["scores"]) == (10, "wrong", [0.0])


def test_the_status_is_polled_until_the_end(carla: Person, run: EvalRun):
    waiting = start(run.eval, carla, ["1"])

    going = carla.browser.get(f"{page(waiting)}/status")
    ended = carla.browser.get(f"{page(run)}/status")

    assert ("X-Finished" in going, "X-Finished" in ended) == (False, True)


def test_a_run_is_cancelled_by_its_button(carla: Person, measure: Eval):
    made = start(measure, carla, ["1"])
    client = carla.browser
    client.handler.enforce_csrf_checks = False

    client.post(f"{page(made)}/cancel")

    made.refresh_from_db()
    assert made.state == "cancelled"


def test_why_a_run_failed_is_shown(carla: Person, measure: Eval):
    made = start(measure, carla, ["1"])
    fault = {"code": "model_server_down", "sentence": "The model server does not answer."}
    EvalRun.objects.filter(pk=made.pk).update(state="failed", error=fault)

    text = carla.browser.get(page(made)).content.decode()

    assert "The model server does not answer." in text


def test_strangers_find_nothing(carla: Person, run: EvalRun):
    sven = cast.of_own_team("sven").browser
    sven.handler.enforce_csrf_checks = False

    replies = [
        sven.get(f"/evals/{run.eval_id}"),
        sven.get(page(run)),
        sven.get(f"{page(run)}/status"),
        sven.post(f"{page(run)}/cancel"),
    ]

    assert [reply.status_code for reply in replies] == [404] * 4
    assert "20 of 30" not in sven.get("/evals").content.decode()
