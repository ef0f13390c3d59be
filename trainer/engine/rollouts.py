"""Every rollout of a run as Parquet, one file a step, so that any reward can be looked up afterwards."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow
import pyarrow.parquet

from trainer.contract import Rollout


def write(directory: Path, step: int, lines: Sequence[Rollout]) -> None:
    """Replaces the step's file: a resumed run samples the same step again."""
    directory.mkdir(exist_ok=True)
    partial = directory / f".step-{step:06d}.partial"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(msgspec.to_builtins(lines)), partial)
    partial.replace(directory / f"step-{step:06d}.parquet")


def files(directory: Path) -> list[Path]:
    """Whole files in the order of their steps."""
    return sorted(directory.glob("step-*.parquet"), key=step_of)


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))
