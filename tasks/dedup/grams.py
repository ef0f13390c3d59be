"""Tokens and their n-grams as numbers, for thousands of folded texts at once.

Tokens are runs of letters, runs of digits, and single characters of scripts that are written without blanks. What
stands between them does not count. A gram's hash is a polynomial over its tokens' characters, taken from prefix sums:
no token ever becomes a Python object, and the hash is the same in every process and version.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Places = NDArray[np.int64]

BLOCK_CHARACTERS = 2**18  # what is hashed at once: small enough for the processor's cache
_BASE = 0xD6E8FEB86659FD93  # odd, so that it has an inverse modulo 2^64
_MIX = np.uint64(0x9E3779B97F4A7C15)
_START = np.uint64(0xA0761D6478BD642F)  # added to a token's first character: "ab c" and "a bc" differ

_OTHER, _LETTER, _DIGIT, _SINGLE = range(4)
_LAST_LETTER = 0x323B0  # behind it are no letters, only selectors and private use
# Thai and Lao, Myanmar, Khmer, 々〆〇, kana, Han with its extensions
_SINGLES = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3005, 0x3007),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)


class Tokens(NamedTuple):
    """Tokens of several texts, in the positions of all their characters without what stands between them."""

    starts: Places  # first character of each token, and one behind the last
    rows: Places  # text of each token
    characters: Places  # where each character stands in the texts, joined by one line break
    offsets: Places  # where each text begins in them
    sums: Words  # polynomial prefix sums over the characters

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Begin and end of tokens `first` to `last`, within their text."""
        offset = self.offsets[self.rows[first]]
        begin, end = self.characters[self.starts[first]], self.characters[self.starts[last + 1] - 1] + 1
        return int(begin - offset), int(end - offset)


def read(texts: Sequence[str]) -> Tokens:
    joined = "\n".join(texts)
    points, kinds = _kinds(joined)
    begins = np.empty(len(kinds), dtype=bool)
    begins[:1] = True
    np.not_equal(kinds[1:], kinds[:-1], out=begins[1:])
    begins |= kinds == _SINGLE
    characters = np.flatnonzero(kinds)
    starts = np.flatnonzero(begins[characters])
    values = points[characters].astype(np.uint64)
    values[starts] += _START
    values *= _powers(len(values))[0][: len(values)]
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values, out=sums[1:])
    ends = np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1)
    counts = np.diff(np.searchsorted(characters[starts], ends), prepend=0)
    return Tokens(
        starts=np.append(starts, len(values)),
        rows=np.repeat(np.arange(len(texts)), counts),
        characters=characters,
        offsets=np.concatenate(([0], ends[:-1])),
        sums=sums,
    )


def of(tokens: Tokens, length: int) -> tuple[Words, Places]:
    """(hash, first token) of every run of `length` tokens within one text."""
    whole = max(0, len(tokens.rows) - length + 1)
    first = np.flatnonzero(tokens.rows[length - 1 :] == tokens.rows[:whole])
    begin, end = tokens.starts[first], tokens.starts[first + length]
    hashes = (tokens.sums[end] - tokens.sums[begin]) * _powers(len(tokens.characters))[1][begin]
    hashes ^= hashes >> np.uint64(32)
    hashes *= _MIX
    hashes ^= hashes >> np.uint64(29)
    return hashes, first


def words(text: str) -> list[str]:
    """The tokens of one text."""
    tokens = read([text])
    begins = tokens.characters[tokens.starts[:-1]]
    ends = tokens.characters[tokens.starts[1:] - 1] + 1
    return [text[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


def blocks(texts: Sequence[str]) -> Iterator[range]:
    """Stretches of at most BLOCK_CHARACTERS, or of one text."""
    first = held = 0
    for row, text in enumerate(texts):
        if row > first and held + len(text) > BLOCK_CHARACTERS:
            yield range(first, row)
            first, held = row, 0
        held += len(text)
    if first < len(texts):
        yield range(first, len(texts))


def _kinds(joined: str) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Code point and class of every character."""
    points: NDArray[Any]
    if joined.isascii():
        points = np.frombuffer(joined.encode("ascii"), dtype=np.uint8)
        return points, _ascii_classes()[points]
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return points, _classes()[np.minimum(points, _LAST_LETTER)]


@cache
def _classes() -> NDArray[np.uint8]:
    """Of every code point. Marks belong to the letter before them."""
    kinds = {"L": _LETTER, "M": _LETTER}
    classes = np.zeros(_LAST_LETTER + 1, dtype=np.uint8)
    for point in range(_LAST_LETTER):
        kind = category(chr(point))
        classes[point] = _DIGIT if kind == "Nd" else kinds.get(kind[0], _OTHER)
    for first, last in _SINGLES:
        part = classes[first : last + 1]
        part[part == _LETTER] = _SINGLE
    return classes


@cache
def _ascii_classes() -> NDArray[np.uint8]:
    kinds = (_LETTER if chr(c).isalpha() else _DIGIT if chr(c).isdigit() else _OTHER for c in range(128))
    return np.fromiter(kinds, dtype=np.uint8)


def _powers(length: int) -> tuple[Words, Words]:
    """At least `length` + 1 powers of the base and of its inverse."""
    return _powers_of(max(BLOCK_CHARACTERS * 2, 1 << length.bit_length()))


@cache
def _powers_of(size: int) -> tuple[Words, Words]:
    up, down = (np.full(size, base, dtype=np.uint64) for base in (_BASE, pow(_BASE, -1, 2**64)))
    up[0] = down[0] = 1
    return np.multiply.accumulate(up), np.multiply.accumulate(down)


class Sorted:
    """Where hashes stand among known ones. A bitmap of some 32 bits each answers for nearly all that do not."""

    def __init__(self, hashes: Words) -> None:
        self.hashes = hashes  # ascending, each once
        bits = min(max((len(hashes) * 32).bit_length(), 16), 28)
        self._shift = np.uint64(64 - bits)
        self._bitmap = np.zeros(2 ** (bits - 3), dtype=np.uint8)
        places = hashes >> self._shift
        np.bitwise_or.at(self._bitmap, (places >> np.uint64(3)).astype(np.int64), _bit(places))

    def __len__(self) -> int:
        return len(self.hashes)

    def find(self, hashes: Words) -> tuple[Places, Places]:
        """(position among the given, position among the known) of those that are known."""
        places = hashes >> self._shift
        likely = np.flatnonzero(self._bitmap[(places >> np.uint64(3)).astype(np.int64)] & _bit(places))
        at = np.searchsorted(self.hashes, hashes[likely])
        at[at == len(self.hashes)] = 0
        known = self.hashes[at] == hashes[likely]
        return likely[known], at[known]


def _bit(places: Words) -> NDArray[np.uint8]:
    return np.left_shift(np.uint8(1), (places & np.uint64(7)).astype(np.uint8))
