"""A run that is killed, paused or sent back ends with the weights of one that nobody disturbed, bit by bit (CPU).

Two courses. `adapter` trains LoRA at a rate so high that it breaks, goes back to step 2 and then makes all its steps.
`full` earns on its rows what its validation forbids: it goes back time and again, to step 4 and to later ones, and ends
by the alarm. Both make two updates a step, draw again for groups without spread, rest prompts and spare domains.
"""

import hashlib
import signal
import time
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from tests.trainer.engine.conftest import prepare, prompt_line, run_engine, start_engine, train_spec
from trainer.contract import Control, Result, encode
from trainer.engine import checkpoints
from trainer.engine.history import History

pytestmark = pytest.mark.timeout(900)  # an engine's start takes seconds, on a busy machine many

WANTED = {
    "type": "text_similarity",
    "input": "{{ sample.output_text }}",
    "reference": "77",
    "evaluation_metric": "fuzzy_match",
}
FORBIDDEN = {"type": "regex", "pattern": "^[^7]*7?[^7]*$"}
RECIPE = {
    "steps": 12,
    "updates_per_step": 2,
    "refill_rounds": 2,
    "rest_above": 0.5,
    "rest_steps": 2,
    "skip_floor": 0.3,
    "warmup_steps": 8,
    "guard": True,
    "rollbacks": 3,
}
COURSES: dict[str, dict[str, Any]] = {
    "adapter": {"lora_rank": 2, "learning_rate": 0.6},
    "full": {"learning_rate": 0.02},
}


def _prepared(directory, model, course, *, attempt=1, **changes):
    spec = train_spec(model, attempt=attempt, **RECIPE | COURSES[course] | changes)
    return prepare(
        directory,
        spec,
        train=[prompt_line(number, grader=WANTED) for number in range(24)],
        validation=[prompt_line(number, grader=FORBIDDEN) for number in range(50, 60)],
        probe=[prompt_line(number) for number in range(60, 70)],
    )


def _resumed(directory, model, course, attempt=2, **changes):
    return run_engine(_prepared(directory, model, course, attempt=attempt, **changes))


def _outcome(directory: Path) -> dict[str, Any]:
    """All that must not depend on how often the run was disturbed."""
    result = msgspec.json.decode((directory / "result.json").read_bytes(), type=Result)
    history = History(directory / "checkpoints")
    newest = history.standing()[0]
    return {
        "status": result.status,
        "ending": result.ending,
        "step": result.step,
        "kept": result.kept_step,
        "rate": result.learning_rate,
        "tokens": result.tokens,
        "divergence": result.kl,
        "model": checkpoints.read_manifest(directory / "model").digest,
        "weights": hashlib.sha256((directory / "model" / "model.safetensors").read_bytes()).hexdigest(),
        "newest weights": [hashlib.sha256(p.read_bytes()).hexdigest() for p in newest.directory.glob("*.safetensors")],
        "state": msgspec.structs.replace(newest.state, seconds=0.0),
        "rollbacks": [(back.from_step, back.to_step, back.kind) for back in history.rollbacks()],
        "kept checkpoints": sorted(found.step for found in history.standing() if found.state.scheduled),
    }


# Both courses cost minutes: the suite takes the one, the long sweeps take both.
@pytest.fixture(scope="session", params=["adapter", pytest.param("full", marks=pytest.mark.proof)])
def calm(request, tiny, tmp_path_factory):
    """The course, and how it ends undisturbed."""
    directory = _prepared(tmp_path_factory.mktemp(f"calm-{request.param}"), tiny, request.param)
    assert run_engine(directory).status == "succeeded", (directory / "engine.log").read_text()
    return request.param, _outcome(directory)


def _killed(directory: Path, at: str) -> bool:
    return start_engine(directory, FLYWHEEL_CRASH_AT=at).wait() == -signal.SIGKILL


def _kill_after(directory: Path, seconds: float) -> bool:
    """Kill -9 so long after the first step was drawn; False where the engine had ended before."""
    (directory / "samples.jsonl").unlink(missing_ok=True)
    engine = start_engine(directory)
    while engine.poll() is None and not (directory / "samples.jsonl").exists():
        time.sleep(0.01)
    time.sleep(seconds)
    engine.kill()
    return engine.wait() == -signal.SIGKILL


def test_a_course_goes_back_on_the_way(calm):
    assert calm[1]["rollbacks"]


@pytest.mark.parametrize(
    "point", ["checkpoint.half_written", "artifact.before_rename:2", "artifact.after_rename", "rollback.after_record"]
)
def test_a_run_killed_at_a_crash_point_ends_as_if_nothing_had_been(calm, tiny, tmp_path, point):
    course, expected = calm
    assert _killed(_prepared(tmp_path, tiny, course), point)

    _resumed(tmp_path, tiny, course)

    assert _outcome(tmp_path) == expected


def test_a_run_killed_again_and_again_ends_as_if_nothing_had_been(calm, tiny, tmp_path):
    course, expected = calm
    for attempt, point in enumerate(("checkpoint.half_written", "artifact.after_rename", "rollback.after_record"), 1):
        assert _killed(_prepared(tmp_path, tiny, course, attempt=attempt), point)

    _resumed(tmp_path, tiny, course, attempt=4)

    assert _outcome(tmp_path) == expected


def test_a_run_whose_budgets_pause_it_twice_ends_as_if_nothing_had_been(calm, tiny, tmp_path):
    course, expected = calm
    paused = [
        run_engine(_prepared(tmp_path, tiny, course, attempt=attempt, max_steps=steps)).status
        for attempt, steps in enumerate((3, 4), 1)
    ]

    _resumed(tmp_path, tiny, course, attempt=3)

    assert paused == ["paused", "paused"]
    assert _outcome(tmp_path) == expected


def test_a_run_that_somebody_paused_ends_as_if_nothing_had_been(calm, tiny, tmp_path):
    course, expected = calm
    _prepared(tmp_path, tiny, course)
    (tmp_path / "control.json").write_bytes(encode(Control("pause")))  # heard within the first steps
    paused = run_engine(tmp_path).status

    _resumed(tmp_path, tiny, course)

    assert paused == "paused"
    assert _outcome(tmp_path) == expected


@pytest.mark.proof
@pytest.mark.parametrize("passing", range(1, 9))
@pytest.mark.parametrize("point", ["checkpoint.half_written", "artifact.before_rename", "artifact.after_rename"])
def test_a_run_may_be_killed_at_every_checkpoint(calm, tiny, tmp_path, point, passing):
    course, expected = calm
    killed = _killed(_prepared(tmp_path, tiny, course), f"{point}:{passing}")

    if killed:
        _resumed(tmp_path, tiny, course)

    assert _outcome(tmp_path) == expected


@pytest.mark.proof
@pytest.mark.parametrize("passing", range(1, 4))
def test_a_run_may_be_killed_at_every_rollback(calm, tiny, tmp_path, passing):
    course, expected = calm
    killed = _killed(_prepared(tmp_path, tiny, course), f"rollback.after_record:{passing}")

    if killed:
        _resumed(tmp_path, tiny, course)

    assert killed == (passing <= len(expected["rollbacks"]))
    assert _outcome(tmp_path) == expected


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(10))
def test_a_run_may_be_killed_at_any_moment(calm, tiny, tmp_path, seed):
    (course, expected), random = calm, Random(seed)
    for attempt in range(1, 4):
        if not _kill_after(_prepared(tmp_path, tiny, course, attempt=attempt), random.uniform(0, 3)):
            break

    if not (tmp_path / "result.json").exists():
        _resumed(tmp_path, tiny, course, attempt=4)

    assert _outcome(tmp_path) == expected


@pytest.mark.proof
@pytest.mark.parametrize("steps", range(1, 12))
def test_a_run_may_be_paused_at_every_step(calm, tiny, tmp_path, steps):
    course, expected = calm
    paused = run_engine(_prepared(tmp_path, tiny, course, max_steps=steps)).status

    if paused == "paused":
        _resumed(tmp_path, tiny, course)

    assert _outcome(tmp_path) == expected
