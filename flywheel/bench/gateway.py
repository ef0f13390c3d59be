"""Chats through /openai/v1 of the whole platform: fifty at once beside one at a time, and a promotion in the middle.

Run by flywheel.bench.serving within an embedded stack of its own, on an empty database: a base from a directory, one
short run on a file, and the promotion of what it made.
"""

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

Body = dict[str, Any]
ROWS = 8
PATIENCE_SECONDS = 240.0
GRADER = {
    "type": "string_check",
    "name": "same",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}


class Platform:
    """The stack as a program sees it, with the keys that a script on the server's side made."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def call(self, method: str, path: str, **more: Any) -> Any:
        reply = self._http.request(method, path, **more)
        if reply.status_code >= 400:
            raise SystemExit(f"{method} {path}: {reply.status_code} {reply.text[:500]}")
        return reply.json()

    def trained(self) -> tuple[str, int]:
        """(name of an expert's line, id of the version that a run of one step made for it)."""
        lines = (
            {"messages": [{"role": "user", "content": f"What is {n} + 1?"}], "answer": str(n + 1)} for n in range(ROWS)
        )
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        form = {"files": {"file": ("rows.jsonl", body)}, "data": {"purpose": "fine-tune"}}
        file = self.call("POST", "/openai/v1/files", **form)["id"]
        settings = {"n_epochs": 1, "batch_size": ROWS}
        method = {"type": "reinforcement", "reinforcement": {"grader": GRADER, "hyperparameters": settings}}
        job = {"model": "champion", "training_file": file, "method": method}
        made = self.call("POST", "/openai/v1/fine_tuning/jobs", json=job)["id"]
        self._wait(lambda: self.call("GET", f"/openai/v1/fine_tuning/jobs/{made}")["status"] == "succeeded")
        version = self.call("GET", "/api/v1/versions")["results"][0]
        return str(version["name"]).partition("/")[0], int(version["id"])

    def wait_for_base(self) -> None:
        self._wait(lambda: any(model["id"] == "champion" for model in self.call("GET", "/openai/v1/models")["data"]))

    def _wait(self, done: Any) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not done():
            if time.monotonic() > deadline:
                raise SystemExit("The platform did not get there in time: see its logs.")
            time.sleep(0.3)


async def load(http: httpx.AsyncClient, bodies: Sequence[Body], *, at_once: bool) -> list[dict[str, Any]]:
    if at_once:
        return list(await asyncio.gather(*(_ask(http, body) for body in bodies)))
    return [await _ask(http, body) for body in bodies]


async def _ask(http: httpx.AsyncClient, body: Body) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        reply = await http.post("/openai/v1/chat/completions", json=body)
    except httpx.HTTPError as fault:
        return {"status": 0, "seconds": time.perf_counter() - started, "tokens": 0, "fault": repr(fault)}
    told = reply.json() if reply.status_code == 200 else {}
    return {
        "status": reply.status_code,
        "seconds": time.perf_counter() - started,
        "tokens": told.get("usage", {}).get("completion_tokens", 0),
        "by": told.get("system_fingerprint", ""),
    }


async def _measured(url: str, key: str, line: str, version: int, bodies: Sequence[Body], rounds: int) -> Any:
    limits = httpx.Limits(max_connections=len(bodies) + 2, max_keepalive_connections=len(bodies) + 2)
    headers = {"authorization": f"Bearer {key}"}
    asked = [{**body, "model": line} for body in bodies]
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits, headers=headers) as http:
        before = (await load(http, asked, at_once=True))[0]["by"]  # connections, and the model in memory
        loads = []
        for _ in range(rounds):
            alone = await _timed(http, asked, at_once=False)
            loads.append({"alone": alone, "together": await _timed(http, asked, at_once=True)})
        under_way = asyncio.create_task(load(http, asked, at_once=True))
        await asyncio.sleep(0.05)
        moved = await http.post(f"/api/v1/versions/{version}/promote", json={"reason": "Measured under load."})
        after = await _ask(http, asked[0])
        switched = [*await under_way, after]
    promotion = {"status": moved.status_code, "answers": switched, "changed": after.get("by") not in ("", before)}
    return {"loads": loads, "promotion": promotion}


async def _timed(http: httpx.AsyncClient, bodies: Sequence[Body], *, at_once: bool) -> dict[str, Any]:
    started = time.perf_counter()
    answers = await load(http, bodies, at_once=at_once)
    return {"seconds": time.perf_counter() - started, "answers": answers}


def _people(base: str) -> str:
    """The key of somebody with a team, on a platform whose shared line begins with the base."""
    import django

    django.setup()
    from tasks.services import accounts
    from tasks.states import Role, Scope
    from trainer.models import BaseBuild
    from trainer.services import lines

    operator = accounts.create_user("bench", secrets.token_urlsafe(16), actor=None)
    accounts.join(accounts.pool(), operator, Role.OPERATOR, actor=None)
    lines.create_shared("Bench", "bench", actor=operator, source=BaseBuild.Source.DIRECTORY, location=base)
    team = accounts.create_team("Bench", actor=operator)
    return str(accounts.create_key(team, operator, "bench", list(Scope), actor=operator)[1])


def main(given: str, out: str) -> None:
    """`given`: JSON file with base (a directory), bodies and rounds. What was measured goes to `out`."""
    told = json.loads(Path(given).read_text())
    url, key = os.environ["WEB_URL"], _people(told["base"])
    with httpx.Client(base_url=url, timeout=60, headers={"authorization": f"Bearer {key}"}) as http:
        platform = Platform(http)
        platform.wait_for_base()
        line, version = platform.trained()
    measured = asyncio.run(_measured(url, key, line, version, told["bodies"], told["rounds"]))
    Path(out).write_text(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
