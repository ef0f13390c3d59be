"""A block of a file to rows ready for the database: read, mapped, checked, screened, keyed, in COPY's own text.

Pure, so that it can run in a helper process, and the same code serves a million rows on one machine and a hundred
million on many. What is stored already, and what follows from it, is decided by the caller.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tasks.dedup import contamination, fingerprint, signature, wrappers
from tasks.dedup.contamination import Overlap
from tasks.formats import jsonl
from tasks.formats import mapping as mappings
from tasks.formats.block import Block
from tasks.graders import judges, registry
from tasks.screening import policy as policies
from tasks.splits import split_of
from tasks.states import Split
from tasks.text import NORM_VERSION
from tasks.types import Issue, Message, Row
from tasks.validation import validate

ROWS_AT_ONCE = 32  # go through a stage before the next one begins: a tenth faster than row by row
_Given = tuple[int, dict[str, Any] | Issue, bytes]  # number, row or what is wrong with it, JSON
ANYBODY = judges.Judges({"*": judges.Endpoint("http://asked.later.invalid/v1")})
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Context:
    """What a block is read with. Everything in it can be sent to a helper process."""

    domain: str = ""  # of rows that name none
    default_grader: bytes | None = None  # its configuration as JSON
    mapping: bytes | None = None  # tasks.formats.mapping.Mapping as JSON; None: native rows
    policy: bytes = b"{}"  # tasks.screening.policy.Policy as JSON
    wrappers: tuple[str, ...] = ()  # approved besides the built-in ones
    suites: str = ""  # file of the contamination index; "": there are no suites
    waived: frozenset[str] = frozenset()  # codes of checks that a reviewer has lifted
    salt: str = ""  # of the space's splits
    held_out: bool = False  # every prompt that nobody has seen is sealed


@dataclass(frozen=True, slots=True)
class KnownGrader:
    digest: str
    type: str
    config: bytes  # canonical JSON
    judged: bool  # it asks a model: whether anybody answers for it is asked by who has a database


class Found(NamedTuple):
    """A finding about a row, before its task has an id (tasks.models.TaskFinding)."""

    kind: str
    rule: str
    evidence: Mapping[str, Any]
    similarity: float | None = None


@dataclass(slots=True)
class Prepared:
    """Good rows, column by column, and what was wrong with the others."""

    line: int  # where the next block begins
    position: int
    read: int
    lines: list[int] = field(default_factory=list)
    exact_keys: list[bytes] = field(default_factory=list)  # 16 bytes each
    stripped_keys: list[bytes | None] = field(default_factory=list)
    wrapped: dict[int, tuple[str, ...]] = field(default_factory=dict)  # names of what was taken off, by row
    answers: list[bytes] = field(default_factory=list)  # answer digests, 16 bytes each
    signatures: list[int] = field(default_factory=list)  # of the numbers
    graders: list[str | None] = field(default_factory=list)  # digests
    splits: list[str] = field(default_factory=list)  # of a prompt that nobody has seen, with no family
    folded: list[str] = field(default_factory=list)
    columns: list[bytes] = field(default_factory=list)  # COLUMNS in COPY's text format
    near: np.ndarray = field(  # tasks.dedup.signature, by row
        default_factory=lambda: np.empty((0, signature.WORDS), dtype=np.uint64)
    )
    overlaps: dict[int, Overlap] = field(default_factory=dict)  # by row
    findings: dict[int, list[Found]] = field(default_factory=dict)  # by row
    issues: list[Issue] = field(default_factory=list)
    known_graders: dict[str, KnownGrader] = field(default_factory=dict)
    openings: wrappers.Lines = field(default_factory=wrappers.Lines)


COLUMNS = (
    "messages",
    "item",
    "gold",
    "grader_id",
    "domain",
    "metadata",
    "exact_key",
    "stripped_key",
    "answer_digest",
    "number_signature",
    "template",
    "content_digest",
    "norm_version",
    "bands",
)


def prepare(block: Block, context: Context) -> Prepared:
    """Rows in the order of the file. The same block and context give the same answer, in any process."""
    prepared = Prepared(block.last, block.position, block.read)
    prepared.issues.extend(block.issues)
    with judges.using(ANYBODY):
        good = _rows(block, context, prepared)
        while some := list(islice(good, ROWS_AT_ONCE)):
            for row, findings in some:
                _add(row, findings, context, prepared)
    _compare(prepared, context)
    return prepared


def _rows(block: Block, context: Context, prepared: Prepared) -> Iterator[tuple[Row, list[policies.Finding]]]:
    """Good rows with what screening found in them."""
    default = None if context.default_grader is None else registry.parse(_decoded(context.default_grader))
    native, policy = _native(context.mapping), _policy(context.policy)
    for number, raw, source, calm in _told_calm(jsonl.rows(block)):
        mapped = raw if isinstance(raw, Issue) else native(raw, number)
        if isinstance(mapped, Issue):
            prepared.issues.append(mapped)
            continue
        row = validate(mapped, line=number, default=default, source=source)
        if not isinstance(row, Row):
            prepared.issues.extend(row)
            continue
        row, issues, findings = policies.screen(row, policy, waived=context.waived, calm=calm)
        if issues:
            prepared.issues.extend(issues)
            continue
        yield row, findings


def _told_calm(rows: Iterator[_Given]) -> Iterator[tuple[int, dict[str, Any] | Issue, bytes, bool]]:
    """Rows with whether there is nothing to look for in them: most, and told of many at once."""
    while some := list(islice(rows, ROWS_AT_ONCE)):
        all_calm = policies.is_calm(b"\n".join([source for _, _, source in some]))
        for number, raw, source in some:
            yield number, raw, source, all_calm or policies.is_calm(source)


def _found(finding: policies.Finding) -> Found:
    where = {"field": finding.field, "start": finding.start, "end": finding.end}
    more = {"excerpt": finding.excerpt, "action": finding.action.value}
    return Found(finding.kind.value, finding.name, {**where, **more})


@lru_cache(maxsize=64)
def _decoded(config: bytes) -> Any:
    return msgspec.json.decode(config)


@lru_cache(maxsize=64)
def _native(raw: bytes | None) -> Callable[[dict[str, Any], int], dict[str, Any] | Issue]:
    return mappings.compiled(mappings.NATIVE if raw is None else msgspec.json.decode(raw, type=mappings.Mapping))


@lru_cache(maxsize=64)
def _policy(raw: bytes) -> policies.Policy:
    return policies.parse(msgspec.json.decode(raw))


@lru_cache(maxsize=4)
def _index(path: str) -> contamination.Index:
    return contamination.Index.from_bytes(Path(path).read_bytes())


@lru_cache(maxsize=16)
def approved(own: tuple[str, ...]) -> wrappers.Wrappers:
    """The built-in wrappers and a space's own, each as "start …" or "end …" (tasks.models.Wrapper.text)."""
    if not own:
        return wrappers.APPROVED
    places = (text.split(" ", 1) for text in own)
    return wrappers.Wrappers((*wrappers.BUILT_IN, *(wrappers.Wrapper(text, **{place: text}) for place, text in places)))


@lru_cache(maxsize=4096)
def known_grader(config: bytes) -> KnownGrader:
    parsed = registry.parse(msgspec.json.decode(config))
    tag = str(parsed.__struct_config__.tag)
    return KnownGrader(registry.digest(parsed), tag, registry.canonical(parsed), registry.asks_a_model(parsed))


def _add(row: Row, findings: list[policies.Finding], context: Context, prepared: Prepared) -> None:
    given = context.default_grader if row.grader is None else _encode(row.grader)
    known = None if given is None else known_grader(given)
    keys = keys_of(row.messages, row.item, row.gold, approved(context.wrappers))
    prompt = keys.prompt
    if known is not None:
        prepared.known_graders[known.digest] = known
    if findings:
        prepared.findings[len(prepared.lines)] = [_found(finding) for finding in findings]
    if keys.taken_off:
        prepared.wrapped[len(prepared.lines)] = keys.taken_off
    prepared.lines.append(row.line)
    prepared.exact_keys.append(bytes.fromhex(prompt.exact_key))
    prepared.stripped_keys.append(None if keys.bare is None else bytes.fromhex(keys.bare))
    prepared.answers.append(bytes.fromhex(keys.answer))
    prepared.signatures.append(int(prompt.number_signature, 16))
    prepared.graders.append(None if known is None else known.digest)
    prepared.splits.append(Split.SEALED if context.held_out else split_of(prompt.exact_key, context.salt))
    prepared.folded.append(keys.stripped)
    prepared.columns.append(_columns(row, known, keys, context.domain))
    sign = wrappers.last_sign(row.messages[-1].content, prompt.folded, keys.stripped)
    prepared.openings.add(keys.stripped, row.line, sign)


class Keys(NamedTuple):
    """What a task is compared by, as of NORM_VERSION and the wrappers given."""

    prompt: fingerprint.Fingerprint
    stripped: str  # folded, without its wrappers: what bands are taken of
    taken_off: tuple[str, ...]  # names of the wrappers, from the outside in
    bare: str | None  # key without wrappers, 32 hex; None: it has none
    answer: str  # digest, 32 hex


def keys_of(messages: Sequence[Message], item: Mapping[str, Any], gold: str | None, known: wrappers.Wrappers) -> Keys:
    prompt = fingerprint.fingerprint(messages)
    stripped, taken_off = wrappers.strip(prompt.folded, known)
    bare = None if stripped == prompt.folded else bare_key(stripped)
    return Keys(prompt, stripped, taken_off, bare, fingerprint.answer_digest(item, gold))


def bare_key(stripped: str) -> str:
    """As if the question had been asked without its wrapper, which may have been a message of its own."""
    return fingerprint.exact_key((Message("user", stripped),))


def _columns(row: Row, known: KnownGrader | None, keys: Keys, domain: str) -> bytes:
    messages, item = _encode(row.messages), _encode(row.item)
    digest = None if known is None else known.digest
    return b"\t".join(
        (
            messages.replace(b"\\", b"\\\\"),  # JSON has no other character that COPY reads apart
            item.replace(b"\\", b"\\\\"),
            b"\\N" if row.gold is None else _copied(row.gold),
            b"\\N" if digest is None else digest.encode(),
            _copied(row.domain or domain),
            _encode(row.metadata).replace(b"\\", b"\\\\") if row.metadata else b"{}",
            keys.prompt.exact_key.encode(),
            b"\\N" if keys.bare is None else keys.bare.encode(),
            keys.answer.encode(),
            b"\\\\x" + keys.prompt.number_signature.encode(),
            keys.prompt.template.encode(),
            b"\\\\x" + content_digest(messages, item, row.gold, digest).encode(),
            _NORM_VERSION,
        )
    )


_NORM_VERSION = str(NORM_VERSION).encode()
_APART = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copied(text: str) -> bytes:
    """A text as COPY reads it."""
    return text.translate(_APART).encode() if not text.isalnum() else text.encode()


def content_digest(messages: bytes, item: bytes, gold: str | None, grader: str | None) -> str:
    """SHA-256, hex, over the sorted JSON of what makes a task: what dataset versions are hashed from."""
    return hashlib.sha256(b"\n".join((messages, item, _encode(gold), _encode(grader)))).hexdigest()


def content_digest_of(messages: Any, item: Any, gold: str | None, grader: str | None) -> str:
    """The same from stored values."""
    return content_digest(_encode(messages), _encode(item), gold, grader)


def _compare(prepared: Prepared, context: Context) -> None:
    """Signatures of all rows at once, then what they share with held-out suites."""
    prepared.near = signature.signatures(prepared.folded, prepared.signatures)
    stored, width = signature.packed(prepared.near).tobytes().hex().encode(), 2 * signature.STORED_BYTES
    for row in range(len(prepared.columns)):
        prepared.columns[row] += b"\t\\\\x" + stored[row * width : (row + 1) * width]
    if context.suites and prepared.lines:
        index = _index(context.suites)
        keys = [key.hex() for key in prepared.exact_keys]
        overlaps = index.probe(prepared.folded, keys, prepared.near[:, : signature.BANDS])
        prepared.overlaps = {row: overlap for row, overlap in enumerate(overlaps) if overlap is not None}
