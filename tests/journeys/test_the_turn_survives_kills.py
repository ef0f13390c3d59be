"""kill -9 of any part during `make turn`, then `RESUME=1 make turn` where the whole stack went: the turn completes, and
its rows are those of a turn that nobody disturbed. Engines are fake here, except where a test says otherwise.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.journeys.turning import FAKE_ENGINE, Turn, once

pytestmark = pytest.mark.timeout(1200)  # of several turns of a minute on a busy machine

Ledger = dict[str, Any]
New = Callable[..., Turn]
CRASH_POINTS = {
    "import.after_claim": "upload",
    "import.before_commit:2": "upload",
    "import.after_chunk:2": "upload",
    "import.before_finish": "upload",
    "prove.before_commit": "proof",
    "prove.after_move": "proof",
}
CRASH_POINTS_OF_OTHERS = [
    "upload.after_rename",
    "review.before_commit",
    "run.before_commit",
    "engine.after_claim",
    "launch.before_handle",
    "engine.after_launch",
    "engine.before_finish",
    "adopt.before_publish",
    "engine.before_register",
    "gate.before_commit",
]
MOMENTS = [
    "base",
    "uploads ada-",
    "uploads grace-",
    "upload 1: ",
    "rosa reviews",
    "run",
    "evaluation",
]  # in their order
PARTS = ["importer", "worker", "engine", "model-server", "web", "beat", "broker", "postgres"]


def _shared() -> Path:
    """The folder of this test run's servers: xdist's processes share it, and it is removed at the end."""
    return Path(os.environ["FLYWHEEL_TEST_SERVERS"])


def _make_model(path: Path) -> None:
    from tests.fakes.tiny_model import make_model, make_tokenizer

    tokenizer, partial = make_tokenizer(), path.with_suffix(".partial")
    make_model(len(tokenizer), seed=1).save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(path)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Fake engines that take their time, small chunks, short leases: a kill finds somebody at work."""
    model = once(_shared(), "tiny-model", _make_model)
    knobs = {"seconds": 2.0, "champion": 0.3, "candidate": 0.8, "model": str(model)}
    (tmp_path / "knobs.json").write_text(json.dumps(knobs))
    return {
        "ENGINE_COMMAND": f"{sys.executable} {FAKE_ENGINE} --knobs {tmp_path / 'knobs.json'}",
        "IMPORT_CHUNK_ROWS": "100",
        "IMPORT_LEASE_SECONDS": "4",
    }


@pytest.fixture
def new(tmp_path: Path, environment: dict[str, str]) -> Iterator[New]:
    """Makes turns; whatever still runs at the end is killed, also when the test failed."""
    turns: list[Turn] = []

    def make(seed: int = 0, **more: str) -> Turn:
        root = tmp_path / f"turn-{len(turns)}"
        root.mkdir()
        turns.append(Turn(root, Random(seed), {**environment, **more}))
        return turns[-1]

    yield make
    for turn in turns:
        if turn.process is not None:
            turn.kill_everything()


@pytest.fixture
def calm(new: New) -> Ledger:
    """The ledger of a turn that nobody disturbed."""

    def take(path: Path) -> None:
        turn = new()
        turn.start()
        path.with_suffix(".partial").write_text(json.dumps(turn.finish()))
        path.with_suffix(".partial").rename(path)

    return dict(json.loads(once(_shared(), "calm.json", take).read_text()))


def same(ledger: Ledger, calm: Ledger) -> None:
    """Nothing lost, nothing doubled, nothing left behind."""
    assert ledger["faults"] == []
    assert ledger["facts"] == calm["facts"]


def test_a_turn_that_nobody_disturbs_promotes_and_leaves_nothing_behind(calm: Ledger):
    assert calm["faults"] == []
    assert calm["facts"]["reports"] == ["PROMOTE"]
    assert calm["facts"]["moves"] == [["anchor", None, 0], ["challenger", None, 1], ["champion", 0, 1],
                                      ["champion", None, 0]]  # fmt: skip
    assert set(calm["attempts"].values()) == {1}


def test_worker_engine_and_model_server_may_be_killed_once_each(new: New, calm: Ledger):
    turn = new(seed=1)
    turn.start()
    turn.wait_for("uploads grace-")
    turn.kill("worker")
    turn.wait_for("run")
    turn.kill("engine")
    turn.wait_for("evaluation")
    turn.kill("model-server")

    ledger = turn.finish()

    same(ledger, calm)
    assert ledger["attempts"]["run"] == 2


def test_everything_may_be_killed_at_once_and_the_turn_goes_on(new: New, calm: Ledger):
    turn = new(seed=2)
    turn.start()
    turn.wait_for("run")
    turn.kill_everything()
    turn.start(resume=True)

    ledger = turn.finish()

    same(ledger, calm)
    assert ledger["attempts"]["run"] == 2


def test_an_importer_that_dies_between_two_chunks_is_followed_by_another(new: New, calm: Ledger, tmp_path: Path):
    turn = new(FLYWHEEL_CRASH_AT="import.after_chunk:2", FLYWHEEL_CRASH_ONCE=str(tmp_path / "crashed"))
    turn.start()

    ledger = turn.finish()

    same(ledger, calm)
    assert ledger["attempts"]["upload"] == 2


# The sweep


@pytest.mark.proof
@pytest.mark.parametrize("point", [*CRASH_POINTS, *CRASH_POINTS_OF_OTHERS])
def test_a_process_may_die_at_any_named_point(new: New, calm: Ledger, tmp_path: Path, point: str):
    turn = new(FLYWHEEL_CRASH_AT=point, FLYWHEEL_CRASH_ONCE=str(tmp_path / "crashed"))
    turn.start()

    ledger = turn.finish()

    assert os.listdir(tmp_path / "crashed") == [point.partition(":")[0]]
    same(ledger, calm)
    assert point not in CRASH_POINTS or ledger["attempts"][CRASH_POINTS[point]] == 2


@pytest.mark.proof
def test_processes_may_die_at_all_named_points_of_one_turn(new: New, calm: Ledger, tmp_path: Path):
    points = [*CRASH_POINTS, *CRASH_POINTS_OF_OTHERS]
    turn = new(FLYWHEEL_CRASH_AT=",".join(points), FLYWHEEL_CRASH_ONCE=str(tmp_path / "crashed"))
    turn.start()

    ledger = turn.finish()

    assert sorted(os.listdir(tmp_path / "crashed")) == sorted(point.partition(":")[0] for point in points)
    same(ledger, calm)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("moment", MOMENTS)
def test_parts_may_be_killed_at_any_moment(new: New, calm: Ledger, moment: str, seed: int):
    turn = new(seed=100 * MOMENTS.index(moment) + seed)
    turn.start()
    turn.wait_for(moment)
    turn.kill(PARTS[seed])

    same(turn.finish(), calm)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("moment", MOMENTS)
def test_everything_may_be_killed_at_any_moment(new: New, calm: Ledger, moment: str, seed: int):
    turn = new(seed=100 * MOMENTS.index(moment) + seed)
    turn.start()
    turn.wait_for(moment)
    turn.kill_everything()
    turn.start(resume=True)

    same(turn.finish(), calm)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(3))
def test_kills_may_come_one_after_the_other(new: New, calm: Ledger, seed: int):
    turn = new(seed=seed)
    turn.start()
    for moment in MOMENTS:
        turn.wait_for(moment)
        turn.kill(turn.random.choice(PARTS))

    same(turn.finish(), calm)


@pytest.mark.proof
def test_an_engine_that_outlives_everything_else_is_taken_up_again(new: New, calm: Ledger):
    turn = new(seed=3)
    turn.start()
    turn.wait_for("run")
    turn.kill_everything(spare_engines=True)
    turn.start(resume=True)

    ledger = turn.finish()

    same(ledger, calm)
    assert ledger["attempts"]["run"] == 1


@pytest.mark.proof
def test_a_real_engine_may_be_killed_while_it_builds_trains_and_evaluates(new: New, calm: Ledger):
    turn = new(seed=4, ENGINE_COMMAND="")
    turn.patience = 5.0
    turn.start()
    for moment in ("base", "training, step", "evaluation"):
        turn.wait_for(moment)
        turn.kill("engine")

    ledger = turn.finish()

    told_by_the_engine = {"reports", "moves", "events"}
    assert ledger["faults"] == []
    assert {name: ledger["attempts"][name] for name in ("base", "run", "evaluation")} == dict.fromkeys(
        ("base", "run", "evaluation"), 2
    )
    assert {name: value for name, value in ledger["facts"].items() if name not in told_by_the_engine} == {
        name: value for name, value in calm["facts"].items() if name not in told_by_the_engine
    }
