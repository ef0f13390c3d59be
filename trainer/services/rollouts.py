"""Every answer of a run, from the Parquet files that its engine wrote: a file a step, outside the database."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tasks.errors import NotFound
from trainer.contract import Rollout
from trainer.models import TrainingRun
from trainer.services import rows
from trainer.services.launching import path_of
from trainer.states import RUN_ENDED

LAST_STEPS = 10  # that are looked at where no step is named
MOST_STEPS = 400  # that one prompt is followed over
MOST_ROWS = 100  # in one reply
ORDERS = {
    "reward": [("reward", "descending"), ("advantage", "descending"), ("step", "descending")],
    "step": [("step", "descending"), ("reward", "descending")],
}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which answers. What is left empty filters nothing."""

    step: int | None = None  # None: the last steps
    key: str = ""  # one prompt, over all steps
    domain: str = ""
    learned: bool | None = None  # whether an update was made of the answer's group
    least: float | None = None  # reward
    most: float | None = None
    text: str = ""  # in prompt or answer, in any case
    order: str = "reward"
    skip: int = 0
    limit: int = 20


class Looked(msgspec.Struct, frozen=True):
    rows: list[dict[str, Any]]  # trainer.contract.Rollout
    count: int  # of all that were found
    steps: list[int]  # that were looked at
    known: list[int]  # that there are
    domains: list[str]


def look(run: TrainingRun, wanted: Wanted) -> Looked:
    """The answers that are wanted. Raises NotFound with the reason where this machine has none of the run."""
    files = _files(run)
    chosen = _chosen(files, wanted)
    table = _table(chosen)
    domains = sorted(set(table.column("domain").to_pylist())) if chosen else []
    found = _filtered(table, wanted)
    found = found.sort_by(ORDERS[wanted.order])
    shown = found.slice(wanted.skip, min(wanted.limit, MOST_ROWS)).to_pylist()
    return Looked(
        [_told(line) for line in shown], found.num_rows, [*map(_step_of, chosen)], [*map(_step_of, files)], domains
    )


def _files(run: TrainingRun) -> list[Path]:
    """By step. What a run that went back has not trained again is left out once it has ended."""
    folder = path_of(run.directory) if run.directory else None
    if folder is None:
        raise NotFound("rollouts_missing", "The run has not begun: its answers come with its first step.")
    if not folder.is_dir():
        raise NotFound(
            "rollouts_missing",
            "The run's directory is not on this machine: it was pruned, or its engine works on another machine's disk.",
        )
    files = sorted((folder / "rollouts").glob("step-*.parquet"), key=_step_of)
    ended = run.state in RUN_ENDED
    if not files and ended:
        raise NotFound(
            "rollouts_missing",
            "The run's answers are no longer kept: they were pruned (PRUNE_ROLLOUTS_DAYS), or it made no step.",
        )
    return [path for path in files if not ended or _step_of(path) <= run.step]


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _chosen(files: Sequence[Path], wanted: Wanted) -> list[Path]:
    if wanted.step is not None:
        return [path for path in files if _step_of(path) == wanted.step]
    return list(files[-MOST_STEPS:] if wanted.key else files[-LAST_STEPS:])


def _table(files: Sequence[Path]) -> Any:
    """All of their rows, in the columns of the contract, whatever an older engine left out."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in _COLUMNS.items()])
    tables = []
    for path in files:
        try:
            read = pyarrow.parquet.read_table(path)
        except (OSError, pyarrow.ArrowInvalid):
            continue  # pruned since it was listed, or damaged: the others can be looked at all the same
        columns = [
            read.column(field.name).cast(field.type) if field.name in read.schema.names else _empty(read, field)
            for field in schema
        ]
        tables.append(pyarrow.Table.from_arrays(columns, schema=schema))
    return pyarrow.concat_tables(tables) if tables else schema.empty_table()


def _empty(table: Any, field: Any) -> Any:
    import pyarrow

    default = {field.name: field.default for field in msgspec.structs.fields(Rollout)}[field.name]
    value = None if default is msgspec.NODEFAULT else default
    return pyarrow.array([value] * table.num_rows, type=field.type)


_COLUMNS = {
    "step": "int64",
    "key": "string",
    "domain": "string",
    "prompt": "string",
    "completion": "string",
    "reward": "float64",
    "advantage": "float64",
    "reason": "string",
    "tokens": "int64",
    "truncated": "bool_",
    "learned": "bool_",
}


def _filtered(table: Any, wanted: Wanted) -> Any:
    import pyarrow.compute as pc

    where = pc.scalar(True)
    for name in ("key", "domain"):
        if value := getattr(wanted, name):
            where &= pc.field(name) == value
    if wanted.learned is not None:
        where &= pc.field("learned") == wanted.learned
    if wanted.least is not None:
        where &= pc.field("reward") >= wanted.least
    if wanted.most is not None:
        where &= pc.field("reward") <= wanted.most
    if wanted.text:
        named = [pc.match_substring(pc.field(name), wanted.text, ignore_case=True) for name in ("prompt", "completion")]
        where &= named[0] | named[1]
    return table.filter(where)


def _told(line: dict[str, Any]) -> dict[str, Any]:
    return {name: rows.storable(value) if isinstance(value, str) else value for name, value in line.items()}
