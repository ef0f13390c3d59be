"""A pure function over the batches of a Parquet folder: in this process, or on the machines of a Ray cluster.

The function takes a pyarrow table and gives one; a row of its answer follows from one row that it is given, so that it
makes no difference how rows are cut into batches and who calculates which.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Function = Callable[["pa.Table"], "pa.Table"]
Fan = Callable[[Path, Function, Path, int], None]  # (Parquet folder, function, folder for the answers, rows a batch)

_ROOT = str(Path(__file__).resolve().parents[2])


def fan(address: str) -> Fan:
    """For RAY_ADDRESS: "" is this process, "local" a Ray of this machine, else the address of a cluster."""
    return partial(_on_ray, address) if address else locally


def locally(source: Path, function: Function, out: Path, batch_rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out.mkdir(parents=True)
    for path in files(source):
        writer = None
        for batch in pq.ParquetFile(path).iter_batches(batch_size=batch_rows):
            answer = function(pa.Table.from_batches([batch]))
            writer = writer or pq.ParquetWriter(out / path.name, answer.schema)
            writer.write_table(answer)
        if writer is not None:
            writer.close()


def _on_ray(address: str, source: Path, function: Function, out: Path, batch_rows: int) -> None:
    """The folders have to be where every machine of the cluster finds them."""
    start(address)
    import ray.data

    paths = [str(path) for path in files(source)]
    out.mkdir(parents=True)
    if paths:
        rows = ray.data.read_parquet(paths)
        rows.map_batches(function, batch_format="pyarrow", batch_size=batch_rows).write_parquet(str(out))


def start(address: str, **limits: Any) -> None:
    """Join the cluster, or start one here that listens on the loopback only; whoever has joined already stays.

    `limits` are ray.init's: num_cpus, object_store_memory (bytes).
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers that it runs
    import ray
    from ray.data import DataContext

    if ray.is_initialized():
        return
    environment = {"env_vars": {"PYTHONPATH": _ROOT}}
    here: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address == "local" else {}
    ray.init(address=address, runtime_env=environment, log_to_driver=False, **here, **limits)
    DataContext.get_current().enable_progress_bars = False


def files(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("*.parquet"))
