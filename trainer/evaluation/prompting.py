"""What a model is asked of an item: messages with {{ item.x }} in them, or messages that the item holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tasks.graders import templates
from tasks.graders.outcome import AuthorFault, ModelFault
from tasks.graders.templates import Variable

ROLES = ("system", "developer", "user", "assistant")
MAX_MESSAGES = 200
_REFERENCE = "{{ %s }}"


class Message(msgspec.Struct, frozen=True):
    role: str
    content: str


class Prompt(msgspec.Struct, frozen=True, omit_defaults=True):
    """Either messages to be filled in, or the name of a variable of the item that holds them ("item.trajectory")."""

    messages: list[Message] = []
    reference: str = ""


def problem(prompt: Prompt) -> str | None:
    """Why no item could ever be asked with it, as a sentence."""
    if bool(prompt.messages) == bool(prompt.reference):
        return "Give either messages or the variable of the item that holds them."
    try:
        variables = _variables(prompt)
    except ValueError as fault:
        return f"{fault}."
    if any(variable.root == "sample" for variable in variables):
        return "There is no `sample` before the model has answered: a prompt reads {{ item.… }} only."
    wrong = next((message.role for message in prompt.messages if message.role not in ROLES), None)
    return f"There is no role '{wrong[:40]}': use {', '.join(ROLES)}." if wrong is not None else None


def _variables(prompt: Prompt) -> list[Variable]:
    sources = [message.content for message in prompt.messages] or [_REFERENCE % prompt.reference]
    found = [variable for source in sources for variable in templates.parse(source).variables()]
    if prompt.reference and not found:
        raise ValueError(f"'{prompt.reference[:80]}' is not a variable: write item.name")
    return found


def messages_for(prompt: Prompt, item: Mapping[str, Any]) -> list[dict[str, str]]:
    """Raises AuthorFault where the item has not what the prompt reads."""
    try:
        if prompt.reference:
            return _held(prompt.reference, templates.parse(_REFERENCE % prompt.reference).value("", item))
        return [
            {"role": message.role, "content": templates.parse(message.content).text("", item)}
            for message in prompt.messages
        ]
    except ModelFault as fault:  # pragma: no cover  (`problem` refuses what reads a sample)
        raise AuthorFault(fault.flag, fault.reason) from None


def _held(name: str, value: Any) -> list[dict[str, str]]:
    wrong = AuthorFault("bad_messages", f"`{name[:80]}` is not a list of messages with role and content.")
    if not isinstance(value, list) or not 0 < len(value) <= MAX_MESSAGES:
        raise wrong
    found = []
    for message in value:
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise wrong
        content = text_of(message.get("content"))
        if content is None:
            raise wrong
        found.append({"role": str(message["role"]), "content": content})
    return found


def text_of(content: Any) -> str | None:
    """The text of a message's content: a string, a part, or parts. None where there is anything but text."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        known = content.get("type") in ("text", "input_text", "output_text")
        return content["text"] if known and isinstance(content.get("text"), str) else None
    if isinstance(content, Sequence):
        parts = [text_of(part) for part in content]
        return None if None in parts else "".join(part for part in parts if part is not None)
    return None
