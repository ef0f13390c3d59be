"""A refused or failed request, as the OpenAI clients expect to read it."""

from collections.abc import Mapping
from typing import Any


class Fault(Exception):
    def __init__(
        self,
        status: int,
        code: str,
        sentence: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence, self.param = status, code, sentence, param
        self.headers = dict(headers or {})

    def envelope(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "server_error"
        return {"error": {"message": self.sentence, "type": kind, "param": self.param, "code": self.code}}


def invalid(param: str | None, sentence: str, code: str = "invalid_value") -> Fault:
    return Fault(400, code, sentence, param=param)


def unknown_model(name: str) -> Fault:
    sentence = f"There is no model {name[:80]!r} here. GET /v1/models lists those that there are."
    return Fault(404, "model_not_found", sentence, param="model")


def busy(sentence: str) -> Fault:
    return Fault(429, "busy", sentence, headers={"retry-after": "1"})


def too_slow(seconds: float) -> Fault:
    sentence = f"No complete answer within {seconds:g} seconds. Ask for fewer tokens, or try again when it is quieter."
    return Fault(504, "timeout", sentence, headers={"x-should-retry": "false"})
