"""Reading a run's answers from its files."""

from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pyarrow.parquet
import pytest

from tasks.errors import NotFound
from trainer.contract import Rollout
from trainer.engine import rollouts as engine_rollouts
from trainer.models import TrainingRun
from trainer.services import rollouts
from trainer.services.launching import path_of
from trainer.services.rollouts import Wanted

DIRECTORY = "run-" + "0" * 32


def line(step: int, number: int, **changes: Any) -> Rollout:
    plain = {
        "step": step,
        "key": f"{number}",
        "domain": "add" if number % 2 else "reverse",
        "prompt": f"Say {number}",
        "completion": f"It is {number}.",
        "reward": number / 10,
        "advantage": 0.1,
        "reason": "Matches.",
        "learned": number != 9,
    }
    return Rollout(**{**plain, **changes})


@pytest.fixture
def run(settings: Any, tmp_path: Path) -> TrainingRun:
    """Twelve steps of ten answers."""
    settings.DATA_DIR = tmp_path
    folder = path_of(DIRECTORY)
    folder.mkdir(parents=True)
    for step in range(1, 13):
        engine_rollouts.write(folder / "rollouts", step, [line(step, number) for number in range(10)])
    return TrainingRun(directory=DIRECTORY, state="succeeded", step=12, spec={})


def found(run: TrainingRun, **wanted: Any) -> list[tuple[int, str]]:
    return [(row["step"], row["key"]) for row in rollouts.look(run, Wanted(**wanted)).rows]


def test_the_best_paid_answers_of_the_last_steps_come_first(run: TrainingRun):
    assert found(run, limit=2) == [(12, "9"), (11, "9")]


def test_of_equal_rewards_the_larger_advantage_comes_first(run: TrainingRun):
    engine_rollouts.write(
        path_of(DIRECTORY) / "rollouts", 3, [line(3, 1, reward=2.0), line(3, 2, reward=2.0, advantage=0.7)]
    )

    assert found(run, step=3) == [(3, "2"), (3, "1")]


def test_no_more_than_the_last_steps_are_looked_at(run: TrainingRun):
    assert rollouts.look(run, Wanted()).steps == list(range(3, 13))


def test_of_a_step_all_can_be_paged_through(run: TrainingRun):
    first, second = (found(run, step=4, limit=6, skip=skip) for skip in (0, 6))

    assert (len(first), len(second), len({*first, *second})) == (6, 4, 10)


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        ({"domain": "add"}, {"1", "3", "5", "7", "9"}),
        ({"learned": False}, {"9"}),
        ({"least": 0.3, "most": 0.5}, {"3", "4", "5"}),
        ({"text": "IT IS 7"}, {"7"}),
        ({"text": "say 2"}, {"2"}),
    ],
)
def test_filters_narrow_what_is_shown(run: TrainingRun, wanted: dict[str, Any], keys: set[str]):
    assert {key for _, key in found(run, step=5, **wanted)} == keys


def test_a_prompt_is_followed_over_all_steps(run: TrainingRun):
    assert found(run, key="4", order="step") == [(step, "4") for step in range(12, 0, -1)]


def test_answers_that_could_not_be_graded_come_last(run: TrainingRun):
    lines = [line(6, 0, reward=None), line(6, 1, reward=None)]
    engine_rollouts.write(path_of(DIRECTORY) / "rollouts", 6, lines)

    assert {row["reward"] for row in rollouts.look(run, Wanted(step=6)).rows} == {None}
    assert found(run)[-1][0] != 6


def test_a_file_of_an_older_engine_is_read(run: TrainingRun):
    old = [{name: value for name, value in msgspec.to_builtins(line(7, 1)).items() if name != "learned"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(old), path_of(DIRECTORY) / "rollouts" / "step-000007.parquet")

    assert rollouts.look(run, Wanted(step=7)).rows[0]["learned"] is True


def test_a_damaged_file_hides_no_other(run: TrainingRun):
    (path_of(DIRECTORY) / "rollouts" / "step-000012.parquet").write_bytes(b"PAR1 half")

    assert found(run, limit=1) == [(11, "9")]


def test_steps_behind_the_end_of_a_run_that_went_back_are_left_out(run: TrainingRun):
    run.step = 8

    assert rollouts.look(run, Wanted()).known == list(range(1, 9))


def test_a_nul_in_an_answer_is_shown_as_a_sign(run: TrainingRun):
    engine_rollouts.write(path_of(DIRECTORY) / "rollouts", 9, [line(9, 1, completion="4\x00")])

    assert rollouts.look(run, Wanted(step=9)).rows[0]["completion"] == "4\ufffd"


def test_a_directory_that_is_not_here_is_said(run: TrainingRun):
    run.directory = "run-" + "1" * 32

    with pytest.raises(NotFound, match="not on this machine"):
        rollouts.look(run, Wanted())


def test_pruned_answers_are_said(run: TrainingRun):
    for path in (path_of(DIRECTORY) / "rollouts").iterdir():
        path.unlink()

    with pytest.raises(NotFound, match="no longer kept"):
        rollouts.look(run, Wanted())


def test_a_run_without_a_step_yet_has_none(run: TrainingRun):
    for path in (path_of(DIRECTORY) / "rollouts").iterdir():
        path.unlink()
    run.state = "running"

    assert rollouts.look(run, Wanted()).rows == []


def test_a_run_that_has_not_begun_says_so(run: TrainingRun):
    run.directory = ""

    with pytest.raises(NotFound, match="has not begun"):
        rollouts.look(run, Wanted())
