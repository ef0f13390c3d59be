"""Tasks as files: the dialects that tasks.formats reads, written as a stream whose memory does not grow with its rows.

A dialect carries what its own readers know. What it cannot say is left out, never renamed into something else:

| dialect | prompt | reference | rest of the item | gold | grader | domain | metadata |
|---|---|---|---|---|---|---|---|
| native, parquet, csv | yes | yes | yes | yes | yes | yes | yes |
| openai_rft | yes | yes | yes | | | | |
| trl | yes | as text | yes | | | | |
| open_instruct, dolci | yes | as text | of code and instructions | | by its verifier's name | | |
| verl | yes | as text | of code and instructions | | by its verifier's name | yes | |
| verifiers | yes | as text | under info | | | yes | |
| nemo_gym | yes | as text | under verifier_metadata | | | | |
| reasoning_gym | entries of that library only | | | | yes | yes | |
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tasks.formats.dialects import openai_rft
from tasks.formats.dialects.verification import grader_of
from tasks.formats.rejected import Tube, zipped
from tasks.graders.templates import as_text

BATCH_ROWS = 10_000  # of a row group
BATCH_CHARACTERS = 8 << 20
PIECE_BYTES = 64 << 10
_encode = msgspec.json.Encoder().encode
_VERIFIERS = {"number": "gsm8k", "math": "math", "exact": "string_matcher", "code": "code", "ifeval": "ifeval"}

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """A task as it leaves."""

    messages: list[dict[str, str]]
    item: Json
    gold: str | None = None
    grader: Json | None = None
    domain: str = ""
    metadata: Json = field(default_factory=dict)
    split: str = "train"
    index: int = 0  # its place among the rows of the file

    @property
    def reference(self) -> str | None:
        return as_text(self.item["reference"]) if self.item.get("reference") is not None else None

    @property
    def rest(self) -> dict[str, Any]:
        """The item without its reference."""
        return {name: value for name, value in self.item.items() if name != "reference"}


@dataclass(frozen=True, slots=True)
class Dialect:
    row: Callable[[Record], dict[str, Any] | None]  # None: the dialect has no form for this task
    container: str = "jsonl"
    columns: tuple[str, ...] = ()  # of tables

    @property
    def suffix(self) -> str:
        return self.container


def _native(task: Record) -> dict[str, Any]:
    row: dict[str, Any] = {"messages": task.messages, "item": task.item}
    optional = {"gold": task.gold, "grader": task.grader, "domain": task.domain or None}
    row |= {name: value for name, value in optional.items() if value is not None}
    return row | ({"metadata": task.metadata} if task.metadata else {})


def _openai_rft(task: Record) -> dict[str, Any]:
    """The item beside the messages; what is called like one of the two fields of such a row has no place in it."""
    beside = {name: value for name, value in task.item.items() if name not in openai_rft.RESERVED}
    return {"messages": task.messages, **beside}


def _trl(task: Record) -> dict[str, Any]:
    """`solution` for the reward function, conversational `prompt`; every other column is the item's."""
    taken = {"prompt", "solution", "completion", "chosen", "rejected"}
    rest = {name: value for name, value in task.rest.items() if name not in taken}
    return {"prompt": task.messages, "solution": task.reference, **rest}


def _verified(task: Record) -> tuple[str, Any]:
    """(verifier's name, what it reads)."""
    kind = str((task.grader or {}).get("type", ""))
    name = _VERIFIERS.get(kind, kind or "unknown")
    if kind == "ifeval" and "instructions" in task.item:
        pairs = [(entry.get("id"), entry.get("kwargs") or None) for entry in task.item["instructions"]]
        return name, str([{"instruction_id": [one for one, _ in pairs], "kwargs": [given for _, given in pairs]}])
    if kind == "code" and "tests" in task.item:
        return name, as_text(task.item["tests"])
    return name, task.reference


def _open_instruct(task: Record) -> dict[str, Any]:
    name, truth = _verified(task)
    return {"messages": task.messages, "ground_truth": truth, "dataset": name}


def _dolci(task: Record) -> dict[str, Any]:
    name, truth = _verified(task)
    return {"messages": task.messages, "ground_truth": [] if truth is None else [truth], "dataset": [name]}


def _verl(task: Record) -> dict[str, Any]:
    name, truth = _verified(task)
    return {
        "data_source": name,
        "prompt": task.messages,
        "ability": task.domain,
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"split": task.split, "index": task.index},
    }


def _verifiers(task: Record) -> dict[str, Any]:
    return {
        "prompt": task.messages,
        "answer": task.reference,
        "info": task.rest,
        "task": task.domain or "default",
    }


def _nemo_gym(task: Record) -> dict[str, Any]:
    row = {"responses_create_params": {"input": task.messages}, "expected_answer": task.reference}
    return row | ({"verifier_metadata": task.rest} if task.rest else {})


def _reasoning_gym(task: Record) -> dict[str, Any] | None:
    entry = task.item.get("entry")
    return dict(entry) if isinstance(entry, Mapping) and "question" in entry else None


def _table(task: Record) -> dict[str, Any] | None:
    """Objects are JSON in their cells; a system message has a column of its own. Earlier turns have none."""
    *before, asked = task.messages
    if any(message["role"] in ("user", "assistant") for message in before):
        return None
    systems = "\n\n".join(message["content"] for message in before)
    return {"prompt": asked["content"], "system": systems or None, **_beside(task)}


def _beside(task: Record) -> dict[str, Any]:
    return {
        "reference": task.reference,
        "gold": task.gold,
        "grader": _json(task.grader),
        "domain": task.domain or None,
        "item": _json(task.rest),
        "metadata": _json(task.metadata),
    }


def _columns(task: Record) -> dict[str, Any]:
    return {"messages": task.messages, **_beside(task)}


def _json(value: Json | None) -> str | None:
    return msgspec.json.encode(value).decode() if value else None


_TABLE = ("prompt", "system", "reference", "gold", "grader", "domain", "item", "metadata")
DIALECTS: Mapping[str, Dialect] = {
    "native": Dialect(_native),
    "openai_rft": Dialect(_openai_rft),
    "open_instruct": Dialect(_open_instruct),
    "dolci": Dialect(_dolci),
    "trl": Dialect(_trl),
    "verl": Dialect(_verl, "parquet", ("data_source", "prompt", "ability", "reward_model", "extra_info")),
    "verifiers": Dialect(_verifiers),
    "nemo_gym": Dialect(_nemo_gym),
    "reasoning_gym": Dialect(_reasoning_gym),
    "csv": Dialect(_table, "csv", _TABLE),
    "parquet": Dialect(_columns, "parquet", ("messages", *_TABLE[2:])),
}
MEDIA_TYPES = {"jsonl": "application/jsonl", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


def write(name: str, tasks: Iterable[Record], *, compressed: bool = False) -> Iterator[bytes]:
    """The tasks as a file of this dialect, in pieces."""
    dialect = DIALECTS[name]
    rows = (row for task in tasks if (row := dialect.row(task)) is not None)
    writers = {"jsonl": _lines, "csv": _cells, "parquet": _parquet}
    pieces = writers[dialect.container](rows, dialect)
    return zipped(pieces) if compressed else pieces


def says_grader(name: str, grader: Json) -> bool:
    """Whether a row of this dialect brings its grader along, so that reading it needs no default."""
    if name in ("native", "csv", "parquet"):
        return True
    if name in ("open_instruct", "dolci", "verl"):
        return grader_of(_VERIFIERS.get(str(grader.get("type")), "")) == dict(grader)
    return False


def _lines(rows: Iterable[dict[str, Any]], dialect: Dialect) -> Iterator[bytes]:
    held = bytearray()
    for row in rows:
        held += _encode(row)
        held += b"\n"
        if len(held) >= PIECE_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def _cells(rows: Iterable[dict[str, Any]], dialect: Dialect) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(dialect.columns)
    for row in rows:
        writer.writerow([row[name] for name in dialect.columns])
        if text.tell() >= PIECE_BYTES:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def _parquet(rows: Iterable[dict[str, Any]], dialect: Dialect) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, tube = _schema(dialect), Tube()
    with pq.ParquetWriter(pa.PythonFile(tube, mode="w"), schema, compression="zstd") as writer:
        for batch in _batches(rows):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            yield tube.take()
    yield tube.take()


def _schema(dialect: Dialect) -> Any:
    import pyarrow as pa

    text = pa.string()
    messages = pa.list_(pa.struct([("role", text), ("content", text)]))
    kinds = {
        "messages": messages,
        "prompt": messages,
        "reward_model": pa.struct([("style", text), ("ground_truth", text)]),
        "extra_info": pa.struct([("split", text), ("index", pa.int64())]),
    }
    return pa.schema([(name, kinds.get(name, text)) for name in dialect.columns])


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    held = 0
    for row in rows:
        batch.append(row)
        held += sum(len(value) if isinstance(value, str) else 200 for value in row.values())
        held += sum(len(message["content"]) for message in row.get("messages") or row.get("prompt") or ())
        if len(batch) >= BATCH_ROWS or held >= BATCH_CHARACTERS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
