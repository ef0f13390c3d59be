import msgspec
import pytest

from trainer.engine import checkpoints
from trainer.engine.history import History, Rollback
from trainer.engine.run import STATE, State


@pytest.fixture
def root(tmp_path):
    return tmp_path / "checkpoints"


def _save(root, step, **state):
    """A checkpoint as an engine writes it, which may have been another process."""
    partial = root / ".partial"
    partial.mkdir(parents=True)
    (partial / "weights.bin").write_bytes(b"weights %d" % step)
    (partial / STATE).write_bytes(msgspec.json.encode(State(**state)))
    checkpoints.publish(partial, root / f"step-{step}", step=step)


def _damage(root, step):
    (root / f"step-{step}" / "weights.bin").write_bytes(b"wei")


def _steps(root):
    return [found.step for found in History(root).standing()]


def _on_disk(root):
    return sorted(int(path.name.removeprefix("step-")) for path in root.glob("step-*"))


def test_a_new_run_has_no_history(root):
    assert History(root).standing() == []
    assert History(root).rollbacks() == []


def test_the_newest_stands_first(root):
    for step in (2, 10, 4):
        _save(root, step)

    assert _steps(root) == [10, 4, 2]


def test_a_damaged_checkpoint_does_not_stand(root):
    for step in (2, 4):
        _save(root, step)
    _damage(root, 4)

    assert _steps(root) == [2]


def test_a_run_goes_back_to_its_last_healthy_checkpoint(root):
    _save(root, 2)
    _save(root, 4)
    _save(root, 6, healthy=False)

    assert History(root).go_back(7, "kl", State()).step == 4


def test_a_run_without_a_healthy_checkpoint_goes_back_to_its_start(root):
    _save(root, 2, healthy=False)

    assert History(root).go_back(3, "kl", State()) is None
    assert _on_disk(root) == []


def test_a_run_never_goes_back_to_what_a_pause_alone_has_saved(root):
    _save(root, 2)
    _save(root, 3, scheduled=False)

    assert History(root).go_back(4, "kl", State()).step == 2


def test_what_lies_past_the_point_is_removed(root):
    _save(root, 2)
    _save(root, 4, healthy=False)

    History(root).go_back(5, "kl", State())

    assert _on_disk(root) == [2]


def test_a_rollback_is_written_down_with_what_had_been_spent(root):
    _save(root, 2)

    History(root).go_back(5, "kl", State(tokens=70, seconds=1.5))

    assert History(root).rollbacks() == [Rollback(5, 2, "kl", tokens=70, seconds=1.5)]


def test_a_kill_between_the_record_and_the_removal_leaves_nothing_that_counts(root):
    _save(root, 2)
    _save(root, 4)
    (root / "rollbacks.json").write_bytes(msgspec.json.encode([Rollback(5, 2, "kl")]))

    assert _steps(root) == [2]
    assert _on_disk(root) == [2]


def test_what_is_trained_after_a_rollback_stands(root):
    _save(root, 2)
    (root / "rollbacks.json").write_bytes(msgspec.json.encode([Rollback(5, 2, "kl")]))
    _save(root, 4, rollbacks=1)

    assert _steps(root) == [4, 2]


def test_a_second_rollback_may_go_back_past_the_first(root):
    _save(root, 2)
    _save(root, 4, rollbacks=1)
    (root / "rollbacks.json").write_bytes(msgspec.json.encode([Rollback(5, 2, "kl"), Rollback(5, 0, "kl")]))

    assert _steps(root) == []


def test_the_best_is_the_healthy_one_with_the_highest_validation(root):
    _save(root, 2, validation=0.4)
    _save(root, 4, validation=0.6)
    _save(root, 6, validation=0.9, healthy=False)
    _save(root, 8, validation=0.5)

    assert History(root).best().step == 4


def test_of_two_equally_good_ones_the_later_is_the_best(root):
    _save(root, 2, validation=0.4)
    _save(root, 4, validation=0.4)

    assert History(root).best().step == 4


def test_the_latest_within_one_standard_error_of_the_best_is_preferred_where_it_is_asked_for(root):
    _save(root, 2, validation=0.4)
    _save(root, 4, validation=0.62)
    _save(root, 6, validation=0.61, behind=0.3)
    _save(root, 8, validation=0.5, behind=1.7)

    history = History(root)

    assert (history.best().step, history.best(latest=True).step) == (4, 6)


def test_a_measurement_before_the_best_is_never_preferred(root):
    _save(root, 2, validation=0.61, behind=0.0)
    _save(root, 4, validation=0.62)

    assert History(root).best(latest=True).step == 4


def test_what_would_be_preferred_survives_pruning(root):
    _save(root, 2, validation=0.9)
    _save(root, 4, validation=0.8, behind=0.5)
    for step in (6, 8, 10, 12):
        _save(root, step, validation=0.85, behind=1.2)

    History(root).prune(keep_best=1, latest=True)

    assert _on_disk(root) == [2, 4, 10, 12]


def test_without_validation_there_is_no_best(root):
    _save(root, 2)

    assert History(root).best() is None


def test_the_newest_two_the_best_and_the_last_healthy_are_kept(root):
    for step, state in {
        2: {"validation": 0.9},
        4: {"validation": 0.1},
        6: {"validation": 0.2},
        8: {"healthy": False},
        10: {"healthy": False},
        12: {"healthy": False},
    }.items():
        _save(root, step, **state)

    History(root).prune(keep_best=1)

    assert _on_disk(root) == [2, 6, 10, 12]


def test_as_many_of_the_best_are_kept_as_asked_for(root):
    for step in range(2, 14, 2):
        _save(root, step, validation=1 / step)

    History(root).prune(keep_best=3)

    assert _on_disk(root) == [2, 4, 6, 10, 12]


def test_keeping_none_of_the_best_keeps_the_newest_two(root):
    for step in range(2, 14, 2):
        _save(root, step, validation=1 / step)

    History(root).prune(keep_best=0)

    assert _on_disk(root) == [10, 12]


def test_the_snapshot_of_a_pause_pushes_out_nothing_and_goes_once_there_is_a_newer_one(root):
    for step in (6, 8, 10):
        _save(root, step)
    _save(root, 11, scheduled=False)

    History(root).prune(keep_best=0)
    paused = _on_disk(root)
    _save(root, 12)
    History(root).prune(keep_best=0)

    assert (paused, _on_disk(root)) == ([8, 10, 11], [10, 12])


def test_damaged_ones_are_pruned_once_enough_sound_ones_have_come_after_them(root):
    for step in (2, 4, 6):
        _save(root, step)
    _damage(root, 2)

    History(root).prune(keep_best=0)

    assert _on_disk(root) == [4, 6]


def test_a_single_sound_one_pushes_out_nothing(root):
    for step in (2, 4):
        _save(root, step)
    _damage(root, 4)

    History(root).prune(keep_best=0)

    assert _on_disk(root) == [2, 4]


def test_what_a_run_does_later_changes_nothing_of_a_checkpoint_that_it_has_written(root):
    history, state = History(root), State(validation=0.5)
    _save(root, 2, validation=0.5)
    history.written(root / "step-2", state)

    state.validation = 0.9
    state.memory.norms.append(1.0)

    assert history.best().state == State(validation=0.5)


def test_a_checkpoint_that_was_just_written_is_not_read_again(root, monkeypatch):
    _save(root, 2)
    history = History(root)
    history.written(root / "step-2", State())
    monkeypatch.setattr(checkpoints, "verified", None)

    assert [found.step for found in history.standing()] == [2]
