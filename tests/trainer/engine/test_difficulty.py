import json
import signal

import msgspec
import pytest

from tasks.types import Grade, Outcome
from tests.trainer.engine.conftest import prepare, prompt_line, run_engine, start_engine
from trainer.contract import PromptItem, SampleSpec, Sampling, TaskAnswers
from trainer.engine import answering, difficulty
from trainer.engine.faults import Fault, Stopped
from trainer.engine.progress import Progress
from trainer.engine.sampling import Answer

DRAWN = Sampling(answers_per_item=4, max_completion_tokens=4, seed=5)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(answering, "ANSWERS_AT_ONCE", 12)


def _directory(path, tiny, items=None):
    spec = SampleSpec(check="c", model=tiny, sampling=DRAWN)
    return prepare(path, spec, items=items or [prompt_line(number) for number in range(10)]), spec


def _run(path, tiny, **changes):
    directory, spec = _directory(path, tiny, **changes)
    with Progress(directory, 1) as progress:
        return difficulty.measure(spec, directory, progress)


def _lines(directory):
    raw = (directory / "answers.jsonl").read_bytes()
    return [msgspec.json.decode(line, type=TaskAnswers) for line in raw.splitlines()]


def _item(**changes):
    return msgspec.convert(prompt_line(7, **changes), PromptItem)


def _answer(text):
    return Answer(text, (1, 2), (-0.5, -0.5), truncated=False)


def _given(*outcomes):
    """(read, outcome) as answers with their grades."""
    return [
        (
            Answer(f"I think {read}", (1, 2), (-0.5, -0.5), truncated=False),
            Grade(outcome, float(outcome == "correct"), read, "why"),
        )
        for read, outcome in outcomes
    ]


def test_every_task_is_answered_k_times(tmp_path, tiny):
    done = _run(tmp_path, tiny)

    lines = _lines(tmp_path)
    assert (done.tasks, len({line.key for line in lines})) == (10, 10)
    assert {len(line.scores) for line in lines} == {4}


def test_the_passes_are_the_answers_with_full_marks(tmp_path, tiny):
    _run(tmp_path, tiny)

    assert all(line.passes == sum(score == 1 for score in line.scores) for line in _lines(tmp_path))


def test_an_answer_that_cannot_be_graded_has_no_score(tmp_path, tiny):
    _run(tmp_path, tiny, items=[prompt_line(0, item={}), *(prompt_line(number) for number in range(1, 10))])

    line = next(line for line in _lines(tmp_path) if line.key == prompt_line(0)["key"])
    assert line.scores == [None] * 4
    assert line.fault.startswith("The number grader (invalid_variable_error): ")


def test_measuring_stops_where_most_answers_cannot_be_graded(tmp_path, tiny):
    with pytest.raises(Fault, match="of 40 answers could not be graded, over 50%"):
        _run(tmp_path, tiny, items=[prompt_line(number, item={}) for number in range(10)])


def test_a_prompt_that_the_model_has_no_room_for_is_not_asked_and_holds_up_no_other(tmp_path, tiny):
    long = prompt_line(0, messages=[{"role": "user", "content": "Say it. " * 4000}])

    _run(tmp_path, tiny, items=[long, *(prompt_line(number) for number in range(1, 10))])

    faults = {line.key: line.fault for line in _lines(tmp_path) if line.fault}
    assert list(faults) == [long["key"]]
    assert "exceed what the model can read" in faults[long["key"]]


def test_the_most_frequent_wrong_answer_is_told_with_its_count():
    given = _given(("4", Outcome.INCORRECT), ("5", Outcome.INCORRECT), ("4", Outcome.INCORRECT), ("7", Outcome.CORRECT))

    line = difficulty.summary(_item(), given)

    assert (line.wrong, line.wrong_count, line.passes) == ("4", 2, 1)


def test_an_answer_of_which_nothing_was_read_is_told_as_it_stands():
    assert difficulty.summary(_item(), _given((None, Outcome.INCORRECT))).wrong == "I think None"


def test_an_ungradable_answer_is_no_wrong_answer():
    line = difficulty.summary(_item(), _given(("4", Outcome.UNGRADABLE)))

    assert (line.wrong, line.wrong_count, line.scores) == ("", 0, [None])


def test_an_interrupted_measurement_ends_as_one_that_was_not(tmp_path, tiny):
    """Kept: whole chunks. Cut: the torn line and the started chunk."""
    _run(tmp_path / "whole", tiny)
    whole = (tmp_path / "whole" / "answers.jsonl").read_bytes()
    directory, spec = _directory(tmp_path / "torn", tiny)
    (directory / "answers.jsonl").write_bytes(whole[: int(len(whole) * 0.7)])

    with Progress(directory, 1) as progress:
        difficulty.measure(spec, directory, progress)

    assert (directory / "answers.jsonl").read_bytes() == whole


@pytest.mark.parametrize("kept_lines", [3, 6])
def test_a_line_without_its_end_is_written_anew(tmp_path, tiny, kept_lines):
    _run(tmp_path / "whole", tiny)
    whole = (tmp_path / "whole" / "answers.jsonl").read_bytes()
    directory, spec = _directory(tmp_path / "torn", tiny)
    kept = b"\n".join(whole.splitlines()[:kept_lines])
    (directory / "answers.jsonl").write_bytes(kept)

    with Progress(directory, 1) as progress:
        difficulty.measure(spec, directory, progress)

    assert (directory / "answers.jsonl").read_bytes() == whole


def test_what_is_finished_is_not_asked_again(tmp_path, tiny, monkeypatch):
    _run(tmp_path, tiny)
    monkeypatch.setattr(answering.sampling, "draw", lambda *_: pytest.fail("asked again"))

    _run(tmp_path, tiny)

    assert len(_lines(tmp_path)) == 10


def test_a_kill_in_the_middle_leaves_nothing_lost_and_nothing_doubled(tmp_path, tiny):
    directory, _ = _directory(tmp_path, tiny, items=[prompt_line(number) for number in range(300)])

    killed = start_engine(directory, FLYWHEEL_CRASH_AT="answers.after_chunk:2").wait()
    result = run_engine(directory)

    keys = [line.key for line in _lines(directory)]
    assert (killed, result.status, result.step) == (-signal.SIGKILL, "succeeded", 300)
    assert (len(keys), len(set(keys))) == (300, 300)


def test_a_request_to_stop_ends_after_a_whole_chunk(tmp_path, tiny, monkeypatch):
    directory, spec = _directory(tmp_path, tiny)
    with Progress(directory, 1) as progress:
        monkeypatch.setattr(progress, "require_own_attempt", lambda: setattr(progress, "stop", "terminate"))
        with pytest.raises(Stopped):
            difficulty.measure(spec, directory, progress)

    assert len(_lines(directory)) == 3


def test_a_task_that_cannot_be_read_is_a_fault_of_the_data(tmp_path, tiny):
    directory, spec = _directory(tmp_path, tiny)
    (directory / "items.jsonl").write_text(json.dumps({"key": "x"}) + "\n")

    with pytest.raises(Fault, match=r"Line 1 of items.jsonl"), Progress(directory, 1) as progress:
        difficulty.measure(spec, directory, progress)
