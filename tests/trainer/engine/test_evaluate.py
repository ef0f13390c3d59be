import json
import signal
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from tests.trainer.engine.conftest import prepare, prompt_line, run_engine, start_engine
from trainer.contract import EvalItem, EvaluateSpec, Sampling, Score
from trainer.engine import answering, evaluate
from trainer.engine.faults import Fault, Stopped
from trainer.engine.progress import Progress

DRAWN = Sampling(answers_per_item=3, max_completion_tokens=4, seed=5)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(answering, "ANSWERS_AT_ONCE", 12)


def _item(number, **changes):
    return {**prompt_line(number), "suite": "echo" if number % 2 else "parrot", "cluster": "", **changes}


def _directory(path, tiny, items=None, **changes):
    spec = EvaluateSpec(evaluation="e", sides={"champion": tiny, "candidate": tiny}, sampling=DRAWN, **changes)
    lines = items or [_item(number) for number in range(10)]
    return prepare(path, spec, items=lines, probe=[prompt_line(number) for number in range(5)]), spec


def _run(path, tiny, **changes):
    directory, spec = _directory(path, tiny, **changes)
    with Progress(directory, 1) as progress:
        return evaluate.evaluate(spec, directory, progress)


def _scores(directory):
    return [msgspec.json.decode(line, type=Score) for line in (directory / "scores.jsonl").read_bytes().splitlines()]


def test_both_sides_answer_every_item_k_times(tmp_path, tiny):
    _run(tmp_path, tiny)

    counts = Counter((score.side, score.key) for score in _scores(tmp_path))
    assert len(counts) == 20
    assert set(counts.values()) == {3}


def test_no_two_chunks_meet_the_same_noise(tmp_path, tiny):
    """Also of suites that begin alike: else their items would stand and fall together."""
    items = [EvalItem(f"{suite}-{n}", suite, "", [], {}, {}, "") for suite in ("a", "b", "c") for n in range(8)]

    seeds = [chunk.seed for chunk in evaluate.chunks(items, DRAWN, 12)]

    assert len(set(seeds)) == len(seeds) == 6


def test_equal_models_answer_equally_under_the_same_seed(tmp_path, tiny):
    _run(tmp_path, tiny)

    by_side = {
        side: [(s.key, s.sample, s.completion) for s in _scores(tmp_path) if s.side == side]
        for side in ("champion", "candidate")
    }
    assert by_side["champion"] == by_side["candidate"]


def test_a_score_says_what_the_grader_said(tmp_path, tiny):
    _run(tmp_path, tiny, items=[_item(0, item={}), *(_item(number) for number in range(1, 10))])

    failed = [score for score in _scores(tmp_path) if score.key == _item(0)["key"]]
    assert {score.outcome for score in failed} == {"ungradable"}
    assert all(score.reason.startswith("The number grader (invalid_variable_error): ") for score in failed)


def test_an_evaluation_stops_once_no_gate_could_use_it(tmp_path, tiny):
    broken = [_item(number, item={}) for number in range(3)]

    with pytest.raises(Fault) as caught:
        _run(tmp_path, tiny, items=[*broken, *(_item(number) for number in range(3, 10))])

    assert (caught.value.record.boundary, caught.value.record.code) == ("grading", "too_many_grading_errors")
    assert "of 60 answers could not be graded, over 10%" in caught.value.record.sentence
    assert "The number grader (invalid_variable_error): " in caught.value.record.sentence


def test_an_evaluation_that_goes_on_knows_the_errors_of_before(tmp_path, tiny):
    items = [*(_item(number, item={}) for number in range(3)), *(_item(number) for number in range(3, 10))]
    with pytest.raises(Fault):
        _run(tmp_path, tiny, items=items)
    before = (tmp_path / "scores.jsonl").read_bytes()

    with pytest.raises(Fault):
        _run(tmp_path, tiny, items=items)

    assert (tmp_path / "scores.jsonl").read_bytes() == before


def test_the_divergence_is_measured_where_the_initial_policy_is_named(tmp_path, tiny):
    assert _run(tmp_path, tiny, initial=tiny).kl.mean == 0


def test_the_divergence_of_a_missing_candidate_is_refused(tmp_path, tiny):
    directory, spec = _directory(tmp_path, tiny, initial=tiny)
    spec = msgspec.structs.replace(spec, sides={"champion": tiny})

    with pytest.raises(Fault, match="no candidate"), Progress(directory, 1) as progress:
        evaluate.evaluate(spec, directory, progress)


def test_an_interrupted_evaluation_ends_as_one_that_was_not(tmp_path, tiny):
    """Kept: whole chunks. Cut: the torn line and the started chunk."""
    _run(tmp_path / "whole", tiny)
    whole = (tmp_path / "whole" / "scores.jsonl").read_bytes()
    directory, spec = _directory(tmp_path / "torn", tiny)
    (directory / "scores.jsonl").write_bytes(whole[: int(len(whole) * 0.7)])

    with Progress(directory, 1) as progress:
        evaluate.evaluate(spec, directory, progress)

    assert (directory / "scores.jsonl").read_bytes() == whole


def test_a_suite_that_is_known_is_not_asked_and_the_other_gets_the_same_answers(tmp_path, tiny):
    _run(tmp_path / "whole", tiny)
    directory, spec = _directory(tmp_path / "known", tiny)
    spec = msgspec.structs.replace(spec, known={"champion": ["echo"], "candidate": ["echo", "parrot"]})

    with Progress(directory, 1) as progress:
        evaluate.evaluate(spec, directory, progress)

    asked = [score for score in _scores(tmp_path / "whole") if (score.side, score.suite) == ("champion", "parrot")]
    assert _scores(directory) == asked


def test_where_everything_is_known_the_file_is_there_and_empty(tmp_path, tiny):
    directory, spec = _directory(tmp_path, tiny)
    spec = msgspec.structs.replace(spec, known={side: ["echo", "parrot"] for side in spec.sides})

    with Progress(directory, 1) as progress:
        evaluate.evaluate(spec, directory, progress)

    assert _scores(directory) == []


def test_a_finished_evaluation_asks_nothing_again(tmp_path, tiny, monkeypatch):
    _run(tmp_path, tiny)
    monkeypatch.setattr(evaluate.sampling, "draw", lambda *_: pytest.fail("asked again"))

    _run(tmp_path, tiny)

    assert len(_scores(tmp_path)) == 60


def test_a_kill_in_the_middle_leaves_nothing_lost_and_nothing_doubled(tmp_path, tiny):
    directory, _ = _directory(tmp_path, tiny, items=[_item(number) for number in range(400)])

    killed = start_engine(directory, FLYWHEEL_CRASH_AT="scores.after_chunk:2").wait()
    result = run_engine(directory)

    assert (killed, result.status) == (-signal.SIGKILL, "succeeded")
    counts = Counter((score.side, score.key, score.sample) for score in _scores(directory))
    assert len(counts) == 400 * 3 * 2
    assert set(counts.values()) == {1}


def test_a_request_to_stop_ends_after_a_whole_chunk(tmp_path, tiny, monkeypatch):
    directory, spec = _directory(tmp_path, tiny)
    with Progress(directory, 1) as progress:
        monkeypatch.setattr(progress, "require_own_attempt", lambda: setattr(progress, "stop", "terminate"))
        with pytest.raises(Stopped):
            evaluate.evaluate(spec, directory, progress)

    assert len(_scores(directory)) == 12


def test_chunks_are_the_same_whatever_the_order_of_the_file():
    items = [msgspec.convert(json.loads(json.dumps(_item(n))), evaluate.EvalItem) for n in range(9)]

    assert evaluate.chunks(items, DRAWN, 6) == evaluate.chunks(items[::-1], DRAWN, 6)


def test_a_chunk_never_needs_more_rows_than_fit():
    items = [msgspec.convert(_item(n), evaluate.EvalItem) for n in range(9)]

    assert all(len(chunk.items) * 3 <= 8 for chunk in evaluate.chunks(items, DRAWN, 8))


def test_a_missing_file_of_items_is_a_fault_of_the_data(tmp_path, tiny):
    directory, spec = _directory(tmp_path, tiny)
    Path(directory, "items.jsonl").unlink()

    with pytest.raises(Fault, match=r"items.jsonl is missing"), Progress(directory, 1) as progress:
        evaluate.evaluate(spec, directory, progress)
