"""Parquet and XLSX are read in a process of their own: a small file can ask for any amount of memory.

The child may hold CHILD_BYTES of data and must say something every SILENT_SECONDS; it ends with its parent, whose end
of the pipe then closes. What it was reading when it died is told as one Issue (`file_too_costly`).
"""

import contextlib
import os
import resource
import select
import struct
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import msgspec

from tasks.formats.block import Block, Layout, Packer, Size, Unreadable, packed
from tasks.formats.compressed import CHUNK_BYTES, Source
from tasks.types import Issue

CHILD_BYTES = 256 << 20  # of data (RLIMIT_DATA): code and mapped libraries come on top, shared with nobody's data
SILENT_SECONDS = 120.0
FRAME_ROWS = 500
NO_MEMORY = 70  # exit status of the child
_LENGTH = struct.Struct("<I")
_ROOT = str(Path(__file__).resolve().parents[2])
_CHILD = "import sys; sys.path.insert(0, sys.argv[1]); from tasks.formats.isolated import serve; serve(sys.argv[2])"


class About(msgspec.Struct, array_like=True):
    """What the file says of itself, before its rows."""

    rows: int | None
    notes: list[str]
    header: bool = True


class Rows(msgspec.Struct, array_like=True):
    """`numbers` of all, `rows` of those that could be read, `issues` of the others."""

    entries: list[tuple[int, bytes | None]]
    issues: list[Issue]


class Fault(msgspec.Struct, array_like=True):
    code: str
    detail: str


class Ask(msgspec.Struct, array_like=True):
    format: str
    position: int
    header: bool | None  # None: to be seen


def blocks(source: Source, layout: Layout, *, position: int, line: int, size: Size, total: int) -> Iterator[Block]:
    """`total`: bytes of the stored file, for progress, which only the file's own count of rows can tell here."""
    taken, about = position, About(None, [])

    def entries() -> Iterator[tuple[int, bytes | Issue]]:
        nonlocal taken, about
        for frame in frames(source, layout, position, layout.header):
            if isinstance(frame, About):
                about = frame
                continue
            issues = {found.line: found for found in frame.issues}
            for number, row in frame.entries:
                taken += 1
                yield number, row if row is not None else issues[number]

    def read() -> int:
        return min(total, total * taken // about.rows) if about.rows else 0

    return packed(entries(), Packer(size, position, line), read)


def frames(source: Source, layout: Layout, position: int, header: bool | None) -> Generator[About | Rows, None, None]:
    """What the child says. Raises Unreadable for what it, or its death, says against the file."""
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(_seekable(source, layout))
        ask = msgspec.json.encode(Ask(layout.format, position, header)).decode()
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", _CHILD, _ROOT, ask],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        opened.callback(_end, child)
        yield from _received(child)


def _seekable(source: Source, layout: Layout) -> BinaryIO:
    """The stored file, or what it unpacks to, without a name on the disk."""
    if not layout.compressed:
        return source.reopened()
    unpacked = cast(BinaryIO, TemporaryFile())  # noqa: SIM115 - the caller's to close
    while chunk := source.read(CHUNK_BYTES):
        unpacked.write(chunk)
    unpacked.seek(0)
    return unpacked


def _environment() -> dict[str, str]:
    """Arrow's own allocator would reserve more than the child may hold."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "TZ") if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **threads, "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}


def _end(child: "subprocess.Popen[bytes]") -> None:
    assert child.stdout is not None  # PIPE
    child.stdout.close()
    child.kill()
    child.wait()


def _received(child: "subprocess.Popen[bytes]") -> Iterator[About | Rows]:
    while True:
        head = _exactly(child, 1 + _LENGTH.size)
        kind, body = head[:1], _exactly(child, _LENGTH.unpack(head[1:])[0])
        if kind == b"E":
            return
        if kind == b"F":
            fault = msgspec.msgpack.decode(body, type=Fault)
            raise Unreadable(fault.code, fault.detail)
        yield msgspec.msgpack.decode(body, type=About) if kind == b"A" else msgspec.msgpack.decode(body, type=Rows)


def _exactly(child: "subprocess.Popen[bytes]", size: int) -> bytes:
    assert child.stdout is not None  # PIPE
    data = bytearray()
    while len(data) < size:
        if not select.select([child.stdout], [], [], SILENT_SECONDS)[0]:
            raise Unreadable("file_too_costly", f"nothing came of it for {SILENT_SECONDS:g} seconds")
        piece = os.read(child.stdout.fileno(), size - len(data))
        if not piece:
            raise _death(child.wait())
        data += piece
    return bytes(data)


def _death(status: int) -> Unreadable:
    """Killed, or out of memory, which Arrow's and Python's libraries may also meet with an abort."""
    if status < 0 or status == NO_MEMORY:
        return Unreadable("file_too_costly", f"it needs more than {CHILD_BYTES >> 20} MiB of memory")
    return Unreadable("damaged_file", "its reader cannot make sense of it")


# The child


def serve(asked: str) -> None:
    """Write frames about the file on standard input to standard output."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (CHILD_BYTES, CHILD_BYTES))
    ask = msgspec.json.decode(asked, type=Ask)
    stream = os.fdopen(0, "rb")
    try:
        for frame in _framed(_reader(ask)(stream, ask)):
            _send(b"A" if isinstance(frame, About) else b"R", frame)
        _send(b"E", None)
    except Unreadable as fault:
        _send(b"F", Fault(fault.code, fault.detail))
    except MemoryError:
        os._exit(NO_MEMORY)  # there may be no memory left to say so
    except BrokenPipeError:
        os._exit(0)


def _reader(ask: Ask) -> Any:
    if ask.format == "parquet":
        from tasks.formats import parquet

        return parquet.rows
    from tasks.formats import xlsx

    return xlsx.rows


def _framed(entries: Iterable["About | tuple[int, bytes | Issue]"]) -> Iterator[About | Rows]:
    frame = Rows([], [])
    held = 0
    for entry in entries:
        if isinstance(entry, About):
            yield entry
            continue
        number, row = entry
        if isinstance(row, Issue):
            frame.issues.append(row)
            frame.entries.append((number, None))
        else:
            frame.entries.append((number, row))
            held += len(row)
        if len(frame.entries) >= FRAME_ROWS or held > CHUNK_BYTES:
            yield frame
            frame, held = Rows([], []), 0
    if frame.entries:
        yield frame


def _send(kind: bytes, frame: Any) -> None:
    body = msgspec.msgpack.encode(frame)
    data = memoryview(kind + _LENGTH.pack(len(body)) + body)
    while data:
        data = data[os.write(1, data) :]
