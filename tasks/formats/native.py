"""The native row: {messages | prompt, item?, reference?, gold?, grader?, domain?, metadata?}.

`reference` is short for `item.reference`. Every other key goes into the item as well, so that rows written for
OpenAI's reinforcement fine-tuning, whose graders read {{ item.<key> }}, need no conversion. `prompt` may be a list of
messages, as TRL writes it. A `gold` that is no text is written as JSON. `tools` that is empty or null is left out.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from tasks.formats.codes import issue
from tasks.formats.jsonl import kind_of
from tasks.graders.templates import as_text
from tasks.types import Issue, Message

MAX_PROMPT_CHARACTERS = 100_000
MAX_GOLD_CHARACTERS = 100_000
MAX_DOMAIN_CHARACTERS = 64

RESERVED = frozenset({"messages", "prompt", "item", "gold", "grader", "domain", "metadata", "tools"})
_INSTRUCTIONS = frozenset({"system", "developer"})
_TOOL_KEYS = ("tool_calls", "function_call", "tool_call_id")


class Fields(NamedTuple):
    """A row's fields, told apart but not yet checked against a grader."""

    messages: tuple[Message, ...]
    item: Mapping[str, Any]
    gold: str | None
    grader: Any  # as given; None: the dataset's
    domain: str
    metadata: Mapping[str, Any]


def fields(raw: Mapping[str, Any], line: int) -> tuple[Fields, list[Issue]]:
    """Read what can be read; the fields count only when there are no issues."""
    issues: list[Issue] = []
    read = Fields(
        messages=_messages(raw, line, issues),
        item=_item(raw, line, issues),
        gold=_gold(raw, line, issues),
        grader=raw.get("grader"),
        domain=_domain(raw, line, issues),
        metadata=_object(raw, "metadata", line, issues) if "metadata" in raw else {},
    )
    return read, issues


def _messages(raw: Mapping[str, Any], line: int, issues: list[Issue]) -> tuple[Message, ...]:
    if raw.get("tools"):
        issues.append(issue("tools_unsupported", line=line, field="tools"))
    prompt, messages = raw.get("prompt"), raw.get("messages")
    if messages is None and prompt.__class__ is str and prompt.strip() and len(prompt) <= MAX_PROMPT_CHARACTERS:
        return (Message("user", prompt),)  # nearly every row
    if prompt is not None and messages is not None:
        issues.append(issue("prompt_twice", line=line, field="prompt"))
        return ()
    field = "messages" if messages is not None else "prompt"
    given = messages if messages is not None else prompt
    if given is None:
        issues.append(issue("prompt_missing", line=line, field="prompt"))
        return ()
    if isinstance(given, str) and field == "prompt":
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        detail = f"`{field}` is {kind_of(given)}"
        issues.append(issue("messages_bad", line=line, field=field, detail=detail, value=as_text(given)))
        return ()
    return _turn(given, field, line, issues)


def _turn(given: list[Any], field: str, line: int, issues: list[Issue]) -> tuple[Message, ...]:
    """A conversation in which the user speaks last, with instructions wherever they stand."""
    read: list[Message] = []
    for position, entry in enumerate(given):
        message = _message(entry, f"{field}[{position}]", line)
        if isinstance(message, Issue):
            issues.append(message)
            return ()
        read.append(message)
    turns = [message for message in read if message.role not in _INSTRUCTIONS]
    fault = None
    if not turns or (turns[-1].role == "user" and not turns[-1].content.strip()):
        fault = issue("prompt_missing", line=line, field=field)
    elif turns[-1].role == "assistant":
        fault = issue("several_turns", line=line, field=field)
    elif read[-1] is not turns[-1]:
        fault = issue("messages_bad", line=line, field=field, detail="the user's message must come last")
    elif sum(len(message.content) for message in read) > MAX_PROMPT_CHARACTERS:
        fault = issue("too_long", line=line, field=field, detail=f"{MAX_PROMPT_CHARACTERS:,}")
    if fault:
        issues.append(fault)
    return tuple(read)


def _message(entry: Any, field: str, line: int) -> Message | Issue:
    if not isinstance(entry, dict):
        return issue(
            "messages_bad", line=line, field=field, detail=f"`{field}` is {kind_of(entry)}", value=as_text(entry)
        )
    role = entry.get("role")
    if role in ("tool", "function") or any(entry.get(key) for key in _TOOL_KEYS):
        return issue("tools_unsupported", line=line, field=field)
    if role not in ("system", "developer", "user", "assistant"):
        detail = f"`{field}.role` must be system, developer, user or assistant"
        return issue("messages_bad", line=line, field=f"{field}.role", detail=detail, value=as_text(role))
    content = _content(entry.get("content"), f"{field}.content", line)
    return content if isinstance(content, Issue) else Message(role, content)


def _content(content: Any, field: str, line: int) -> str | Issue:
    """A text, or OpenAI's list of parts as long as every part is text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return issue("messages_bad", line=line, field=field, detail=f"`{field}` is {kind_of(content)}")
    texts: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "input_text") and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(kind, str) and kind not in ("text", "input_text"):
            what = "an image" if "image" in kind else f"a part of type '{kind[:40]}'"
            return issue("image_unsupported", line=line, field=field, detail=what)
        else:
            return issue("messages_bad", line=line, field=field, detail=f"`{field}` holds a part without a text")
    return "".join(texts)


def _item(raw: Mapping[str, Any], line: int, issues: list[Issue]) -> Mapping[str, Any]:
    """The item with everything that stands beside it."""
    item = dict(_object(raw, "item", line, issues)) if "item" in raw else {}
    for key, value in raw.items():
        if key in RESERVED or (value is None and key == "reference"):
            continue
        if item and key in item and item[key] != value:
            issues.append(issue("item_conflict", line=line, field=key, detail=key, value=as_text(value)))
        item[key] = value
    return item


def _gold(raw: Mapping[str, Any], line: int, issues: list[Issue]) -> str | None:
    gold = raw.get("gold")
    if gold is None:
        return None
    text = as_text(gold)
    if len(text) > MAX_GOLD_CHARACTERS:
        issues.append(issue("too_long", line=line, field="gold", detail=f"{MAX_GOLD_CHARACTERS:,}"))
    return text


def _domain(raw: Mapping[str, Any], line: int, issues: list[Issue]) -> str:
    domain = raw.get("domain")
    if domain is None:
        return ""
    if not isinstance(domain, str) or len(domain) > MAX_DOMAIN_CHARACTERS or not domain.strip().isprintable():
        issues.append(issue("domain_bad", line=line, field="domain", value=as_text(domain)))
        return ""
    return domain.strip()


def _object(raw: Mapping[str, Any], key: str, line: int, issues: list[Issue]) -> Mapping[str, Any]:
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        code = "item_not_object" if key == "item" else "metadata_not_object"
        issues.append(issue(code, line=line, field=key, detail=kind_of(value), value=as_text(value)))
        return {}
    return value


def write(
    messages: tuple[Message, ...],
    item: Mapping[str, Any],
    gold: str | None = None,
    grader: Mapping[str, Any] | None = None,
    domain: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """One native row as a line, without its line break; reading it gives the same fields."""
    row: dict[str, Any] = {"messages": [{"role": message.role, "content": message.content} for message in messages]}
    row["item"] = dict(item)
    optional = {"gold": gold, "grader": grader, "domain": domain or None, "metadata": metadata or None}
    row.update({key: value for key, value in optional.items() if value is not None})
    return msgspec.json.encode(row)
