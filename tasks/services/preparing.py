"""Rows and Issues of a chunk, made ready for the database: keys, digests, canonical JSON. Writes nothing."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from tasks.dedup import fingerprint
from tasks.formats.jsonl import Line
from tasks.formats.reasons import without
from tasks.graders import registry
from tasks.models import Dataset
from tasks.services.splits import split_of
from tasks.text import NORM_VERSION
from tasks.types import Issue, Row
from tasks.validation import validate

CHUNK_BYTES = 16 * 2**20  # a chunk ends here too, so that long rows cannot fill the memory
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class KnownGrader:
    digest: str
    type: str
    config: bytes  # canonical JSON


class PreparedRow(NamedTuple):
    """The columns of a task and its line, in the order in which merging copies them."""

    line: int
    exact_key: str
    answer_digest: str
    number_signature: str
    template: str
    grader: str | None
    messages: str
    item: str
    gold: str | None
    domain: str
    metadata: str
    content_digest: str
    norm_version: int
    split: str


@dataclass(slots=True)
class Chunk:
    """What a stretch of lines holds. `line` and `offset` are where the next chunk begins."""

    line: int
    offset: int
    rows: list[PreparedRow] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    graders: dict[str, KnownGrader] = field(default_factory=dict)


def chunks(lines: Iterable[Line], size: int) -> Iterator[list[Line]]:
    """Stretches of at most `size` lines and about CHUNK_BYTES."""
    stretch: list[Line] = []
    held = 0
    for line in lines:
        stretch.append(line)
        held += len(line.source)
        if len(stretch) >= size or held >= CHUNK_BYTES:
            yield stretch
            stretch, held = [], 0
    if stretch:
        yield stretch


def prepare(lines: list[Line], dataset: Dataset) -> Chunk:
    """Validate and key a stretch of lines. `dataset` gives the default grader, the domain and the space's salt."""
    chunk = Chunk(lines[-1].number, lines[-1].end)
    default = registry.parse(dataset.default_grader.config) if dataset.default_grader else None
    for line in lines:
        if line.row is None:
            if line.issue is not None:
                chunk.issues.append(line.issue)
            continue
        row = validate(without(line.row), line=line.number, default=default)
        if isinstance(row, Row):
            config = row.grader if row.grader is not None else default
            known = None if config is None else known_grader(_encode(config))
            if known is not None:
                chunk.graders[known.digest] = known
            chunk.rows.append(_prepared(row, known, dataset))
        else:
            chunk.issues.extend(row)
    return chunk


@lru_cache(maxsize=4096)
def known_grader(config: bytes) -> KnownGrader:
    parsed = registry.parse(msgspec.json.decode(config))
    tag = str(parsed.__struct_config__.tag)
    return KnownGrader(registry.digest(parsed), tag, registry.canonical(parsed))


def _prepared(row: Row, grader: KnownGrader | None, dataset: Dataset) -> PreparedRow:
    keys = fingerprint.fingerprint(row.messages)
    messages = _encode(row.messages)
    item = _encode(row.item)
    digest = None if grader is None else grader.digest
    return PreparedRow(
        line=row.line,
        exact_key=keys.exact_key,
        answer_digest=fingerprint.answer_digest(row.item, row.gold),
        number_signature="\\x" + keys.number_signature,
        template=keys.template,
        grader=digest,
        messages=messages.decode(),
        item=item.decode(),
        gold=row.gold,
        domain=row.domain or dataset.domain,
        metadata=_encode(row.metadata).decode(),
        content_digest="\\x" + content_digest(messages, item, row.gold, digest),
        norm_version=NORM_VERSION,
        split=split_of(keys.exact_key, dataset.space.split_salt),
    )


def content_digest(messages: bytes, item: bytes, gold: str | None, grader: str | None) -> str:
    """SHA-256, hex, over the sorted JSON of what makes a task: what dataset versions are hashed from."""
    return hashlib.sha256(b"\n".join((messages, item, _encode(gold), _encode(grader)))).hexdigest()


def content_digest_of(messages: Any, item: Any, gold: str | None, grader: str | None) -> str:
    """The same from stored values."""
    return content_digest(_encode(messages), _encode(item), gold, grader)
