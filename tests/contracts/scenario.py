"""What a scenario is given and what its words are. Runs in a client's environment: openai and the library only."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import openai

from tests.contracts.relay import Relay

ENDED = ("succeeded", "failed", "cancelled")
PATIENCE_SECONDS = 90
EXACT = {
    "type": "string_check",
    "name": "same",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}
SMALL = {"n_epochs": 2, "batch_size": 4, "eval_interval": 1}
SLOW = 60  # the seed of a job that takes a minute, see setting.py
MANY_STEPS = {"n_epochs": 50, "batch_size": 1, "eval_interval": 100}  # an engine hears what is asked of it between two
MODEL = "champion"


class Skipped(Exception):
    """Why this major cannot do this."""


@dataclass
class Context:
    """One major's side of the line. `client` believes no reply that does not fit the client's own types."""

    major: int
    base_url: str
    told: dict[str, Any]  # what setting.py wrote
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def own(self) -> dict[str, Any]:
        return dict(self.told["people"][str(self.major)])

    @property
    def client(self) -> openai.OpenAI:
        return self.as_key(self.own["key"], _strict_response_validation=True)

    @property
    def loose(self) -> openai.OpenAI:
        """For what is documented and yet unknown to the client's types."""
        return self.as_key(self.own["key"])

    @property
    def stranger(self) -> openai.OpenAI:
        return self.as_key(self.told["stranger"])

    def with_scope(self, name: str) -> openai.OpenAI:
        """A key of the team that may do only this and read."""
        return self.as_key(self.own[name])

    def as_key(self, key: str, **more: Any) -> openai.OpenAI:
        return openai.OpenAI(**{"api_key": key, "base_url": self.base_url, "max_retries": 0, **more})

    @contextmanager
    def lossy(self, *paths: str, lose: int = 1) -> "Iterator[tuple[openai.OpenAI, Relay]]":
        """A client as it is installed, with its retries, behind a relay that loses the first replies to these paths."""
        with Relay(self.base_url, lose=dict.fromkeys(paths, lose)) as relay:
            yield self.as_key(self.own["key"], base_url=relay.base_url, max_retries=2), relay

    def unique(self, name: str) -> str:
        """A name that nothing on the server has yet."""
        return f"{uuid.uuid4().hex[:12]}-{name}"

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What several scenarios look at and none changes."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    # -- what most areas need ----------------------------------------------------------------------------------------

    def file(self, given: list[Any] | None = None, name: str = "train.jsonl", **more: Any) -> str:
        asked = {"purpose": "fine-tune", **more}
        return self.client.files.create(file=(name, jsonl(given or rows(8))), **asked).id

    def job(self, **more: Any) -> Any:
        """Just created."""
        asked = {"model": MODEL, "method": method(), **more}
        if "training_file" not in asked:
            asked["training_file"] = self.file()
        return self.loose.fine_tuning.jobs.create(**asked)

    def dropped(self, **more: Any) -> Any:
        """A job of which only its creation matters: no engine works for it."""
        job = self.job(**more)
        self.drop(job.id)
        return job

    def drop(self, job_id: str) -> None:
        """On a quick machine it may have ended already."""
        with suppress(openai.ConflictError):
            self.client.fine_tuning.jobs.cancel(job_id)

    def finished(self) -> Any:
        """A job with both files that has succeeded."""
        return self.once("finished", self._finished)

    def _finished(self) -> Any:
        validation = self.file(rows(4, start=100), "valid.jsonl")
        job = self.job(validation_file=validation, suffix="sums", seed=7, metadata={"shared": "yes"})
        done = self.ended(job.id)
        assert done.status == "succeeded", done.error
        return self.client.fine_tuning.jobs.retrieve(job.id)

    def ended(self, job_id: str) -> Any:
        return self.until(job_id, *ENDED)

    def until(self, job_id: str, *statuses: str) -> Any:
        return until(lambda: self.loose.fine_tuning.jobs.retrieve(job_id), lambda job: job.status in statuses)

    def slow(self) -> Any:
        """A job that runs and will for a while."""
        job = self.job(seed=SLOW, method=method(hyperparameters=MANY_STEPS))
        return self.until(job.id, "running", *ENDED)


def until(look: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done(found := look()):
        assert time.monotonic() < deadline, f"nothing came of it in time: {found}"
        time.sleep(0.2)
    return found


def refused(call: Callable[[], Any], status: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """The call is answered with this error, in the envelope; what is not said here may be anything."""
    error = refusal(call)
    body = error.response.json()
    told = (error.status_code, error.code, error.param)
    assert told == (status, code or error.code, param or error.param), body
    assert list(body) == ["error"], body
    assert body["error"].keys() == {"message", "type", "param", "code"}, body
    assert body["error"]["message"], body
    assert error.request_id, "no x-request-id"
    return dict(body["error"])


def refusal(call: Callable[[], Any]) -> openai.APIStatusError:
    try:
        answer = call()
    except openai.APIStatusError as error:
        return error
    raise AssertionError(f"accepted: {answer}")


def jsonl(given: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in given)


def rows(count: int, *, start: int = 0) -> list[Any]:
    return [
        {"messages": [{"role": "user", "content": f"What comes after {n}?"}], "answer": str(n + 1)}
        for n in range(start, start + count)
    ]


def method(grader: Any = EXACT, **more: Any) -> Any:
    return {"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": SMALL, **more}}
