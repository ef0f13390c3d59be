"""The one outgoing client: the OpenAI chat wire (judges, the model server), and beside it single posts
(tasks/posting.py). No other code opens such connections.

An address given by a user may point inwards. So: https only, every address of the name must be global, the connection
goes to the very address that was checked (a second look-up could answer otherwise), no redirects, no proxies, caps on
size and time. Origins that an operator configured (our own model server) are exempt from the address rules alone.
"""

import ipaddress
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

Resolve = Callable[[str, int], list[str]]
_CUT_OFF = "The model server stopped in the middle of its answer: try again."


class WireError(Exception):
    """The other side could not be asked, or did not answer usably. `code` is stable, `sentence` is for people.

    `status`, `body`, `retry_after_seconds` and `should_retry` (False: it will say the same again) are the other side's
    where it answered with a refusal.
    """

    def __init__(
        self,
        code: str,
        sentence: str,
        status: int | None = None,
        body: Any = None,
        retry_after_seconds: float | None = None,
        should_retry: bool = True,
    ) -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.status, self.body = code, sentence, status, body
        self.retry_after_seconds, self.should_retry = retry_after_seconds, should_retry


def resolve(host: str, port: int) -> list[str]:
    """Every address of the name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def origin_of(url: str) -> str:
    """scheme://host:port, lower case, with the port always written out."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        raise WireError("bad_address", f"{url[:200]} is not an address: give https://host/path.") from None
    host = (parts.hostname or "").rstrip(".").lower()
    if not host or not port:
        raise WireError("bad_address", f"{url[:200]} is not an address: give https://host/path.")
    return f"{parts.scheme.lower()}://{f'[{host}]' if ':' in host else host}:{port}"


@dataclass(frozen=True, slots=True)
class Limits:
    connect_seconds: float = 5.0
    silence_seconds: float = 60.0  # between two pieces of an answer
    total_seconds: float = 600.0
    request_bytes: int = 10 * 2**20
    reply_bytes: int = 20 * 2**20


@dataclass(frozen=True, slots=True)
class Wire:
    """An OpenAI-wire server at `base_url`, for instance https://judge.example/v1."""

    base_url: str
    token: str = field(default="", repr=False)
    allowed_origins: frozenset[str] = frozenset()  # as origin_of writes them
    limits: Limits = Limits()
    resolve: Resolve = resolve

    def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST chat/completions; the whole completion."""
        with self._sent("POST", "chat/completions", body) as reply:
            return _object(self._read(reply))

    def models(self) -> dict[str, Any]:
        with self._sent("GET", "models") as reply:
            return _object(self._read(reply))

    def chat_stream(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """POST chat/completions with stream: the chunks as they come; ends at [DONE].

        The request is sent before this returns, so that a refusal is raised here and not in the middle of a reply.
        """
        sent = self._sent("POST", "chat/completions", {**body, "stream": True})
        reply = sent.__enter__()
        return self._chunks(sent, reply)

    def _chunks(self, sent: Any, reply: httpx.Response) -> Iterator[dict[str, Any]]:
        try:
            for line in _lines(self._pieces(reply)):
                data = line.removeprefix(b"data:").strip()
                if not line.startswith(b"data:"):
                    continue
                if data == b"[DONE]":
                    return
                chunk = _object(data)
                yield chunk
                if "error" in chunk:  # the last thing that a server says when it fails half-way
                    return
            raise WireError("cut_off", _CUT_OFF)
        except httpx.TimeoutException:  # the context of `sent` is left without its faults
            raise WireError("timeout", "The model server fell silent in the middle of its answer.") from None
        except httpx.HTTPError:
            raise WireError("cut_off", _CUT_OFF) from None
        finally:
            sent.__exit__(None, None, None)

    @contextmanager
    def _sent(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Iterator[httpx.Response]:
        url = f"{self.base_url.rstrip('/')}/{path}"
        content = b"" if body is None else _encoded(body)
        if len(content) > self.limits.request_bytes:
            raise WireError(
                "request_too_large", f"The request is over {self.limits.request_bytes:,} bytes: shorten it."
            )
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= {"Content-Type": "application/json"}
        with asked(method, url, content, headers, self.allowed_origins, self.limits, self.resolve) as reply:
            self._check(reply)
            yield reply

    def _check(self, reply: httpx.Response) -> None:
        if reply.is_redirect:
            raise WireError(
                "redirected", "The address answers with a redirect, which is never followed: give the final one."
            )
        if not reply.is_success:
            raw = self._read(reply)
            try:
                body = json.loads(raw)
            except (ValueError, RecursionError):
                body = None
            raise WireError(
                "refused",
                f"The model server answered {reply.status_code}.",
                reply.status_code,
                body,
                wait_of(reply),
                reply.headers.get("x-should-retry") != "false",
            )

    def _pieces(self, reply: httpx.Response) -> Iterator[bytes]:
        """The body under the caps of size and time. Compressed bodies were not asked for and are not unpacked."""
        if reply.headers.get("content-encoding", "identity") != "identity":
            raise WireError("compressed", "The model server compressed its answer without being asked.")
        ends, size = time.monotonic() + self.limits.total_seconds, 0
        for piece in reply.iter_raw():
            size += len(piece)
            if size > self.limits.reply_bytes:
                raise WireError(
                    "reply_too_large", f"The answer is over {self.limits.reply_bytes:,} bytes: it was cut off."
                )
            if time.monotonic() > ends:
                raise WireError("timeout", f"The answer took over {self.limits.total_seconds:g} s: it was cut off.")
            yield piece

    def _read(self, reply: httpx.Response) -> bytes:
        return b"".join(self._pieces(reply))


def check(url: str, allowed_origins: frozenset[str] = frozenset(), resolve: Resolve = resolve) -> None:
    """Refuse now what a post would refuse later. A name that nobody knows yet may be known by then."""
    origin = origin_of(url)
    if origin in allowed_origins:
        return
    _require_https(origin)
    parts = urlsplit(origin)
    host = parts.hostname or ""
    try:
        addresses = resolve(host, parts.port or 443)
    except OSError:
        return
    for address in addresses:
        _check_global(host, address)


@contextmanager
def asked(
    method: str,
    url: str,
    content: bytes,
    headers: Mapping[str, str],
    allowed: frozenset[str],
    limits: Limits,
    look_up: Resolve = resolve,
) -> Iterator[httpx.Response]:
    """One request under all rules but that of the answer's size, which is for its reader to keep."""
    ends = time.monotonic() + limits.total_seconds
    transport = _Pinned(origin_of(url), allowed, look_up, ends)
    timeout = httpx.Timeout(limits.silence_seconds, connect=limits.connect_seconds)
    client = httpx.Client(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False)
    sent = {**headers, "Accept-Encoding": "identity"}
    try:
        with client, client.stream(method, url, content=content, headers=sent) as reply:
            yield reply
    except httpx.TimeoutException:
        raise WireError("timeout", f"{origin_of(url)} did not answer in time: try again later.") from None
    except (httpx.HTTPError, httpx.InvalidURL):
        raise WireError("unreachable", f"{origin_of(url)} cannot be reached: see whether it runs.") from None


def _encoded(body: Mapping[str, Any]) -> bytes:
    """As UTF-8, half as long as its escapes in most scripts. A lone surrogate can only be escaped."""
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(body).encode()


def wait_of(reply: httpx.Response) -> float | None:
    """Seconds, from a Retry-After that gives seconds or a date; None where it gives neither."""
    told = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", told):
        return float(told)
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise WireError("unreadable", "The model server's answer is not a JSON object.")
    return value


class _Pinned(httpx.HTTPTransport):
    """A transport that checks the origin once and then connects to the checked address only."""

    def __init__(self, origin: str, allowed: frozenset[str], look_up: Resolve, ends: float) -> None:
        super().__init__(verify=_trusted(), retries=0)
        backend = _CheckedBackend(free=origin in allowed, look_up=look_up, ends=ends)
        self._pool = httpcore.ConnectionPool(ssl_context=_trusted(), network_backend=backend, max_connections=1)
        if origin not in allowed:
            _require_https(origin)


def _require_https(origin: str) -> None:
    if not origin.startswith("https://"):
        raise WireError("not_https", f"{origin} is not https: give an https address.")


@cache
def _trusted() -> ssl.SSLContext:
    """Reading the certificates of the machine takes longer than a request: once a process."""
    return ssl.create_default_context()


class _CheckedBackend(httpcore.SyncBackend):
    def __init__(self, *, free: bool, look_up: Resolve, ends: float) -> None:
        self._free, self._look_up, self._ends = free, look_up, ends

    def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        try:
            addresses = self._look_up(host, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        if not self._free:
            for address in addresses:
                _check_global(host, address)
        for address in addresses[:-1]:
            try:
                return _Timed(super().connect_tcp(address, port, *args, **kwargs), self._ends)
            except httpcore.ConnectError:
                continue
        return _Timed(super().connect_tcp(addresses[-1], port, *args, **kwargs), self._ends)


class _Timed(httpcore.NetworkStream):
    """A connection that nothing keeps open beyond its end, nor a server that sends a byte of its headers a second."""

    def __init__(self, stream: httpcore.NetworkStream, ends: float) -> None:
        self._stream, self._ends = stream, ends

    def _left(self, timeout: float | None) -> float:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("The whole exchange took too long.")
        return left if timeout is None else min(left, timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, self._left(timeout)), self._ends)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _check_global(host: str, address: str) -> None:
    """Refuse loopback, private, link-local, multicast and reserved addresses, also inside IPv6 wrappers."""
    number = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(number, ipaddress.IPv6Address):
        wrapped = number.ipv4_mapped or number.sixtofour or (number.teredo[1] if number.teredo else None)
        nat64 = ipaddress.ip_address(int(number) & 0xFFFFFFFF) if number in _NAT64 else None
        number = wrapped or nat64 or number
    if not number.is_global or number.is_multicast:
        raise WireError("address_refused", f"{host} leads to {address}, which is not a public address.")


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
