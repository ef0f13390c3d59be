import pyarrow.parquet

from trainer.contract import Rollout
from trainer.engine import rollouts


def _rollout(completion: str) -> Rollout:
    return Rollout(1, "k", "sums", "2 + 2 =", completion, 1.0, 0.5, "Matches the reference.")


def test_every_rollout_of_a_step_can_be_read_again(tmp_path):
    rollouts.write(tmp_path / "rollouts", 3, [_rollout("4"), _rollout("5")])

    table = pyarrow.parquet.read_table(tmp_path / "rollouts" / "step-000003.parquet")

    assert table.column("completion").to_pylist() == ["4", "5"]


def test_a_step_that_is_sampled_again_replaces_its_rollouts(tmp_path):
    rollouts.write(tmp_path, 3, [_rollout("4")])

    rollouts.write(tmp_path, 3, [_rollout("6")])

    assert pyarrow.parquet.read_table(tmp_path / "step-000003.parquet").column("completion").to_pylist() == ["6"]
