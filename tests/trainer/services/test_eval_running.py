"""A run is worked on to its end once, whoever dies, is late, or comes twice."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from tasks.crash import VARIABLE
from tasks.errors import Busy
from tasks.graders import registry
from tasks.models import Dataset, DatasetVersion, File
from tasks.services import files
from tests import cast, world
from tests.cast import Person
from tests.fakes import model_server
from tests.fakes.model_server import FakeModelServer
from trainer import jobs
from trainer.evaluation.prompting import Message, Prompt
from trainer.models import Alias, Eval, EvalItem, EvalRun, ModelVersion, RunCheckpoint, TrainingRun
from trainer.services import artifacts, checkpoints, eval_asking, eval_running, eval_runs, evals, wake
from trainer.services.eval_runs import Asked
from trainer.services.serving import ModelServerRefused

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = 250  # of which a hundred are graded at a time
CHECK = {
    "type": "string_check",
    "name": "same",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.n }}",
}
WORK = (
    "import sys, django; django.setup(); from trainer.services import eval_running as e; e.run_eval(int(sys.argv[1]))"
)


@pytest.fixture
def carla(transactional_db: None) -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def measure(carla: Person) -> Eval:
    return evals.create(carla.team, actor=carla.user, item_schema={"required": ["n"]}, criteria=[CHECK])


@pytest.fixture
def served(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelServer]:
    monkeypatch.setattr(eval_asking, "PAUSE_SECONDS", 0.001)
    with model_server.running() as fake:
        settings.MODEL_SERVER_URL = fake.url
        settings.MODEL_SERVER_TOKEN = "the token"
        yield fake


@pytest.fixture
def base(carla: Person) -> ModelVersion:
    return world.line_of(carla, "carlas")[1]


@pytest.fixture
def worker(server_environment: dict[str, str], tmp_path: Path) -> Callable[..., bool]:
    """Works on a run in a process of its own. False: it died over it."""

    def work(run: EvalRun, **more: str) -> bool:
        own = {"DJANGO_SETTINGS_MODULE": "flywheel.settings", "DATA_DIR": str(tmp_path), "DEBUG": "1"}
        environment = {**server_environment, **own, "LOG_LEVEL": "ERROR", **more}
        return subprocess.run([sys.executable, "-c", WORK, str(run.pk)], env=environment).returncode == 0

    return work


def rows(count: int) -> list[dict[str, Any]]:
    """Every third is wrong."""
    return [{"item": {"n": str(n)}, "sample": {"output_text": str(n if n % 3 else -1)}} for n in range(count)]


def start(of: Eval, count: int = ROWS, **given: Any) -> EvalRun:
    source = {"type": "jsonl", "source": {"type": "file_content"}}
    return eval_runs.start(of, actor=None, **{"source": source, "rows": rows(count), **given})


def ask(of: Eval, version: ModelVersion, count: int, **sampling: Any) -> EvalRun:
    asked = Asked("carlas", version, Prompt([Message("user", "{{ item.n }}")]), sampling)
    return start(of, rows=[{"item": {"n": str(n)}} for n in range(count)], asked=asked)


def let_go(run: EvalRun) -> None:
    """Its lease runs out."""
    EvalRun.objects.filter(pk=run.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def outcome(run: EvalRun) -> dict[str, Any]:
    run.refresh_from_db()
    statuses = list(run.items.values_list("position", "status", "answer__text", "results__0__outcome"))
    counts = (run.total, run.passed, run.failed, run.errored)
    return {"state": run.state, "counts": counts, "items": statuses, "spent": run.usage}


# Killed, late, twice


@pytest.mark.parametrize(
    ("point", "graded"),
    [
        ("eval.after_claim", 0),
        ("eval.before_commit:1", 0),
        ("eval.after_chunk:1", 100),
        ("eval.before_commit:3", 200),
        ("eval.before_finish", 250),
    ],
)
def test_a_killed_worker_is_followed_by_one_that_goes_on_behind_its_last_chunk(
    measure: Eval, worker: Callable[..., bool], point: str, graded: int
):
    calm, disturbed = start(measure), start(measure)
    eval_running.run_eval(calm.pk)
    assert not worker(disturbed, **{VARIABLE: point})
    assert disturbed.items.exclude(status="").count() == graded
    let_go(disturbed)

    eval_running.run_eval(disturbed.pk)

    assert outcome(disturbed) == outcome(calm)


def test_a_model_is_not_asked_again_about_what_was_committed(
    measure: Eval, base: ModelVersion, served: FakeModelServer, worker: Callable[..., bool]
):
    run = ask(measure, base, 20)
    assert not worker(run, MODEL_SERVER_URL=served.url, **{VARIABLE: "eval.after_chunk:1"})
    let_go(run)

    eval_running.run_eval(run.pk)

    asked = sorted(int(body["messages"][0]["content"]) for body in served.asked)
    assert (asked, outcome(run)["counts"]) == (list(range(20)), (20, 20, 0, 0))
    assert run.usage["carlas"]["calls"] == 20


def test_a_worker_that_lost_its_lease_writes_nothing(measure: Eval, monkeypatch: pytest.MonkeyPatch):
    run = start(measure, 5)
    grade = registry.grade_many

    def late(*given: Any) -> Any:
        monkeypatch.setattr(registry, "grade_many", grade)
        let_go(run)
        eval_running.run_eval(run.pk)  # somebody else, to the end
        return grade(*given)

    monkeypatch.setattr(registry, "grade_many", late)
    eval_running.run_eval(run.pk)

    assert outcome(run)["counts"] == (5, 3, 2, 0)
    assert run.attempt == 2


def test_a_run_that_somebody_works_on_is_left_to_them(measure: Eval, monkeypatch: pytest.MonkeyPatch):
    run = start(measure, 5)
    calls: list[int] = []
    grade = registry.grade_many

    def twice(*given: Any) -> Any:
        calls.append(1)
        eval_running.run_eval(run.pk)
        return grade(*given)

    monkeypatch.setattr(registry, "grade_many", twice)
    eval_running.run_eval(run.pk)

    assert (len(calls), outcome(run)["state"]) == (1, "succeeded")


def test_cancelling_stops_it_between_two_chunks(measure: Eval, monkeypatch: pytest.MonkeyPatch):
    run = start(measure)
    monkeypatch.setattr(
        eval_running, "crash_point", lambda name: name == "eval.after_chunk" and eval_runs.cancel(run, actor=None)
    )

    eval_running.run_eval(run.pk)

    assert (outcome(run)["state"], run.done) == ("cancelled", 100)


def test_deleting_it_while_it_is_worked_on_ends_it(measure: Eval, monkeypatch: pytest.MonkeyPatch):
    run = start(measure)
    monkeypatch.setattr(
        eval_running, "crash_point", lambda name: name == "eval.after_chunk" and evals.delete(measure, actor=None)
    )

    eval_running.run_eval(run.pk)

    assert (EvalRun.objects.count(), EvalItem.objects.count()) == (0, 0)


def test_rows_that_kill_every_worker_fail_the_run(measure: Eval):
    run = start(measure, 5)
    EvalRun.objects.filter(pk=run.pk).update(state="running", tries=3)
    let_go(run)

    eval_running.run_eval(run.pk)

    assert (outcome(run)["state"], run.error["code"]) == ("failed", "worker_stopped")


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Runs that a worker was asked to work on."""
    asked: list[int] = []
    monkeypatch.setattr(wake, "eval_run", asked.append)
    return asked


def test_long_runs_take_turns(measure: Eval, woken: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(eval_running, "SLICE_SECONDS", -1)
    first, second = start(measure), start(measure)
    woken.clear()

    eval_running.run_eval(first.pk)
    for _ in range(5):
        eval_running.run_eval(woken[-1])

    assert woken == [second.pk, first.pk, second.pk, first.pk, second.pk]
    assert [outcome(run)["state"] for run in (first, second)] == ["succeeded", "succeeded"]
    assert (first.attempt, second.attempt) == (3, 3)


def test_one_run_waits_for_its_turn_while_another_has_it(measure: Eval, monkeypatch: pytest.MonkeyPatch):
    first, second = start(measure, 5), start(measure, 5)
    grade = registry.grade_many

    def meanwhile(*given: Any) -> Any:
        eval_running.run_eval(second.pk)
        assert outcome(second)["state"] == "queued"
        return grade(*given)

    monkeypatch.setattr(registry, "grade_many", meanwhile)
    eval_running.run_eval(first.pk)

    assert outcome(first)["state"] == "succeeded"


def test_the_sweep_finds_what_was_lost(measure: Eval, woken: list[int]):
    lost, waiting = start(measure, 2), start(measure, 2)
    EvalRun.objects.filter(pk=lost.pk).update(state="running")
    let_go(lost)
    woken.clear()

    first = eval_running.sweep()
    eval_running.run_eval(waiting.pk)

    assert (first, woken) == ([waiting.pk], [waiting.pk, lost.pk])


def test_the_sweep_wakes_nobody_while_somebody_works(measure: Eval, woken: list[int]):
    held, _ = start(measure, 2), start(measure, 2)
    EvalRun.objects.filter(pk=held.pk).update(state="running", lease_until=timezone.now() + timedelta(minutes=1))
    woken.clear()

    assert eval_running.sweep() == woken == []


def test_a_run_whose_model_server_is_away_holds_up_nobody(measure: Eval, woken: list[int]):
    held, waiting = start(measure, 2), start(measure, 2)
    later = timezone.now() + timedelta(minutes=1)
    EvalRun.objects.filter(pk=held.pk).update(state="running", lease_until=later, error={"code": "away"})

    assert eval_running.sweep() == [waiting.pk]


def test_the_jobs_do_what_they_are_called(measure: Eval, woken: list[int]):
    run = start(measure, 2)
    woken.clear()

    jobs.sweep_evals()
    jobs.run_eval(woken[0])

    assert outcome(run)["state"] == "succeeded"


def test_a_run_wakes_a_worker_behind_its_commit(measure: Eval, monkeypatch: pytest.MonkeyPatch):
    sent: list[tuple[int, ...]] = []
    monkeypatch.setattr(jobs.run_eval, "apply_async", lambda given, expires: sent.append(given))

    with transaction.atomic():
        run = start(measure, 2)
        assert sent == []

    assert sent == [(run.pk,)]


# Models


def test_a_run_keeps_the_version_that_its_name_meant(measure: Eval, base: ModelVersion, served: FakeModelServer):
    run = ask(measure, base, 2)
    newer = ModelVersion.objects.create(line=base.line, number=1, digest="9" * 64, parent=base, origin="run")
    Alias.objects.filter(line=base.line, name="champion").update(version=newer)

    eval_running.run_eval(run.pk)

    assert {asked["model"] for asked in served.asked} == {base.digest}


@pytest.fixture
def kept_checkpoint(measure: Eval, base: ModelVersion, settings: Any, tmp_path: Path) -> RunCheckpoint:
    """Of a run that has a directory, whose files are in the store."""
    settings.DATA_DIR = tmp_path
    artifacts.path_of("c" * 64).mkdir(parents=True)
    training = TrainingRun.objects.create(line=base.line, start=base, dataset_version=_rows(measure), spec={})
    return RunCheckpoint.objects.create(run=training, step=20, digest="c" * 64)


def ask_checkpoint(measure: Eval, checkpoint: RunCheckpoint) -> EvalRun:
    asked = Asked("ft:x", checkpoint, Prompt([Message("user", "{{ item.n }}")]))
    return start(measure, rows=[{"item": {"n": "1"}}], asked=asked)


def test_a_checkpoint_on_the_way_may_be_asked(measure: Eval, kept_checkpoint: RunCheckpoint, served: FakeModelServer):
    run = ask_checkpoint(measure, kept_checkpoint)

    eval_running.run_eval(run.pk)

    assert (outcome(run)["state"], served.asked[0]["model"]) == ("succeeded", kept_checkpoint.digest)


def test_a_checkpoint_that_was_let_go_fails_its_run_and_says_so(
    measure: Eval, kept_checkpoint: RunCheckpoint, served: FakeModelServer
):
    run = ask_checkpoint(measure, kept_checkpoint)
    artifacts.path_of(kept_checkpoint.digest).rmdir()

    eval_running.run_eval(run.pk)

    assert (outcome(run)["state"], run.error["code"], served.asked) == ("failed", "model_not_found", [])


def test_a_run_waits_while_other_checkpoints_are_made_ready(
    measure: Eval, kept_checkpoint: RunCheckpoint, served: FakeModelServer, monkeypatch: pytest.MonkeyPatch
):
    def busy(checkpoint: RunCheckpoint) -> RunCheckpoint:
        raise Busy("making_ready", "Checkpoints are being made ready for use: try again in a minute.")

    run = ask_checkpoint(measure, kept_checkpoint)
    monkeypatch.setattr(checkpoints, "in_store", busy)

    eval_running.run_eval(run.pk)

    assert (outcome(run)["state"], run.error["code"]) == ("running", "making_ready")


def _rows(measure: Eval) -> DatasetVersion:
    dataset = Dataset.objects.create(team=measure.team, space=measure.team, slug="rows", name="Rows")
    return DatasetVersion.objects.create(dataset=dataset, number=1, digest="d" * 64, task_count=0)


def test_a_checkpoint_that_was_deleted_fails_the_run(measure: Eval, base: ModelVersion, served: FakeModelServer):
    training = TrainingRun.objects.create(line=base.line, start=base, dataset_version=_rows(measure), spec={})
    kept = RunCheckpoint.objects.create(run=training, step=20, digest="c" * 64)
    asked = Asked("ft:x", kept, Prompt([Message("user", "{{ item.n }}")]))
    run = start(measure, rows=[{"item": {"n": "1"}}], asked=asked)

    checkpoints.delete(kept, actor=measure.created_by)
    eval_running.run_eval(run.pk)

    assert (outcome(run)["state"], run.error["code"], served.asked) == ("failed", "model_not_found", [])


def test_a_model_that_is_gone_fails_the_run(measure: Eval, base: ModelVersion, served: FakeModelServer):
    run = ask(measure, base, 1)
    EvalRun.objects.filter(pk=run.pk).update(version=None)

    eval_running.run_eval(run.pk)

    assert (outcome(run)["state"], run.error["code"]) == ("failed", "model_not_found")


def test_a_model_server_that_is_down_is_waited_for(
    measure: Eval, base: ModelVersion, served: FakeModelServer, settings: Any
):
    run, there = ask(measure, base, 2), settings.MODEL_SERVER_URL
    settings.MODEL_SERVER_URL = "http://127.0.0.1:1"
    eval_running.run_eval(run.pk)
    assert (outcome(run)["state"], run.error["code"]) == ("running", "model_server_down")
    settings.MODEL_SERVER_URL = there
    let_go(run)

    eval_running.run_eval(run.pk)

    assert (outcome(run)["state"], run.error, run.passed) == ("succeeded", None, 2)


def test_a_model_server_that_stays_down_fails_the_run(
    measure: Eval, base: ModelVersion, served: FakeModelServer, settings: Any
):
    settings.MODEL_SERVER_URL = "http://127.0.0.1:1"
    run = ask(measure, base, 2)

    for _ in range(4):
        eval_running.run_eval(run.pk)
        let_go(run)

    assert (outcome(run)["state"], run.error["code"], run.errored) == ("failed", "model_server_down", 0)


def test_what_is_refused_after_others_were_answered_is_the_items_own(
    measure: Eval, base: ModelVersion, served: FakeModelServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(eval_running, "ASKED_AT_ONCE", 1)
    run = ask(measure, base, 2, max_completion_tokens=5)
    chat = eval_asking.serving.chat

    def too_long(version: ModelVersion, body: dict[str, Any]) -> Any:
        if body["messages"][0]["content"] == "1":
            raise ModelServerRefused(400, "too_long", "It does not fit.", "max_completion_tokens")
        return chat(version, body)

    monkeypatch.setattr(eval_asking.serving, "chat", too_long)
    eval_running.run_eval(run.pk)

    assert outcome(run)["counts"] == (2, 1, 0, 1)


def refusing(monkeypatch: pytest.MonkeyPatch, *numbers: str) -> list[str]:
    """These items take too long, each time that they are asked. What was asked."""
    chat, asked = eval_asking.serving.chat, []

    def answer(version: ModelVersion, body: dict[str, Any]) -> Any:
        asked.append(number := body["messages"][0]["content"])
        if number in numbers:
            raise ModelServerRefused(504, "timeout", "No complete answer within 120 seconds.", None)
        return chat(version, body)

    monkeypatch.setattr(eval_asking.serving, "chat", answer)
    return asked


def test_an_item_that_takes_too_long_is_errored_and_the_others_are_asked(
    measure: Eval, base: ModelVersion, served: FakeModelServer, monkeypatch: pytest.MonkeyPatch
):
    run, asked = ask(measure, base, 5), refusing(monkeypatch, "1")

    eval_running.run_eval(run.pk)

    assert outcome(run)["counts"] == (5, 4, 0, 1)
    assert asked.count("1") == 1


def test_a_server_that_answers_no_item_in_time_is_asked_again_later(
    measure: Eval, base: ModelVersion, served: FakeModelServer, monkeypatch: pytest.MonkeyPatch
):
    run = ask(measure, base, 5)
    refusing(monkeypatch, *map(str, range(5)))

    eval_running.run_eval(run.pk)

    assert (outcome(run)["state"], run.error["code"], run.errored) == ("running", "timeout", 0)


def test_what_is_said_is_kept_as_far_as_it_can_be(
    measure: Eval, base: ModelVersion, served: FakeModelServer, monkeypatch: pytest.MonkeyPatch
):
    said = {"choices": [{"message": {"content": "a\0"}, "finish_reason": "stop"}]}
    monkeypatch.setattr(eval_asking.serving, "chat", lambda version, body: said)
    run = ask(measure, base, 1)

    eval_running.run_eval(run.pk)

    assert outcome(run)["items"][0][2] == "a\ufffd"


# Files


@pytest.fixture
def kept(carla: Person, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], File]:
    """A file of the team's, which is read in pieces that break anywhere."""
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr(files, "_BLOCK_BYTES", 7)

    def keep(body: bytes) -> File:
        return files.store(carla.team, [body], filename="rows.jsonl", purpose="evals", actor=carla.user)

    return keep


def lines(count: int) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows(count))


def of_file(measure: Eval, file: File) -> EvalRun:
    source = {"type": "jsonl", "source": {"type": "file_id", "id": "file-1"}}
    return start(measure, rows=None, file=file, source=source)


def test_the_rows_of_a_file_are_graded_as_those_of_a_request(measure: Eval, kept: Callable[[bytes], File]):
    given, read = start(measure, 20), of_file(measure, kept(lines(20) + b"\n  \n"))

    for run in (given, read):
        eval_running.run_eval(run.pk)

    assert outcome(read) == outcome(given)


def test_a_file_is_read_on_behind_what_was_kept_of_it(
    measure: Eval, kept: Callable[[bytes], File], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(eval_running, "LOADED_AT_ONCE", 3)
    run = of_file(measure, kept(lines(7)))

    class Killed(BaseException):
        """As far as the database can tell."""

    def die(name: str) -> None:
        if name == "eval.after_load":
            raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(eval_running, "crash_point", die)
        with pytest.raises(Killed):
            eval_running.run_eval(run.pk)
    assert run.items.count() == 3
    let_go(run)

    eval_running.run_eval(run.pk)

    assert outcome(run)["counts"] == (7, 4, 3, 0)
    assert list(run.items.values_list("position", flat=True)) == list(range(7))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\n \n", "holds no rows"),
        (b'{"item": {"n": "1"}}\n{broken\n', "Line 2 of the file is not JSON"),
        (b'\n\n{"item": {}}\n', "Line 3 of the file cannot be used: its item does not fit the schema"),
        (b'{"messages": []}\n', "Line 1 of the file cannot be used: it has no `item`"),
        (b'{"item": {"n": "\\u0000"}}\n', "Line 1 of the file cannot be used: it has a NUL character"),
        (b"\xff\n", "Line 1 of the file is not JSON"),
        (b'{"item": {"n": NaN}}\n', "Line 1 of the file cannot be used: it has the number nan"),
        (b'{"item": {"n": 1e999}}\n', "Line 1 of the file cannot be used: it has the number inf"),
    ],
)
def test_a_file_that_cannot_be_used_fails_the_run_with_its_line(
    measure: Eval, kept: Callable[[bytes], File], body: bytes, why: str
):
    run = of_file(measure, kept(body))

    eval_running.run_eval(run.pk)

    assert outcome(run)["state"] == "failed"
    assert why in run.error["sentence"]


@pytest.mark.parametrize("gone", ["deleted", "lost"])
def test_a_file_that_is_gone_fails_the_run(measure: Eval, kept: Callable[[bytes], File], tmp_path: Path, gone: str):
    file = kept(lines(3))
    run = of_file(measure, file)
    if gone == "deleted":
        File.objects.filter(pk=file.pk).update(deleted_at=timezone.now())
    else:
        (tmp_path / file.storage_key).unlink()

    eval_running.run_eval(run.pk)

    assert (outcome(run)["state"], run.error["code"]) == ("failed", "file_missing")
