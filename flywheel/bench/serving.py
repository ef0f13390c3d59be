"""make bench-serving: what the model server answers when fifty ask at once, beside the same fifty one after the other.

Twice: asked of the model server itself, and (not with FAST=1) through /openai/v1 of the whole platform, with one
promotion in the middle. The model is the local base in size and make, with next to no training: how fast it answers
does not hang on what it has learned, and so fresh a model seldom ends early. All of it listens on loopback and ends
with the bench.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx
import jsonschema
import msgspec
import numpy as np

from flywheel.bench.table import FAST, Measure, at_least, at_most, report, told
from flywheel.samples.demonstrations import demonstrations
from flywheel.samples.families import FAMILIES
from trainer.contract import BaseSpec, Result, encode

ASKED = 50
ROUNDS = 1 if FAST else 9
TOKENS = 64  # of an answer, at most
SCHEMA = {
    "type": "object",
    "properties": {
        "verdict": {"enum": ["right", "wrong"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 10},
        "reason": {"type": "string", "pattern": "^[a-z ]{20,40}$"},
    },
    "required": ["verdict", "score", "reason"],
    "additionalProperties": False,
}
FREE = {"max_completion_tokens": TOKENS}
HELD = {
    "max_completion_tokens": 160,  # whatever is drawn between the tokens of JSON: it has to fit
    "response_format": {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA}},
}

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    seconds: float
    tokens: int
    text: str


@dataclass(frozen=True, slots=True)
class Load:
    """What came of fifty requests."""

    answers: Sequence[Answer]
    seconds: float

    @property
    def speed(self) -> float:
        return sum(answer.tokens for answer in self.answers) / self.seconds


def measure() -> list[Measure]:
    with tempfile.TemporaryDirectory() as folder:
        model = _built(Path(folder))
        with _serving(Path(folder), model) as (url, name):
            by_itself = asyncio.run(_measure(url, name))
        return by_itself if FAST else [*by_itself, *_whole(Path(folder), model)]


def _whole(folder: Path, model: str) -> list[Measure]:
    """The same requests through the platform: keys, names looked up anew, another version in the middle."""
    given, out = folder / "asked.json", folder / "gateway.json"
    asked = {"base": str(folder / "models" / model), "bodies": _bodies("", FREE), "rounds": 5}
    given.write_text(json.dumps(asked))
    stack = [sys.executable, "-m", "flywheel.embedded", "run", "--fresh", "--"]
    inside = [sys.executable, "-m", "flywheel.bench.gateway", str(given), str(out)]
    with (folder / "stack.log").open("wb") as log:
        environment = {**os.environ, "DATA_DIR": str(folder / "data")}
        done = subprocess.run([*stack, *inside], env=environment, stdout=log, stderr=log, check=False)
    if done.returncode:
        raise SystemExit((folder / "stack.log").read_text()[-2000:])
    return _told_of_the_whole(json.loads(out.read_text()))


def _told_of_the_whole(measured: dict[str, Any]) -> list[Measure]:
    alone, together = ([_load(round[arm]) for round in measured["loads"]] for arm in ("alone", "together"))
    promotion = measured["promotion"]
    every = [*(answer for load in (*alone, *together) for answer in load.answers), *_answers(promotion["answers"])]
    dropped = sum(answer.status != 200 for answer in _answers(promotion["answers"]))
    of, beside = "through /openai/v1", "one at a time through /openai/v1, the same requests in the same run"
    return [
        at_least(f"tokens/s of {ASKED} at once {of}", _ratio(together, alone), "times", 3, beside),
        told(f"tokens/s, {ASKED} at once {of}", _median(together), "tokens/s"),
        told(f"tokens/s, one at a time {of}", _median(alone), "tokens/s"),
        *_latencies(f"{ASKED} at once {of}", together),
        *_latencies(f"one at a time {of}", alone),
        at_most(f"errors in {len(every):,} requests {of}", sum(answer.status != 200 for answer in every), "", 0),
        at_most(f"requests dropped by a promotion among {ASKED + 1}", dropped, "", 0),
        at_most("answers by the old version after a promotion", int(not promotion["changed"]), "", 0),
    ]  # fmt: skip


def _load(round: dict[str, Any]) -> Load:
    return Load(_answers(round["answers"]), round["seconds"])


def _answers(told: Sequence[dict[str, Any]]) -> list[Answer]:
    return [Answer(answer["status"], answer["seconds"], answer["tokens"], "") for answer in told]


async def _measure(url: str, model: str) -> list[Measure]:
    free, held = _bodies(model, FREE), _bodies(model, HELD)
    limits = httpx.Limits(max_connections=ASKED, max_keepalive_connections=ASKED)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as http:
        await _at_once(http, held)  # connections, the model in memory, its schema compiled
        rounds = [
            (await _in_turn(http, free), await _at_once(http, free), await _at_once(http, held)) for _ in range(ROUNDS)
        ]
    alone, together, constrained = zip(*rounds, strict=True)
    every = [answer for load in (*alone, *together, *constrained) for answer in load.answers]
    beside, held_beside = "one at a time, the same requests in the same run", "fifty at once that may say anything"
    return [
        at_least(f"tokens/s of {ASKED} at once", _ratio(together, alone), "times", 3, beside),
        told(f"tokens/s, {ASKED} at once", _median(together), "tokens/s"),
        told("tokens/s, one at a time", _median(alone), "tokens/s"),
        *_latencies(f"{ASKED} at once", together),
        *_latencies("one at a time", alone),
        told(f"tokens/s of {ASKED} at once held to a schema", _ratio(constrained, together), "times", held_beside),
        told(f"tokens/s, {ASKED} at once held to a schema", _median(constrained), "tokens/s"),
        *_latencies(f"{ASKED} at once held to a schema", constrained),
        at_most("answers not of their schema", sum(not _valid(a) for load in constrained for a in load.answers), "", 0),
        at_most(f"errors in {len(every):,} requests", sum(answer.status != 200 for answer in every), "", 0),
    ]  # fmt: skip


def _bodies(model: str, settings: Body) -> list[Body]:
    """The same fifty in every round: the answers are drawn with the same seeds, so that only the order differs."""
    random = Random("serving")
    prompts = [random.choice(FAMILIES).ask(random).prompt for _ in range(ASKED)]
    return [
        {"model": model, "messages": [{"role": "user", "content": prompt}], "seed": seed, **settings}
        for seed, prompt in enumerate(prompts)
    ]


async def _in_turn(http: httpx.AsyncClient, bodies: Sequence[Body]) -> Load:
    started = time.perf_counter()
    return Load([await _ask(http, body) for body in bodies], time.perf_counter() - started)


async def _at_once(http: httpx.AsyncClient, bodies: Sequence[Body]) -> Load:
    started = time.perf_counter()
    answers = await asyncio.gather(*(_ask(http, body) for body in bodies))
    return Load(answers, time.perf_counter() - started)


async def _ask(http: httpx.AsyncClient, body: Body) -> Answer:
    started = time.perf_counter()
    try:
        reply = await http.post("/v1/chat/completions", json=body)
    except httpx.HTTPError:
        return Answer(0, time.perf_counter() - started, 0, "")
    seconds = time.perf_counter() - started
    if reply.status_code != 200:
        return Answer(reply.status_code, seconds, 0, "")
    told = reply.json()
    text = told["choices"][0]["message"]["content"]
    return Answer(200, seconds, told["usage"]["completion_tokens"], text)


def _valid(answer: Answer) -> bool:
    try:
        jsonschema.validate(json.loads(answer.text), SCHEMA)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def _median(loads: Sequence[Load]) -> float:
    return float(np.median([load.speed for load in loads]))


def _ratio(loads: Sequence[Load], others: Sequence[Load]) -> float:
    """The median over rounds: a busy moment of the machine meets both of a round."""
    return float(np.median([load.speed / other.speed for load, other in zip(loads, others, strict=True)]))


def _latencies(of: str, loads: Sequence[Load]) -> list[Measure]:
    milliseconds = [1000 * answer.seconds for load in loads for answer in load.answers]
    return [told(f"p{share} of an answer, {of}", float(np.percentile(milliseconds, share)), "ms") for share in (50, 95)]


def _built(folder: Path) -> str:
    """The digest of a model that the engine has made in the folder."""
    run = folder / "run"
    run.mkdir()
    (run / "spec.json").write_bytes(encode(BaseSpec(steps=1)))
    (run / "demonstrations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in demonstrations(1, 2_000)))
    _engine(run)
    model = msgspec.json.decode((run / "result.json").read_bytes(), type=Result).model
    assert model is not None
    (folder / "models").mkdir()
    (run / "model").rename(folder / "models" / model.digest)
    return model.digest


def _engine(run: Path) -> None:
    with (run / "engine.log").open("wb") as log:
        done = subprocess.run([sys.executable, "-m", "trainer.engine", str(run)], stdout=log, stderr=log, check=False)
    if done.returncode:
        raise SystemExit((run / "engine.log").read_text()[-2000:])


@contextmanager
def _serving(folder: Path, model: str) -> Iterator[tuple[str, str]]:
    """(address, model) of a server with the limits that it has by default, on a free port."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODEL_SERVER_")}
    command = [
        sys.executable,
        "-m",
        "trainer.server",
        "--models",
        str(folder / "models"),
        "--port",
        "0",
        "--device",
        "cpu",
    ]
    path = folder / "server.log"
    with path.open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield _address(server, path), model
    finally:
        server.terminate()
        server.wait(60)


def _address(server: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        told = log.read_text()
        if "Application startup complete" in told and (found := re.search(r" on (http://\S+) ", told)):
            return found[1]
        time.sleep(0.1)
    raise SystemExit(f"The model server did not start:\n{log.read_text()[-2000:]}")


if __name__ == "__main__":
    report("serving", measure())
