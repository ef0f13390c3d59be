"""The wire format of POST /v1/chat/completions: what is asked. The shapes of the answers are in replies.py.

A parameter is honoured or refused; none is silently ignored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from trainer import constraint
from trainer.server.faults import Fault, invalid

DEFAULT_TOKENS = 512  # where the request names no limit
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

# Labels for the caller's own books: no answer depends on them.
LABELS = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"})
# Known but not built: accepted only with the value that asks for nothing. A model here neither thinks before it answers
# nor has a tone to set, so "none" and "medium" are what it does anyway.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (False, True),
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How the tokens of one choice are drawn. Temperature 0 is greedy; without a seed every call differs.

    The same seed gives the same text, whoever else is in the batch (trainer/server/sampling.py).
    """

    temperature: float
    top_p: float
    max_tokens: int
    stops: tuple[str, ...]
    seed: int | None
    top_logprobs: int | None = None  # the likeliest tokens told at each place besides the chosen one; None: none at all


@dataclass(frozen=True, slots=True)
class Ask:
    model: str
    messages: list[dict[str, str]]
    n: int
    settings: Settings
    stream: bool
    include_usage: bool
    grammar: str | None = None  # what the answer is held to (trainer/constraint.py); None: any text


class Part(msgspec.Struct):
    type: str
    text: str = ""


class Message(msgspec.Struct):
    role: str
    content: str | list[Part]
    name: str | None = None


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: bool = False
    include_obfuscation: bool = False


class Body(msgspec.Struct):
    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


READ = frozenset(Body.__struct_fields__)


def parse(raw: bytes, *, max_choices: int, max_tokens: int) -> Ask:
    """Raises Fault, which names the parameter."""
    body = _body(raw)
    n = body.n or 1
    if n > max_choices:
        raise invalid("n", f"n is at most {max_choices} here.")
    messages = [_message(index, message) for index, message in enumerate(body.messages)]
    usage = bool(body.stream_options and body.stream_options.include_usage)
    grammar = _grammar(body.response_format)
    return Ask(body.model, messages, n, _settings(body, max_tokens), bool(body.stream), usage, grammar)


def _settings(body: Body, max_tokens: int) -> Settings:
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if "" in stops:
        raise invalid("stop", "A stop string must not be empty.")
    tokens = body.max_completion_tokens or body.max_tokens or min(DEFAULT_TOKENS, max_tokens)
    if tokens > max_tokens:
        name = "max_completion_tokens" if body.max_completion_tokens else "max_tokens"
        raise invalid(name, f"At most {max_tokens} tokens can be asked for here.")
    if body.top_logprobs and not body.logprobs:
        raise invalid("top_logprobs", "top_logprobs needs logprobs: set it to true, or leave both out.")
    return Settings(
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=body.top_p or 1.0,
        max_tokens=tokens,
        stops=stops,
        seed=body.seed,
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )


def _grammar(response_format: dict[str, Any] | None) -> str | None:
    try:
        return constraint.grammar(response_format)
    except constraint.Unusable as error:
        raise unusable_format(error) from error


def unusable_format(error: constraint.Unusable) -> Fault:
    return invalid("response_format", str(error), code="invalid_response_format")


def _body(raw: bytes) -> Body:
    try:
        fields = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(None, f"The body is not JSON: {error}.", code="invalid_json") from error
    except RecursionError as error:
        raise invalid(None, "The body is nested too deeply.", code="invalid_json") from error
    if not isinstance(fields, dict):
        raise invalid(None, "The body must be a JSON object.", code="invalid_json")
    for name, value in fields.items():
        _refuse_unsupported(name, value)
    _refuse_unsupported_messages(fields.get("messages"))
    try:
        return msgspec.convert({name: value for name, value in fields.items() if name in READ}, type=Body)
    except msgspec.ValidationError as error:
        path = re.search(r"`\$\.(.+)`$", str(error))
        param = path[1] if path else (re.search(r"field `(\w+)`", str(error)) or [None, None])[1]
        raise invalid(param, f"{error}.") from error


def _refuse_unsupported(name: str, value: Any) -> None:
    if name in READ or name in LABELS or value is None or value in NEUTRAL.get(name, ()):
        return
    if name in NEUTRAL:
        allowed = " or ".join(msgspec.json.encode(neutral).decode() for neutral in NEUTRAL[name])
        raise invalid(name, f"{name} is not supported here, except {allowed}.", code="unsupported_value")
    raise invalid(name, f"The parameter {name[:80]} is not supported here. Leave it out.", code="unsupported_parameter")


def _refuse_unsupported_messages(messages: Any) -> None:
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        for name, value in message.items() if isinstance(message, dict) else ():
            if name not in ("role", "content", "name") and value not in (None, []):
                path = f"messages[{index}].{name}"
                raise invalid(path, f"{path} is not supported here: messages hold text.", code="unsupported_parameter")


def _message(index: int, message: Message) -> dict[str, str]:
    if message.role not in ROLES:
        sentence = f"The role {message.role[:40]!r} is not supported here. Use system, user or assistant."
        raise invalid(f"messages[{index}].role", sentence)
    if isinstance(message.content, str):
        text = message.content
    else:
        for part in message.content:
            if part.type != "text":
                sentence = f"Content of type {part.type[:40]!r} is not supported here: messages hold text."
                raise invalid(f"messages[{index}].content", sentence)
        text = "".join(part.text for part in message.content)
    named = {"name": message.name} if message.name else {}
    return {"role": ROLES[message.role], "content": text, **named}
