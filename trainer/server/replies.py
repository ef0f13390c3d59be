"""The wire format of the answers to POST /v1/chat/completions: one completion, or the chunks of a stream."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from trainer.server.chat import Ask
from trainer.server.faults import Fault
from trainer.server.odds import Likely, Odds

LEAST_LOGPROB = -9999.0  # JSON has no infinity; OpenAI's documentation names this number


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

    def whole(
        self,
        texts: Sequence[str],
        reasons: Sequence[str],
        prompt_tokens: int,
        completion_tokens: int,
        odds: Sequence[Sequence[Odds]] | None = None,
    ) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": self._logprobs(told),
                "finish_reason": reason,
            }
            for index, (text, reason, told) in enumerate(zip(texts, reasons, odds or [()] * len(texts), strict=True))
        ]
        usage = _usage(prompt_tokens, completion_tokens)
        return {**self._same, "object": "chat.completion", "choices": choices, "usage": usage}

    def opening(self, index: int) -> bytes:
        return self._chunk(index, {"role": "assistant", "content": ""}, None)

    def piece(self, index: int, text: str, odds: Sequence[Odds] = ()) -> bytes:
        return self._chunk(index, {"content": text}, None, self._logprobs(odds))

    def closing(self, index: int, reason: str) -> bytes:
        return self._chunk(index, {}, reason)

    def usage(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        usage = _usage(prompt_tokens, completion_tokens)
        return sse({**self._same, "object": "chat.completion.chunk", "choices": [], "usage": usage})

    def _chunk(self, index: int, delta: dict[str, str], reason: str | None, logprobs: Any = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        usage = {"usage": None} if self._ask.include_usage else {}
        return sse({**self._same, "object": "chat.completion.chunk", "choices": [choice], **usage})

    def _logprobs(self, odds: Sequence[Odds]) -> dict[str, Any] | None:
        if self._ask.settings.top_logprobs is None:
            return None
        content = [{**_likely(told.chosen), "top_logprobs": [_likely(other) for other in told.top]} for told in odds]
        return {"content": content, "refusal": None}


def _likely(token: Likely) -> dict[str, Any]:
    written = None if token.written is None else list(token.written)
    return {"token": token.text, "logprob": max(token.logprob, LEAST_LOGPROB), "bytes": written}


DONE = b"data: [DONE]\n\n"


def sse(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def sse_fault(fault: Fault) -> bytes:
    """After the first chunk there is no status left to change; the clients raise on an `error` in the stream."""
    return sse(fault.envelope())


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """The details are those that a model without thoughts, sound and a cache across requests has: zeros."""
    spared = {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, **spared},
    }
