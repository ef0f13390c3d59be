"""The wire format of POST /v1/chat/completions: what is asked, and the shapes of the answers.

A parameter is honoured or refused; none is silently ignored.
"""

import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from trainer.server.faults import Fault, invalid

DEFAULT_TOKENS = 512  # where the request names no limit
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

# Labels for the caller's own books: no answer depends on them.
LABELS = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key"})
# Known but not built: accepted only with the value that asks for nothing.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
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
    """How the tokens of one choice are drawn. Temperature 0 is greedy; without a seed every call differs."""

    temperature: float
    top_p: float
    max_tokens: int
    stops: tuple[str, ...]
    seed: int | None


@dataclass(frozen=True, slots=True)
class Ask:
    model: str
    messages: list[dict[str, str]]
    n: int
    settings: Settings
    stream: bool
    include_usage: bool


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


READ = frozenset(Body.__struct_fields__)


def parse(raw: bytes, *, max_choices: int, max_tokens: int) -> Ask:
    """Raises Fault, which names the parameter."""
    body = _body(raw)
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if "" in stops:
        raise invalid("stop", "A stop string must not be empty.")
    n = body.n or 1
    if n > max_choices:
        raise invalid("n", f"n is at most {max_choices} here.")
    tokens = body.max_completion_tokens or body.max_tokens or min(DEFAULT_TOKENS, max_tokens)
    if tokens > max_tokens:
        raise invalid("max_completion_tokens", f"At most {max_tokens} tokens can be asked for here.")
    settings = Settings(
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=body.top_p or 1.0,
        max_tokens=tokens,
        stops=stops,
        seed=body.seed,
    )
    messages = [_message(index, message) for index, message in enumerate(body.messages)]
    usage = bool(body.stream_options and body.stream_options.include_usage)
    return Ask(body.model, messages, n, settings, bool(body.stream), usage)


def _body(raw: bytes) -> Body:
    try:
        fields = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(None, f"The body is not JSON: {error}.", code="invalid_json") from error
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


class Reply:
    """The JSON bodies that answer one request: one completion, or the chunks of a stream."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._same = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": ask.model,
            "system_fingerprint": f"fp_{ask.model[:12]}",
        }

    def whole(self, texts: list[str], reasons: list[str], prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": reason,
            }
            for index, (text, reason) in enumerate(zip(texts, reasons, strict=True))
        ]
        usage = _usage(prompt_tokens, completion_tokens)
        return {**self._same, "object": "chat.completion", "choices": choices, "usage": usage}

    def opening(self, index: int) -> bytes:
        return self._chunk(index, {"role": "assistant", "content": ""}, None)

    def piece(self, index: int, text: str) -> bytes:
        return self._chunk(index, {"content": text}, None)

    def closing(self, index: int, reason: str) -> bytes:
        return self._chunk(index, {}, reason)

    def usage(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        usage = _usage(prompt_tokens, completion_tokens)
        return sse({**self._same, "object": "chat.completion.chunk", "choices": [], "usage": usage})

    def _chunk(self, index: int, delta: dict[str, str], reason: str | None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self._ask.include_usage else {}
        return sse({**self._same, "object": "chat.completion.chunk", "choices": [choice], **usage})


DONE = b"data: [DONE]\n\n"


def sse(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def sse_fault(fault: Fault) -> bytes:
    """After the first chunk there is no status left to change; the clients raise on an `error` in the stream."""
    return sse(fault.envelope())


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
