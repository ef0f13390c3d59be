"""The session's end of its channel."""

import json
import os
from collections.abc import Mapping
from typing import Any

from tasks.sandbox.protocol import LENGTH, MAX_FRAME_BYTES, NONCE_BYTES, encode


class Channel:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._nonce = self._exactly(NONCE_BYTES)

    def receive(self) -> dict[str, Any]:
        """The host's next message. Ends the process where there will be none."""
        (length,) = LENGTH.unpack(self._exactly(LENGTH.size))
        message: dict[str, Any] = json.loads(self._exactly(length))  # the host is to be believed, NaN and all
        return message

    def send(self, message: Mapping[str, Any]) -> None:
        raw = encode(message)
        if len(raw) > MAX_FRAME_BYTES:
            raise ValueError(f"A message of {len(raw)} bytes: at most {MAX_FRAME_BYTES} can be sent.")
        left = memoryview(LENGTH.pack(len(raw)) + self._nonce + raw)
        while left:
            left = left[os.write(self._descriptor, left) :]

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = os.read(self._descriptor, min(count - len(parts), 1 << 20))
            if not part:
                os._exit(0)
            parts += part
        return bytes(parts)
