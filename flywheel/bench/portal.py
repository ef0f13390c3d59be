"""A large file on the embedded default, as a contributor brings it: how quickly pages answer meanwhile.

    python -m flywheel.embedded run --fresh -- python -m flywheel.bench.portal ROWS OUTPUT

Everything runs that `make up` starts. The file is sent to the portal, whose worker imports it; somebody who is signed
in reads one page after the other from the moment it is sent until its last row is in.
"""

import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import numpy as np

from flywheel.bench import importer, rows
from flywheel.bench.questions import TEXT
from flywheel.bench.rows import Corpus
from flywheel.bench.table import Measure, at_most, told

PLANTED = 0.3
PAUSE_SECONDS = 0.05  # between two pages: a reader, not a load
BLOCK_BYTES = 1 << 20
BROKEN = b'{"prompt": "What is missing here?",\n'


class Reader:
    """Somebody with a session who reads pages in turn, and how long each took."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.pages = ["/", "/submit", "/datasets", "/review"]
        self.seconds: dict[str, list[float]] = {}
        for page in 2 * self.pages:  # the first reader of a page waits for its template in each process
            http.get(page)

    @contextmanager
    def reading(self) -> Iterator[None]:
        over = Event()
        thread = Thread(target=self._read, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _read(self, over: Event) -> None:
        while not over.is_set():
            for page in list(self.pages):
                started = time.perf_counter()
                reply = self.http.get(page)
                self.seconds.setdefault(_kind(page), []).append(time.perf_counter() - started)
                if reply.status_code != 200:
                    raise SystemExit(f"{page} answered with {reply.status_code}.")
                over.wait(PAUSE_SECONDS)

    def p95(self) -> dict[str, float]:
        """Milliseconds, by page."""
        return {page: 1000 * float(np.percentile(seconds, 95)) for page, seconds in self.seconds.items()}


def _kind(page: str) -> str:
    return "/submit/<upload>" if page.removeprefix("/submit/").isdigit() else page


def measure(count: int) -> list[Measure]:
    http, key, dataset = _contributor()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        rows.write(Corpus(5, count, planted=PLANTED), path)
        _break_third_line(path)
        reader = Reader(http)
        worker = _worker_pid()
        job = importer.watching(worker, importer.largest_child_megabytes)
        with importer.watching(worker) as whole, job as importing, reader.reading():
            sent = time.perf_counter()
            upload = _send(key, dataset, path)
            received = time.perf_counter()
            reader.pages.append(f"/submit/{upload}")
            first_issue = _until(lambda: _issues(upload)) - received
            done = _until(lambda: _imported(upload))
    pages = reader.p95()
    everything = [second for seconds in reader.seconds.values() for second in seconds]
    while_importing = f"while {count:,} rows are imported"
    return [
        told(f"portal: rows/s to valid, {count:,} rows, beside all else", count / (done - received), "rows/s"),
        told(f"portal: seconds to send {path.name} of {count:,} rows", received - sent, "s"),
        at_most(f"portal: page p95 {while_importing}", 1000 * float(np.percentile(everything, 95)), "ms", 300),
        *(at_most(f"portal: {page} p95 {while_importing}", value, "ms", 300) for page, value in pages.items()),
        at_most("portal: first row error visible after the last byte was sent", first_issue, "s", 2),
        at_most("portal: memory of the worker's importing process and its helpers (largest)", importing(), "MB", 512),
        told("portal: memory of the whole worker, with its parent and an idle process (largest)", whole(), "MB"),
    ]  # fmt: skip


def _contributor() -> tuple[httpx.Client, str, int]:
    """(signed in, secret of an API key, dataset)"""
    from tasks.services import accounts, datasets
    from tasks.states import Scope

    name, password = "bench", secrets.token_urlsafe(16)
    user = accounts.create_user(name, password, actor=None)
    team = accounts.create_team(name, name, actor=user)
    key = accounts.create_key(team, user, name, [str(Scope.READ), str(Scope.WRITE)], actor=user)[1]
    dataset = datasets.create(team, "rows", actor=user, default_grader=TEXT)
    return _signed_in(name, password), key, int(dataset.pk)


def _signed_in(name: str, password: str) -> httpx.Client:
    http = httpx.Client(base_url=os.environ["WEB_URL"], timeout=60)
    http.get("/login")
    form = {"username": name, "password": password, "csrfmiddlewaretoken": http.cookies["csrftoken"]}
    if http.post("/login", data=form).status_code != 302:
        raise SystemExit("The portal did not let the bench sign in.")
    return http


def _break_third_line(path: Path) -> None:
    """In place: its bytes become a broken row and blanks."""
    with path.open("r+b") as file:
        start = len(file.readline()) + len(file.readline())
        length = len(file.readline())
        file.seek(start)
        file.write(BROKEN[:-1].ljust(length - 1) + b"\n")


def _send(key: str, dataset: int, path: Path) -> int:
    with path.open("rb") as file:
        reply = httpx.post(
            f"{os.environ['WEB_URL']}/api/v1/uploads",
            params={"dataset": str(dataset), "filename": path.name},
            content=iter(lambda: file.read(BLOCK_BYTES), b""),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"},
            timeout=600,
        )
    reply.raise_for_status()
    return int(reply.json()["id"])


def _worker_pid() -> int:
    state = json.loads((Path(os.environ["DATA_DIR"]) / "stack" / "state.json").read_text())
    return int(state["children"]["worker"]["pid"])


def _issues(upload: int) -> bool:
    from tasks.models import RowIssue

    return RowIssue.objects.filter(upload=upload).exists()


def _imported(upload: int) -> bool:
    from tasks.models import Upload

    state, failure = Upload.objects.values_list("state", "failure").get(pk=upload)
    if failure:
        raise SystemExit(failure)
    return bool(state == "imported")


def _until(is_so: Any) -> float:
    while not is_so():
        time.sleep(0.02)
    return time.perf_counter()


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flywheel.settings")
    import django

    django.setup()
    count, output = int(sys.argv[1]), Path(sys.argv[2])
    output.write_text(json.dumps([asdict(one) for one in measure(count)]))


if __name__ == "__main__":
    main()
