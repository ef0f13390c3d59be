"""A Mapping: which column of a file becomes which part of a native row. A value, kept as JSON, guessed and then edited.

Targets are prompt, messages, system, reference, gold, domain, grader, choices, item, item.NAME, metadata, metadata.NAME
and ignore. Several columns on `prompt` are joined by blank lines, in the order of the mapping. A column that is not
listed goes into the metadata. A source may be a path into objects: reward_model.ground_truth.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Row
from typing import Any

import msgspec

from tasks.errors import Invalid
from tasks.formats.codes import issue
from tasks.formats.reasons import COLUMNS
from tasks.graders import registry
from tasks.graders.templates import as_text
from tasks.types import Issue

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ADDED = COLUMNS  # by the file of rejected rows: never of a row itself
_SINGLE = ("messages", "system", "reference", "gold", "domain", "grader", "choices")
_TARGETS = frozenset({"prompt", "item", "metadata", "ignore", *_SINGLE})
_STRUCTURED = frozenset({"messages", "grader", "item", "metadata", "choices"})  # written as JSON in a cell of a table
_NAMED = re.compile(r"(?:item|metadata)\.[^.\s][^.]{0,99}")
_CHOICE = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]+(\S.*?)[ \t]*$", re.MULTILINE)


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    dialect: str = "columns"
    columns: dict[str, str] = {}  # source column -> target; none of a dialect that is read as it stands
    reference_after: str = ""  # the reference is what follows this mark's last place in its column, which is the gold
    choices_in_prompt: bool = False  # item.choices are the lettered lines of the prompt
    grader: dict[str, Any] | None = None  # of every row that brings none


NATIVE = Mapping("native")

Apply = Callable[[dict[str, Any], int], "dict[str, Any] | Issue"]


def problems(mapping: Mapping, columns: Sequence[str]) -> Iterator[str]:
    """What is wrong with the columns of a mapping, in sentences."""
    targets = list(mapping.columns.values())
    for source, target in mapping.columns.items():
        if target not in _TARGETS and not _NAMED.fullmatch(target):
            yield f"'{target[:80]}', the target of '{source[:80]}', is unknown."
        if columns and source not in columns:
            yield f"The file has no column '{source[:80]}'."
    if "prompt" not in targets and "messages" not in targets:
        yield "No column is the prompt: choose the one that holds the question."
    if "prompt" in targets and "messages" in targets:
        yield "One column is the prompt and another the messages: keep one of the two."
    if "messages" in targets and "system" in targets:
        yield "The messages bring their own system message: ignore the system column."
    for target in dict.fromkeys(targets):
        if (target in _SINGLE or "." in target) and targets.count(target) > 1:
            yield f"{targets.count(target)} columns are the {target}: keep one."
    if mapping.reference_after and "reference" not in targets:
        yield "A mark is given behind which the reference stands, but no column is the reference."
    if mapping.grader is not None:
        try:
            registry.parse(mapping.grader)
        except Invalid as fault:
            yield fault.sentence


def compiled(mapping: Mapping) -> Apply:
    """The mapping as one function, for loops: a native row, or what does not fit, for a row and its number."""
    direct = {source: target for source, target in mapping.columns.items() if "." not in source}
    inside = [(source.split("."), source, target) for source, target in mapping.columns.items() if "." in source]
    opened = {path[0] for path, _, _ in inside} - direct.keys()
    several_prompts = list(mapping.columns.values()).count("prompt") > 1
    prompt_order = [source for source, target in mapping.columns.items() if target == "prompt"]

    def pairs(raw: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
        for path, source, target in inside:
            if source in raw:  # a column of a table may be called so
                yield source, raw[source], target
            elif (value := _walk(raw, path)) is not None:
                yield source, value, target
        for source, value in raw.items():
            if source not in opened and source not in ADDED and ("." not in source or source not in mapping.columns):
                yield source, value, direct.get(source, "metadata")

    def apply(raw: dict[str, Any], line: int) -> dict[str, Any] | Issue:
        row: dict[str, Any] = {}
        item: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        prompts: dict[str, Any] = {}
        for source, value, target in pairs(raw) if inside else _direct(raw, direct):
            if value is None or target == "ignore":
                continue
            if target in _STRUCTURED and value.__class__ is str:
                value = _parsed(value)
                if isinstance(value, Unparsed):
                    return issue(
                        "unmappable", line=line, field=source, detail=f"'{source}' begins like JSON and is none"
                    )
            if target == "prompt":
                prompts[source] = value
            elif target == "metadata":
                metadata.update(value) if value.__class__ is dict and source in direct else metadata.update(
                    {source: value}
                )
            elif target == "item":
                item.update(value) if value.__class__ is dict else item.update({source: value})
            elif target.startswith("item."):
                item[target[5:]] = value
            elif target.startswith("metadata."):
                metadata[target[9:]] = value
            else:
                row[target] = value
        if prompts:
            row["prompt"] = (
                "\n\n".join(
                    as_text(prompts[source]) for source in prompt_order if prompts.get(source) not in (None, "")
                )
                if several_prompts
                else _prompt(next(iter(prompts.values())))
            )
        if item:
            row["item"] = item
        if metadata:
            row["metadata"] = metadata
        return _finished(mapping, row, line)

    return apply


def _direct(raw: dict[str, Any], direct: Row[str, str]) -> Iterator[tuple[str, Any, str]]:
    for source, value in raw.items():
        if source not in ADDED:
            yield source, value, direct.get(source, "metadata")


def _walk(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        if value.__class__ is not dict:
            return None
        value = value.get(step)
    return value


class Unparsed:
    """What begins like JSON and is none."""


_UNPARSED = Unparsed()


def _parsed(cell: str) -> Any:
    text = cell.strip()
    if not text.startswith(("{", "[")):
        return cell
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _UNPARSED


def _prompt(value: Any) -> Any:
    """A text, or messages; messages in a cell of a table are JSON."""
    if value.__class__ is str:
        if value.startswith("[{") and '"role"' in value[:300]:
            parsed = _parsed(value)
            return value if isinstance(parsed, Unparsed) else parsed
        return value
    return value if isinstance(value, list) else as_text(value)


def _finished(mapping: Mapping, row: dict[str, Any], line: int) -> dict[str, Any] | Issue:
    """What stands in more than one column, or is only a part of one."""
    if mapping.reference_after and "reference" in row:
        whole = as_text(row["reference"])
        _, mark, reference = whole.rpartition(mapping.reference_after)
        if not mark or not reference.strip():
            detail = f"nothing follows '{mapping.reference_after}' in its answer"
            return issue("unmappable", line=line, field="reference", detail=detail, value=whole[-200:])
        row["reference"] = reference.strip()
        row.setdefault("gold", whole)
    if "choices" in row:
        _ask_with_choices(row)
    elif mapping.choices_in_prompt and isinstance(row.get("prompt"), str) and (found := choices_of(row["prompt"])):
        row.setdefault("item", {})["choices"] = found
    if "system" in row:
        _with_system(row)
    if "domain" in row and not isinstance(row["domain"], str):
        row["domain"] = as_text(row["domain"])
    if mapping.grader is not None and "grader" not in row:
        row["grader"] = mapping.grader
    return row


def choices_of(prompt: str) -> list[str]:
    """The texts of the last run of lines (A) …, (B) …; nothing where there are fewer than two."""
    found = _CHOICE.findall(prompt)
    start = next((place for place in range(len(found) - 1, -1, -1) if found[place][0] == "A"), len(found))
    run = [text for expected, (letter, text) in zip(LETTERS, found[start:], strict=False) if letter == expected]
    return run if len(run) > 1 and len(run) == len(found) - start else []


def _ask_with_choices(row: dict[str, Any]) -> None:
    """Texts beside the question become lettered lines below it, and an answer by its place the letter."""
    given = row.pop("choices")
    if isinstance(given, dict):  # {"text": […], "label": […]}, or {"A": …, "B": …}
        given = given["text"] if isinstance(given.get("text"), list) else list(given.values())
    if not isinstance(given, list) or not 1 < len(given) <= len(LETTERS):
        row.setdefault("item", {})["choices"] = given
        return
    texts = [as_text(text) for text in given]
    row.setdefault("item", {})["choices"] = texts
    place = row.get("reference")
    if isinstance(place, int) and not isinstance(place, bool) and 0 <= place < len(texts):
        row["reference"] = LETTERS[place]
    if isinstance(row.get("prompt"), str) and not choices_of(row["prompt"]):
        lines = "\n".join(f"({letter}) {text}" for letter, text in zip(LETTERS, texts, strict=False))
        row["prompt"] = f"{row['prompt']}\n\n{lines}"


def _with_system(row: dict[str, Any]) -> None:
    system, prompt = row.pop("system"), row.pop("prompt", None)
    asked = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    if prompt is not None:
        row["messages"] = [{"role": "system", "content": as_text(system)}, *asked] if system != "" else asked
