"""Asks a judge for a JSON object, and decides whose fault it is when none comes: never the model's.

A judge that is down, refuses, or answers something else is the author's fault or ours: the grade is ungradable. It is
asked again while that may help and the time allows; its tokens are counted whatever it said.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from tasks.graders import judges
from tasks.graders.judges import Endpoint, Judges
from tasks.graders.outcome import AuthorFault
from tasks.graders.reasoning import without_reasoning
from tasks.text import excerpt

if TYPE_CHECKING:
    from tasks.wire import Wire, WireError

SERVER, PARSE, REFUSAL = "model_grader_server_error", "model_grader_parse_error", "model_grader_refusal_error"
MAX_REPLY_BYTES = 1 << 20
ATTEMPTS = 5
LONGEST_PAUSE_SECONDS = 20.0
WITHOUT_FORMAT_SECONDS = 3600.0  # until a server that refused response_format is asked with it again
PATIENCE = 3  # requests of one batch that may be given up in a row before the rest of it is not sent


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge said: the object that it was asked for, and what it cost."""

    answer: Mapping[str, Any]
    usage: Mapping[str, int]


class NoVerdict(AuthorFault):
    """The judge gave none. Its tokens may have been spent all the same."""

    def __init__(self, flag: str, reason: str, usage: Mapping[str, int] | None = None) -> None:
        super().__init__(flag, reason)
        self.usage = usage or {}


@dataclass(slots=True)
class Patience:
    """Shared by the requests of one batch: when the judge is down, hundreds of answers must not each wait for it."""

    given_up: int = 0  # in a row
    last: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        if self.given_up >= PATIENCE:
            raise NoVerdict(SERVER, f"The judge did not answer the requests before this one: {self.last}")

    def note(self, problem: str) -> None:
        """What became of a request; "" for an answer."""
        with self.lock:
            self.given_up, self.last = (self.given_up + 1, problem) if problem else (0, "")


Ask = Callable[[Mapping[str, Any]], Verdict]  # the body without model and format -> the judge's object


def ask_all(model: str, schema: Mapping[str, Any], requests: Sequence[Callable[[Ask], Any]]) -> list[Any]:
    """Run the requests side by side, each with a function that asks the judge; results in order."""
    endpoint = judges.look_up(model)
    if isinstance(endpoint, str):

        def refuse(body: Mapping[str, Any]) -> Verdict:
            raise NoVerdict(SERVER, endpoint)

        return [request(refuse) for request in requests]
    bench = judges.current()
    judge = _Judge(model, schema, endpoint, bench, Patience())
    with ThreadPoolExecutor(min(len(requests), bench.at_once), thread_name_prefix="judge") as pool:
        return list(pool.map(lambda request: request(judge.ask), requests))


@dataclass(frozen=True, slots=True)
class _Judge:
    model: str
    schema: Mapping[str, Any]
    endpoint: Endpoint
    judges: Judges
    patience: Patience

    def ask(self, body: Mapping[str, Any]) -> Verdict:
        ends = time.monotonic() + self.judges.seconds  # of waiting for a slot, too
        with self._slot(ends):
            self.patience.check()
            reply = self._reply(body, ends)
        usage = _usage(self.model, reply)
        return Verdict(_answer(reply, usage), usage)

    @contextmanager
    def _slot(self, ends: float) -> Iterator[None]:
        slots = _semaphore(self.judges.at_once)
        if not slots.acquire(timeout=max(0.0, ends - time.monotonic())):
            busy = f"{self.judges.at_once} other requests of this process were under way all the time"
            raise NoVerdict(SERVER, f"The judge '{self.model[:80]}' was not asked: {busy}.")
        try:
            yield
        finally:
            slots.release()

    def _reply(self, body: Mapping[str, Any], ends: float) -> dict[str, Any]:
        """One HTTP answer with status 200, asked for again while that may help and the time allows."""
        from tasks.wire import WireError  # httpx is worth loading only where somebody is asked

        attempt = 0
        while True:
            with_format = _takes_format(self.endpoint.url, self.model)
            try:
                reply = _wire(self.endpoint, ends).chat(self._body(body, with_format))
            except WireError as error:
                if with_format and _refuses_format(error):
                    _without_format[self.endpoint.url, self.model] = time.monotonic()
                    continue
                attempt += 1
                pause = _pause(error, attempt, self.judges.pause_seconds)
                if pause is None or attempt >= ATTEMPTS or time.monotonic() + pause >= ends:
                    sentence = _sentence(self.model, error, self.endpoint.api_key)
                    self.patience.note(sentence if _is_down(error) else "")
                    raise NoVerdict(SERVER, sentence) from None
                time.sleep(pause)
            else:
                self.patience.note("")
                return reply

    def _body(self, body: Mapping[str, Any], with_format: bool) -> dict[str, Any]:
        verdict = {"name": "verdict", "strict": True, "schema": self.schema}
        format_ = {"response_format": {"type": "json_schema", "json_schema": verdict}} if with_format else {}
        return {**body, "model": self.endpoint.model or self.model, **format_}


def _wire(endpoint: Endpoint, ends: float) -> "Wire":
    """Operators configure every endpoint, so all of them are exempt from the address rules, and from those alone."""
    from tasks.wire import Limits, Wire, origin_of

    left = max(0.1, ends - time.monotonic())
    limits = Limits(silence_seconds=left, total_seconds=left, reply_bytes=MAX_REPLY_BYTES)
    return Wire(endpoint.url, endpoint.api_key, frozenset({origin_of(endpoint.url)}), limits)


def _pause(error: "WireError", attempt: int, first_seconds: float) -> float | None:
    """Seconds until the next attempt; None where none would help."""
    if not _is_down(error) or _code(error) == "insufficient_quota":
        return None
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds
    wait: float = min(LONGEST_PAUSE_SECONDS, first_seconds * 2 ** (attempt - 1))
    return wait * random.uniform(0.5, 1)


def _is_down(error: "WireError") -> bool:
    """Whether it is the server that is in trouble, and not the request."""
    if error.status is None:
        return error.code in ("timeout", "unreachable")
    return error.status in (408, 409, 429) or error.status >= 500


# Servers that refused response_format, by address and model, and when: another version may take it
_without_format: dict[tuple[str, str], float] = {}


def _takes_format(url: str, model: str) -> bool:
    refused = _without_format.get((url, model))
    return refused is None or time.monotonic() - refused > WITHOUT_FORMAT_SECONDS


def _refuses_format(error: "WireError") -> bool:
    if error.status not in (400, 404, 415, 422, 501):
        return False
    told = error.body.get("error", error.body) if isinstance(error.body, dict) else {}
    said = json.dumps(told).lower()
    return any(word in said for word in ("response_format", "json_schema", "structured output"))


def _code(error: "WireError") -> str:
    told = error.body.get("error") if isinstance(error.body, dict) else None
    return str(told.get("code")) if isinstance(told, dict) else ""


def _sentence(model: str, error: "WireError", key: str) -> str:
    """A refusal of the request is told in the server's words; of the credentials not, they may quote them."""
    told = error.body.get("error") if isinstance(error.body, dict) else None
    message = told.get("message") if isinstance(told, dict) else None
    if isinstance(message, str) and error.status not in (401, 403):
        words = message.replace(key, "…") if key else message
        return f"The judge '{model[:80]}' answered {error.status}: {excerpt(words)}"
    return f"The judge '{model[:80]}' gave no answer: {error.sentence}"


@cache
def _semaphore(at_once: int) -> threading.BoundedSemaphore:
    """One for the process, so that graders which ask side by side do not add up."""
    return threading.BoundedSemaphore(at_once)


# Reading the reply


def _usage(model: str, reply: Mapping[str, Any]) -> dict[str, int]:
    told = reply.get("usage")
    counts = told if isinstance(told, dict) else {}
    return {
        f"{model}/{kind}": count
        for kind in ("prompt_tokens", "completion_tokens")
        if isinstance(count := counts.get(kind), int) and not isinstance(count, bool) and 0 <= count < 2**53
    }


def _answer(reply: Mapping[str, Any], usage: Mapping[str, int]) -> Mapping[str, Any]:
    """The JSON object that is the whole reply. One that the judge merely quotes is not its answer."""
    try:
        choice = reply["choices"][0]
        message = choice["message"]
        refusal, content, ending = message.get("refusal"), message.get("content"), choice.get("finish_reason")
    except (LookupError, TypeError, AttributeError):
        raise NoVerdict(SERVER, "The judge's reply is no chat completion.", usage) from None
    if refusal or ending == "content_filter":
        said = refusal if isinstance(refusal, str) else "its content filter stopped it"
        raise NoVerdict(REFUSAL, f"The judge refuses: {excerpt(said)}", usage)
    if not isinstance(content, str):
        raise NoVerdict(PARSE, "The judge's reply holds no text.", usage)
    bare = _unfenced(without_reasoning(content).strip())
    try:
        answer = msgspec.json.decode(bare)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        cut = " It was cut off: raise `max_completions_tokens`." if ending == "length" else ""
        raise NoVerdict(PARSE, f"The judge's reply is not one JSON object: {excerpt(bare, 120)!r}.{cut}", usage)
    return answer


def _unfenced(text: str) -> str:
    """Without the ``` lines where they enclose the whole reply."""
    if not (text.startswith("```") and text.endswith("```") and len(text) > 6):
        return text
    first, _, rest = text[3:-3].partition("\n")
    return rest.strip() if first.strip().lower() in ("", "json") else text
