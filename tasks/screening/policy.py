"""What a space lets in besides what is right: its screening policy, and one row held against it.

Screening comes before the keys are computed: a masked prompt is another prompt.
"""

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from tasks.errors import Invalid
from tasks.formats.codes import issue
from tasks.screening import language, matching
from tasks.screening.rules import Kind
from tasks.types import Issue, Message, Row

MOST_CHARACTERS = 100_000  # that a prompt can have at all (tasks.formats.native)
MOST_FINDINGS = 50  # kept of one row; all are masked


class Action(StrEnum):
    FLAG = "flag"  # the row comes in, reviewers see what was found
    MASK = "mask"  # a placeholder takes its place
    REFUSE = "refuse"  # the row stays out


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    secrets: Action = Action.REFUSE
    personal: Action = Action.FLAG
    languages: tuple[str, ...] = ()  # ISO 639-1; none: any
    min_characters: int = 1  # of all messages of a prompt together
    max_characters: int = MOST_CHARACTERS
    licences: tuple[str, ...] = ()  # SPDX ids that a row's metadata may name; none: any

    def action(self, kind: Kind) -> Action:
        return self.secrets if kind is Kind.SECRET else self.personal


class Finding(NamedTuple):
    """Something found in a row as it comes in: where a mask was applied, its placeholder."""

    field: str  # path into the row: messages[0].content, item.reference, gold
    kind: Kind
    name: str
    start: int  # characters of the field
    end: int
    excerpt: str  # what stands around it, without what was found
    action: Action


class Screened(NamedTuple):
    row: Row  # changed where something was masked
    issues: list[Issue]  # any: the row is refused
    findings: list[Finding]


def parse(raw: Mapping[str, Any]) -> Policy:
    """Read a policy from JSON, or refuse it with a sentence."""
    try:
        policy = msgspec.convert(raw, Policy)
    except msgspec.ValidationError as error:
        raise Invalid("screening_bad", f"The screening policy cannot be read: {error}.", "screening") from None
    for sentence, wrong in _wrong(policy):
        if wrong:
            raise Invalid("screening_bad", sentence, "screening")
    return policy


def _wrong(policy: Policy) -> Iterator[tuple[str, bool]]:
    yield "`min_characters` must be at least 1.", policy.min_characters < 1
    yield (
        f"`max_characters` must lie between `min_characters` and {MOST_CHARACTERS:,}.",
        not policy.min_characters <= policy.max_characters <= MOST_CHARACTERS,
    )
    codes = (len(code) == 2 and code.isascii() and code.islower() for code in policy.languages)
    yield 'Give `languages` as codes of two letters (ISO 639-1), such as ["en", "zh"].', not all(codes)
    yield "`licences` holds an empty name.", not all(name.strip() for name in policy.licences)


def screen(row: Row, policy: Policy, *, waived: Collection[str] = (), calm: bool = False) -> Screened:
    """`waived`: codes of refusals that a reviewer has lifted for this row. What was found is then flagged.

    `calm`: what is told of the JSON that the row was read from. Such a row need not be walked.
    """
    issues = [*_of_length(row, policy)]
    if policy.licences:
        issues += _of_licence(row, policy)
    if policy.languages:
        issues += _of_language(row, policy)
    if calm:
        return Screened(row, [found for found in issues if found.code not in waived], [])
    texts = list(_texts(row))
    if not matching.suspicious("\n".join(text for _, text in texts)):
        return Screened(row, [found for found in issues if found.code not in waived], [])
    findings: list[Finding] = []
    changed = [_apply(field, text, policy, findings) for field, text in texts]
    issues = [found for found in (*issues, *_refusals(row.line, findings)) if found.code not in waived]
    findings = [_lifted(finding) if _CODES[finding.kind] in waived else finding for finding in findings]
    if not issues and any(finding.action is Action.MASK for finding in findings):
        row = _with(row, iter(changed))
    return Screened(row, issues, findings[:MOST_FINDINGS])


def is_calm(source: bytes) -> bool:
    """Whether nothing in some JSON is suspicious and no character is hidden behind an escape. Of several lines at once:
    nothing suspicious goes on behind a line break."""
    return not _hides(source) and not matching.suspicious(source)


def _hides(source: bytes) -> bool:
    """Any character can be written as \\u…, a slash as \\/; other escapes stand for none that patterns begin with."""
    return b"\\u" in source or b"\\/" in source


def _apply(field: str, text: str, policy: Policy, findings: list[Finding]) -> str:
    """The field as it comes in; what was found is added to the findings."""
    found = matching.find(text)
    shown = matching.excerpts(text, found)
    changed, placed = matching.mask(text, found, {kind for kind in Kind if policy.action(kind) is Action.MASK})
    for one, around in zip(placed, shown, strict=True):
        action = policy.action(one.kind)
        findings.append(Finding(field, one.kind, one.name, one.start, one.end, around, action))
    return changed


_CODES = {Kind.SECRET: "secret_found", Kind.PERSONAL: "personal_data"}


def _lifted(finding: Finding) -> Finding:
    return finding._replace(action=Action.FLAG) if finding.action is Action.REFUSE else finding


def _refusals(line: int, findings: list[Finding]) -> Iterator[Issue]:
    """One a kind and field: more of the same would not help anybody to correct the row."""
    seen = set()
    for finding in findings:
        code = _CODES[finding.kind]
        if finding.action is Action.REFUSE and (code, finding.field) not in seen:
            seen.add((code, finding.field))
            detail = f"{'an' if finding.name[0] in 'AEIOaeio' else 'a'} {finding.name}"
            yield issue(code, line=line, field=finding.field, detail=detail, value=finding.excerpt)


def _of_length(row: Row, policy: Policy) -> Iterator[Issue]:
    length = sum(len(message.content) for message in row.messages)
    if length < policy.min_characters:
        yield issue("prompt_too_short", line=row.line, field="prompt", detail=f"{policy.min_characters:,}")
    elif length > policy.max_characters:
        yield issue("prompt_too_long", line=row.line, field="prompt", detail=f"{policy.max_characters:,}")


def _of_licence(row: Row, policy: Policy) -> Iterator[Issue]:
    """Of the row itself, where its metadata names one; the dataset's is checked when it is contributed."""
    field = "license" if "license" in row.metadata else "licence"
    named = row.metadata.get(field)
    if named is not None:
        allowed = {name.lower() for name in policy.licences}
        if not isinstance(named, str) or named.strip().lower() not in allowed:
            yield issue(
                "licence_not_allowed",
                line=row.line,
                field=f"metadata.{field}",
                detail=str(named)[:60],
                value=str(named),
            )


def _of_language(row: Row, policy: Policy) -> Iterator[Issue]:
    found = language.unwanted(row.messages[-1].content, policy.languages)
    if found is not None:
        yield issue("language_not_wanted", line=row.line, field="prompt", detail=found)


# The texts of a row, by path


def _texts(row: Row) -> Iterator[tuple[str, str]]:
    for position, message in enumerate(row.messages):
        yield f"messages[{position}].content", message.content
    if row.gold is not None:
        yield "gold", row.gold
    yield from _inside("item", row.item)
    yield from _inside("metadata", row.metadata)
    if row.grader is not None:
        yield from _inside("grader", row.grader)


def _inside(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _inside(f"{path}.{key}", inner)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _inside(f"{path}[{position}]", inner)


def _with(row: Row, texts: Iterator[str]) -> Row:
    """The row with other texts, in the order of _texts. Not by path: a key may hold a dot."""
    return msgspec.structs.replace(
        row,
        messages=tuple(Message(message.role, next(texts)) for message in row.messages),
        gold=None if row.gold is None else next(texts),
        item=_rebuilt(row.item, texts),
        metadata=_rebuilt(row.metadata, texts),
        grader=None if row.grader is None else _rebuilt(row.grader, texts),
    )


def _rebuilt(value: Any, texts: Iterator[str]) -> Any:
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, Mapping):
        return {key: _rebuilt(inner, texts) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rebuilt(inner, texts) for inner in value]
    return value
