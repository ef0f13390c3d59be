"""What host and sandbox agree on: limits, flavours, levels, how a session can be lost, and the frames between them.

Host to session: the session's nonce, then frames of 4 bytes length (big-endian) and JSON.
Session to host: one byte, BEGUN, once it is confined, so that no program can pass its own end off as a fault of the
sandbox; then frames of 4 bytes length, the nonce and JSON, at most MAX_FRAME_BYTES. The nonce keeps what a program
writes blindly to a descriptor from being taken for an answer; it is no secret from the program itself, which can only
ever forge answers about itself.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_FRAME_BYTES = 64 << 10  # from a session; the host's own frames are as long as the job
MAX_TEXT_BYTES = 2 << 10  # of an error text
NONCE_BYTES = 16
BEGUN = b"\x01"
LENGTH = struct.Struct(">I")

OUT_OF_MEMORY = 77  # exit status of a session whose mode let a MemoryError out
SETUP_FAILED = 78  # exit status of a session that could not be confined: nothing of the job has run


class Flavour(StrEnum):
    """What a worker has loaded before its sessions are forked from it."""

    BARE = "bare"  # the standard library's usual modules
    SCIENCE = "science"  # numpy, scipy, pandas, scikit-learn and sympy besides
    REASONING = "reasoning"  # reasoning-gym, with one instance of each of its datasets
    MATH = "math"  # math-verify, for our own code: runs unconfined where nothing better is to be had


class Level(StrEnum):
    """How a session is confined, from best to none."""

    NAMESPACES = "namespaces"
    LANDLOCK = "landlock"
    PLAIN = "plain"  # not confined, only killable: for our own code, never for anybody else's


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one session. The defaults are those of OpenAI's python grader."""

    seconds: float = 120.0  # wall clock, for the whole session
    memory_bytes: int = 2 << 30  # address space
    disk_bytes: int = 1 << 30  # of /tmp, where the level has one
    files: int = 4096  # inodes of /tmp
    threads: int = 64
    output_bytes: int = 1 << 20  # of standard output


class Unavailable(Exception):
    """No level of confinement holds on this machine."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Lost(Exception):
    """A session ended before its time. kind: timeout, died, memory, malformed or too_large.

    ours: its worker was lost, or could not begin it. Nothing is said of the program, and another session may be tried.
    """

    def __init__(self, kind: str, detail: str, *, ours: bool = False) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.ours = ours


def encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def decode(raw: bytes | bytearray | memoryview) -> dict[str, Any]:
    """The object in a frame; raises ValueError for everything that is not strict JSON."""
    try:
        message = json.loads(bytes(raw).decode(), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def clean(text: str, limit: int = MAX_TEXT_BYTES) -> str:
    """A text that may be shown: no control characters but newline, no surrogates, at most `limit` bytes of UTF-8."""
    shown = "".join(letter if letter == "\n" or letter.isprintable() else " " for letter in text[:limit])
    return shown.encode(errors="replace")[:limit].decode(errors="ignore")
