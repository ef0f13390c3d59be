"""Runs on files: what is trained on, what fails at validation and where, what a caller is told."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tasks.errors import Forbidden, Invalid
from tasks.models import Dataset, Event, File, Task, Team, Upload, User
from tasks.services import datasets, storage, uploads
from tasks.services.importing import import_upload
from tasks.services.uploads import Options
from tests.trainer.services.settling import settle
from trainer.hyperparameters import Asked
from trainer.models import Line, TrainingRun
from trainer.services import checkpoints, file_runs, lines, offering, runs, validation_evals
from trainer.services.launching import path_of
from trainer.states import RUN_ENDED, AliasName

GRADER = {"type": "string_check", "name": "same", "input": "{{ sample.output_text }}", "operation": "eq"}
EXACT = {**GRADER, "reference": "{{ item.answer }}"}
FEW = Asked(epochs=2, prompts_per_step=4)


def rows(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"What comes after {n}?"}], "answer": str(n + 1)}
        for n in range(start, start + count)
    ]


@pytest.fixture
def bring(team: Team, contributor: User) -> Callable[..., Upload]:
    def brought(given: list[Any], name: str = "train", *, read: bool = True) -> Upload:
        dataset = datasets.create(team, name, actor=contributor)
        body = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in given).encode()
        options = Options(mapping={"dialect": "openai_rft"})
        upload, _ = uploads.receive(dataset, [body], filename=f"{name}.jsonl", actor=contributor, options=options)
        if read:
            import_upload(upload.pk)
            upload.refresh_from_db()
        return upload

    return brought


@pytest.fixture
def started(line: Line, contributor: User) -> Callable[..., TrainingRun]:
    def start(training_file: Upload, validation_file: Upload | None = None, **more: Any) -> TrainingRun:
        asked = {"grader": EXACT, "asked": FEW, "actor": contributor, **more}
        champion = line.alias(AliasName.CHAMPION)
        return file_runs.start(training_file, validation_file=validation_file, start_from=champion, **asked)

    return start


def validated(run: TrainingRun) -> TrainingRun:
    file_runs.validate_waiting()
    run.refresh_from_db()
    return run


def ended(run: TrainingRun) -> TrainingRun:
    def over() -> bool:
        run.refresh_from_db()
        return run.state in RUN_ENDED

    settle(over)
    return run


def keys(run: TrainingRun, name: str) -> set[int]:
    return {int(json.loads(line)["key"]) for line in (path_of(run.directory) / name).read_text().splitlines()}


def notices(run: TrainingRun) -> dict[str, str]:
    found = Event.objects.filter(kind=file_runs.NOTICE, subject_id=str(run.pk))
    return {event.data["code"]: event.data["sentence"] for event in found}


def test_every_row_of_the_file_trains_whatever_its_split(bring: Any, started: Any):
    upload = bring(rows(150))

    run = ended(started(upload))

    assert run.state == "succeeded"
    assert keys(run, "train.jsonl") == set(Task.objects.values_list("pk", flat=True))


def test_a_run_waits_for_a_file_that_is_on_its_way(bring: Any, started: Any):
    upload = bring(rows(8), read=False)
    run = started(upload)

    waiting = validated(run).state
    import_upload(upload.pk)

    assert (waiting, validated(run).state) == ("validating", "queued")


def test_the_rows_of_the_other_file_validate(bring: Any, started: Any):
    run = ended(started(bring(rows(8)), bring(rows(4, start=100), "valid")))

    assert len(keys(run, "validation.jsonl")) == 4
    assert not keys(run, "validation.jsonl") & keys(run, "train.jsonl")


def test_a_bad_row_fails_the_run_and_names_its_line(bring: Any, started: Any):
    upload = bring([*rows(3), '{"messages": 7}', *rows(3, start=9), "nonsense"])

    run = validated(started(upload))

    assert run.state == "failed"
    assert (run.error["param"], run.error["code"]) == ("training_file", "invalid_training_file")
    assert run.error["sentence"].startswith("Line 4 of train.jsonl: ")
    assert "One more row is wrong." in run.error["sentence"]


def test_a_bad_validation_file_is_named_as_such(bring: Any, started: Any):
    run = validated(started(bring(rows(4)), bring(["nonsense"], "valid")))

    assert (run.state, run.error["param"]) == ("failed", "validation_file")


def test_rows_whose_reference_the_grader_fails_train_all_the_same(bring: Any, started: Any):
    upload = bring([{**row, "answer": ""} for row in rows(6)])

    run = ended(started(upload, grader={**EXACT, "reference": "{{ item.other }}"}))

    assert (run.state, len(keys(run, "train.jsonl"))) == ("succeeded", 6)


def test_one_prompt_with_two_answers_trains_with_both(bring: Any, started: Any):
    twice = [{"messages": [{"role": "user", "content": "Name a colour."}], "answer": word} for word in ("red", "blue")]

    run = ended(started(bring([*rows(4), *twice])))

    assert len(keys(run, "train.jsonl")) == 6


def test_the_rows_are_graded_by_the_runs_grader(bring: Any, started: Any):
    run = ended(started(bring(rows(4))))

    assert json.loads((path_of(run.directory) / "spec.json").read_text())["grader"] == EXACT


def test_a_file_without_a_grader_takes_the_first_runs_for_its_proof(bring: Any, started: Any):
    upload = bring(rows(4))

    started(upload)

    assert Dataset.objects.get(pk=upload.dataset_id).default_grader.config["reference"] == "{{ item.answer }}"


def test_without_a_validation_file_a_warning_says_so(bring: Any, started: Any):
    assert "no_validation" in notices(started(bring(rows(4))))


def test_rows_in_both_files_are_told_with_their_count(bring: Any, started: Any):
    run = validated(started(bring(rows(8)), bring([*rows(3), *rows(2, start=50)], "valid")))

    assert notices(run)["overlapping_files"].startswith("3 of 5 prompts")


def test_one_file_for_both_is_told_too(bring: Any, started: Any):
    upload = bring(rows(5))

    run = validated(started(upload, upload))

    assert (run.state, notices(run)["overlapping_files"][:14]) == ("queued", "5 of 5 prompts")


def test_nothing_is_left_to_decide_once_the_run_is_queued(bring: Any, started: Any):
    run = validated(started(bring(rows(10)), asked=Asked(), seed=7))

    assert None not in run.asked["settings"].values()
    assert (run.spec["seed"], run.spec["steps"] % -(-10 // run.spec["prompts_per_step"])) == (7, 0)


def test_runs_on_one_file_may_wait_side_by_side(bring: Any, started: Any):
    upload = bring(rows(4))

    first, second = started(upload), started(upload)

    assert {validated(first).state, validated(second).state} == {"queued"}


def test_two_first_runs_on_one_file_at_once_share_its_line(
    bring: Any, started: Any, monkeypatch: pytest.MonkeyPatch, transactional_db: None
):
    upload, create = bring(rows(4)), lines.create_expert
    barrier = Barrier(2)

    def at_once(*args: Any, **kwargs: Any) -> Line:
        barrier.wait(10)
        return create(*args, **kwargs)

    def start(_: int) -> int:
        try:
            return started(upload).line_id
        finally:
            connection.close()

    monkeypatch.setattr(lines, "create_expert", at_once)
    with ThreadPoolExecutor(2) as pool:
        found = set(pool.map(start, range(2)))

    assert len(found) == 1


def test_a_pass_that_comes_while_another_one_validates_walks_away(
    bring: Any, started: Any, monkeypatch: pytest.MonkeyPatch
):
    run = started(bring(rows(4)))
    monkeypatch.setattr(file_runs.engine_work, "alone", lambda lock: nullcontext(False))

    assert validated(run).state == "validating"


def test_a_second_pass_tells_nothing_twice(bring: Any, started: Any):
    run = started(bring(rows(5)), bring(rows(5), "valid"))

    validated(run)
    validated(run)

    assert Event.objects.filter(kind=file_runs.NOTICE, subject_id=str(run.pk)).count() == 1


def test_a_cancelled_run_stays_cancelled_when_its_file_has_come(bring: Any, started: Any, contributor: User):
    run = started(bring(rows(4)))

    runs.cancel(run, actor=contributor)

    assert (validated(run).state, run.dataset_version) == ("cancelled", None)


def test_a_clone_trains_on_the_same_rows(bring: Any, started: Any, contributor: User):
    run = ended(started(bring(rows(6)), bring(rows(3, start=40), "valid")))

    again = ended(runs.clone(run, actor=contributor, seed=5))

    assert keys(again, "train.jsonl") == keys(run, "train.jsonl")
    assert keys(again, "validation.jsonl") == keys(run, "validation.jsonl")
    assert again.eval is not None
    assert again.eval != run.eval


def test_nothing_that_a_whole_file_was_trained_on_is_in_a_suite_of_its_team(bring: Any, started: Any):
    from trainer.services import suites

    run = validated(started(bring(rows(400))))
    Task.objects.update(state="approved")

    assert Task.objects.filter(split="sealed").count() >= suites.FEWEST
    assert suites.available(run.line) == {}


def test_nothing_that_chose_a_runs_checkpoints_is_in_a_suite_of_its_team(bring: Any, started: Any):
    from trainer.services import suites

    run = validated(started(bring(rows(4)), bring(rows(400, start=1000), "valid")))
    Task.objects.update(state="approved")

    assert Task.objects.filter(split="sealed").count() >= suites.FEWEST
    assert suites.available(run.line) == {}


def test_a_row_that_a_suite_has_caught_since_its_import_is_left_out(bring: Any, started: Any):
    upload = bring(rows(6))
    caught = upload.memberships.order_by("line").first().task
    Task.objects.filter(pk=caught.pk).update(state="rejected", reason_code="contaminated")

    run = ended(started(upload))

    assert len(keys(run, "train.jsonl")) == 5
    assert str(caught.pk) not in keys(run, "train.jsonl")
    assert notices(run)["contaminated"].startswith("1 row")


def test_a_file_that_is_deleted_before_it_was_read_fails_the_run(bring: Any, started: Any):
    upload = bring(rows(4))
    run = started(upload)
    File.objects.filter(upload=upload).update(deleted_at=timezone.now())  # its rows are being taken out, chunk by chunk

    assert (validated(run).state, run.error["param"]) == ("failed", "training_file")
    assert "was deleted" in run.error["sentence"]


def test_a_validation_leads_to_its_checkpoint_whichever_came_first(bring: Any, started: Any):
    run = ended(started(bring(rows(4)), bring(rows(3, start=50), "valid")))
    run.checkpoints.all().delete()

    checkpoints.follow(run, path_of(run.directory))

    kept = set(run.checkpoints.values_list("step", flat=True))
    assert kept == set(run.eval_runs.filter(checkpoint__isnull=False).values_list("step", flat=True))


def test_validation_answers_are_kept_in_order_however_few_at_a_time(
    bring: Any, started: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(validation_evals, "AT_ONCE", 2)

    run = ended(started(bring(rows(4)), bring(rows(5, start=50), "valid")))

    kept = run.eval_runs.order_by("step").first()
    assert (kept.total, [item.position for item in kept.items.order_by("position")]) == (5, [0, 1, 2, 3, 4])


def test_a_file_that_is_no_longer_kept_cannot_be_offered(bring: Any, started: Any, contributor: User):
    upload = bring(rows(4))
    run = started(upload)
    storage.stored_file(upload).unlink()

    with pytest.raises(storage.Gone):
        offering.offer(run, licence="CC-BY-4.0", consent_version=offering.CONSENT_VERSION, actor=contributor)


def test_a_validation_file_without_usable_rows_is_named_as_such(bring: Any, started: Any):
    validation = bring(rows(2, start=50), "valid")
    Task.objects.filter(memberships__upload=validation).update(state="withdrawn")

    run = validated(started(bring(rows(4)), validation))

    assert (run.state, run.error["param"]) == ("failed", "validation_file")


def test_a_stranger_trains_nothing_on_the_file(bring: Any, started: Any, stranger: User):
    with pytest.raises(Forbidden):
        started(bring(rows(4)), actor=stranger)


def test_a_grader_that_cannot_work_is_refused_at_once(bring: Any, started: Any):
    with pytest.raises(Invalid):
        started(bring(rows(4)), grader={"type": "string_check", "input": "x"})

    assert TrainingRun.objects.count() == 0
