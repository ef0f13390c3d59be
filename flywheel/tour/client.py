"""The tour's hands: HTTP requests with an API key, exactly as any program would make them."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

CHUNK = 1 << 16


class TourError(Exception):
    """A step that did not come to its end; the sentence says where to look."""


class Refused(TourError):
    """The server said no: its code and its sentence."""

    def __init__(self, request: str, code: str, sentence: str) -> None:
        super().__init__(f"{request}: {sentence}")
        self.code, self.sentence = code, sentence


class Client:
    """One person's key. Requests are repeated while the server restarts, so a tour survives that."""

    def __init__(self, base_url: str, key: str, *, patience_seconds: float = 60) -> None:
        self._http = httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
        self._patience = patience_seconds

    def get(self, path: str, **params: Any) -> Any:
        return self._request("GET", path, params=params)

    def post(self, path: str, body: Any = None) -> Any:
        """Repeated under one key, so a request whose reply was lost is not carried out twice."""
        return self._request("POST", path, json=body or {}, headers={"Idempotency-Key": uuid.uuid4().hex})

    def patch(self, path: str, body: Any) -> Any:
        return self._request("PATCH", path, json=body)

    def upload(self, path: Path, *, dataset: int) -> Any:
        """The same bytes again answer with the first upload, so a repeated tour sends them again without harm."""
        return self._request(
            "POST",
            "/api/v1/uploads",
            params={"dataset": str(dataset), "filename": path.name},
            content=lambda: _chunks(path),
            headers={"Content-Type": "application/x-ndjson"},
        )

    def all(self, path: str, **params: Any) -> Iterator[Any]:
        """Every row of a list, page after page."""
        page = self.get(path, limit=200, **params)
        while True:
            yield from page["results"]
            if not page.get("next"):
                return
            page = self._request("GET", page["next"])

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        content: Callable[[], Iterator[bytes]] | None = arguments.pop("content", None)
        deadline = time.monotonic() + self._patience
        while True:
            try:
                reply = self._http.request(method, path, content=content() if content else None, **arguments)
                if reply.status_code < 500 or time.monotonic() > deadline:
                    return _answer(reply)
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise TourError(f"{method} {path}: no answer ({error}). Look at the web log.") from error
            time.sleep(1)


def _answer(reply: httpx.Response) -> Any:
    if reply.is_success:
        return reply.json()
    try:
        problem = reply.json()
    except ValueError:
        problem = {}
    sentence = problem.get("detail") or problem.get("error", {}).get("message") or reply.text[:200]
    request = f"{reply.request.method} {reply.request.url.path}: {reply.status_code}"
    raise Refused(request, str(problem.get("code", "")), sentence)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
