"""The HTTP surface: /health, /v1/models, /v1/chat/completions in OpenAI's wire format."""

import asyncio
import contextlib
import hmac
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from functools import partial
from typing import Any, TypeVar

import psutil
import torch
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainer.server import chat, replies, resident
from trainer.server.answering import Answering, Begun
from trainer.server.chat import Ask
from trainer.server.faults import Fault
from trainer.server.limits import Limits
from trainer.server.odds import Odds
from trainer.server.replies import Reply
from trainer.server.residents import Residents
from trainer.server.store import Store
from trainer.server.worker import Ended, Piece

T = TypeVar("T")
Events = AsyncGenerator[Begun | Piece | Ended, None]

CLIENT_CLOSED_REQUEST = 499  # nobody reads it; it is for the access log


class Server:
    def __init__(self, store: Store, limits: Limits, token: str | None, device: str, import_seconds: float) -> None:
        self.store, self.limits, self.token, self.device = store, limits, token, device
        self.import_seconds, self.started = import_seconds, time.time()
        self.residents: Residents[resident.Resident] = Residents(
            load=partial(resident.load, store, device=device, max_cached_tokens=limits.max_cached_tokens),
            measure=partial(resident.bytes_needed, store, device=device),
            slots=limits.max_models,
            memory_bytes=limits.max_memory,
        )
        self.answering = Answering(
            self.residents,
            max_queue=limits.max_queue,
            max_cached_tokens=limits.max_cached_tokens,
            max_seconds=limits.max_seconds,
        )

    def app(self) -> ASGIApp:
        routes = [
            Route("/health", self.health, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/chat/completions", self.chat_completions, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {Fault: _fault_response, HTTPException: _http_response, Exception: _bug_response}
        return Door(Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan), self.token)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        self.residents.close()

    async def health(self, request: Request) -> Response:
        """Without the token only that it is up: enough for a container's health check."""
        if not knows(Headers(scope=request.scope), self.token):
            return JSONResponse({"status": "ok"})
        memory = psutil.Process().memory_info()
        report = {
            "status": "ok",
            "pid": os.getpid(),
            "device": self.device,
            "threads": torch.get_num_threads(),
            "uptime_seconds": round(time.time() - self.started, 1),
            "import_seconds": round(self.import_seconds, 2),
            "open_choices": self.answering.open_choices,
            "models": self.residents.report(),
            "memory": {
                "resident_bytes": memory.rss,
                "models_bytes": self.residents.bytes,
                "models_limit_bytes": self.limits.max_memory,
            },
        }
        return JSONResponse(report)

    async def models(self, request: Request) -> Response:
        listed = await asyncio.to_thread(self.store.digests)
        data = [{"id": name, "object": "model", "created": at, "owned_by": "flywheel"} for name, at in listed]
        return JSONResponse({"object": "list", "data": data})

    async def chat_completions(self, request: Request) -> Response:
        raw = await _read_body(request, self.limits.max_body)
        ask = chat.parse(raw, max_choices=self.limits.max_choices, max_tokens=self.limits.max_tokens)
        events = self.answering.events(ask)
        try:
            if not ask.stream:
                return JSONResponse(await _unless_gone(request, _collect(ask, events)))
            # The first event is waited for here, so that refusals still have a status of their own.
            begun = await _unless_gone(request, anext(events))
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        assert isinstance(begun, Begun)
        return Stream(
            _stream(ask, begun, events), media_type="text/event-stream", headers={"cache-control": "no-cache"}
        )


class Stream(StreamingResponse):
    """Closes its body when the client has left, also if it left before the first chunk."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.body_iterator.aclose()  # type: ignore[attr-defined]


async def _collect(ask: Ask, events: Events) -> dict[str, Any]:
    texts, reasons = [""] * ask.n, [""] * ask.n
    told: list[list[Odds]] = [[] for _ in range(ask.n)]
    prompt_tokens = completion_tokens = 0
    async with contextlib.aclosing(events):
        async for event in events:
            match event:
                case Begun(tokens):
                    prompt_tokens = tokens
                case Piece(index, text, odds):
                    texts[index] += text
                    told[index] += odds
                case Ended(index, reason, tokens):
                    reasons[index] = reason
                    completion_tokens += tokens
    return Reply(ask).whole(texts, reasons, prompt_tokens, completion_tokens, told)


async def _stream(ask: Ask, begun: Begun, events: Events) -> AsyncIterator[bytes]:
    reply, completion_tokens = Reply(ask), 0
    async with contextlib.aclosing(events):
        for index in range(ask.n):
            yield reply.opening(index)
        try:
            async for event in events:
                match event:
                    case Piece(index, text, odds):
                        yield reply.piece(index, text, odds)
                    case Ended(index, reason, tokens):
                        completion_tokens += tokens
                        yield reply.closing(index, reason)
        except Fault as fault:
            yield replies.sse_fault(fault)
            return
        if ask.include_usage:
            yield reply.usage(begun.prompt_tokens, completion_tokens)
        yield replies.DONE


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The work's result; the work is cancelled as soon as the client has left."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read_body(request: Request, limit: int) -> bytes:
    # A browser sends other types across origins without asking; JSON it may not.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Fault(415, "unsupported_media_type", "Send the request as application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Fault(413, "body_too_large", f"The body is over {limit} bytes.")
    return bytes(body)


class Door:
    """Checks the token before anything is read, and gives every reply an x-request-id."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = f"req_{uuid.uuid4().hex}"
            await send(message)

        app, headers = self._app, Headers(scope=scope)
        if self._token is None and not _names_this_machine(headers.get("host", "")):
            fault = Fault(403, "wrong_host", "Without a token the model server answers to localhost only.")
            app = JSONResponse(fault.envelope(), status_code=403)
        elif scope["path"] != "/health" and not knows(headers, self._token):
            fault = Fault(401, "invalid_api_key", "The model server's token is missing or wrong.")
            app = JSONResponse(fault.envelope(), status_code=401, headers={"www-authenticate": "Bearer"})
        await app(scope, receive, send_with_id)


def knows(headers: Headers, token: str | None) -> bool:
    """Whether the caller holds the token. A server without one listens on loopback only."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    return token is None or (kind.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode()))


def _names_this_machine(host: str) -> bool:
    """A page elsewhere can have its own name resolve to 127.0.0.1; the Host header gives it away."""
    return host.rsplit(":", 1)[0] in ("127.0.0.1", "localhost", "[::1]")


async def _fault_response(request: Request, fault: Fault) -> Response:
    return JSONResponse(fault.envelope(), status_code=fault.status, headers=fault.headers)


async def _http_response(request: Request, error: HTTPException) -> Response:
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    fault = Fault(error.status_code, code, f"{request.method} {request.url.path[:200]}: {error.detail}.")
    return JSONResponse(fault.envelope(), status_code=fault.status, headers=error.headers)


async def _bug_response(request: Request, error: Exception) -> Response:
    fault = Fault(500, "internal_error", "The model server broke at this request. Its log says why.")
    return JSONResponse(fault.envelope(), status_code=500, headers={"x-should-retry": "false"})
