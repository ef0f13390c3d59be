"""Tokens to text, piece by piece. Streamed and whole answers both come from here, so they cannot differ."""

from collections.abc import Callable, Sequence

UNFINISHED = "\ufffd"  # what a tokenizer shows for the first bytes of a character


class TextStream:
    """The pieces joined are the answer, cut before the first stop string. No piece ends inside a character."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        self._decode, self._stops = decode, stops
        self._tokens: list[int] = []
        # Decoding starts at _context, a few tokens before the new ones, because a tokenizer may write a token
        # differently at the beginning of a text (a blank that disappears).
        self._context = self._read = 0
        self._held = ""  # text that may be the beginning of a stop string
        self.released = 0  # characters handed out
        self.stopped = False

    @property
    def known(self) -> int:
        """Characters read so far, those included that are held back."""
        return self.released + len(self._held)

    def push(self, token: int) -> str:
        self._tokens.append(token)
        text = self._new_text()
        if text.endswith(UNFINISHED):
            return ""
        self._context, self._read = self._read, len(self._tokens)
        return self._release(text)

    def close(self) -> str:
        """What is left once no token follows."""
        text = self._new_text()
        self._read = len(self._tokens)
        released = self._release(text)
        if self.stopped:
            return released
        held, self._held = self._held, ""
        self.released += len(held)
        return released + held

    def _new_text(self) -> str:
        known = self._decode(self._tokens[self._context : self._read])
        return self._decode(self._tokens[self._context :])[len(known) :]

    def _release(self, text: str) -> str:
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            released, self._held = self._held[: min(found)], ""
            self.released += len(released)
            return released
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        released, self._held = self._held[:cut], self._held[cut:]
        self.released += len(released)
        return released


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
