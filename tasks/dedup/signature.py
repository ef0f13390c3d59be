"""MinHash bands of a text: two tasks that share a band are worth comparing, and they hold the same numbers.

Shingles: 5 characters, blanks among them; 3 where most characters are Chinese, Japanese or Korean; the whole text where
it is shorter. 48 permutations x -> (x ^ b) * a modulo 2^32 (a odd), the least of each over the text's shingles, four of
them a band, twelve bands. The signature of the task's numbers is hashed into every band, so tasks that differ in a
number never meet.

Texts of Jaccard similarity J share a band with probability 1 - (1 - J^4)^12: 0.963 at 0.7, 0.998 at 0.8. Averaged over
edits of 1 to 15 % in English word problems: 0.995 of the pairs from 0.7 up, 0.9996 from 0.8 up. Ten bands find 0.988
of the former. Without blanks a text has a fifth fewer shingles and an edit spoils as many: 0.985. Bands of three find
more, and sixteen times as many strangers: a million tasks without numbers would fill their buckets.

Stored bands depend on every constant here: whoever changes one raises BANDS_VERSION.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BANDS_VERSION = 1
BANDS = 12
ROWS = 4
SHINGLE = 5  # characters
SHINGLE_CJK = 3
BLOCK_CHARACTERS = 1 << 16  # arrays of 256 kB stay in the second-level cache; a longer text is a block of its own

_U32 = NDArray[np.uint32]
_U64 = NDArray[np.uint64]
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_CJK = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))


def _splitmix(seed: int, count: int) -> list[int]:
    """Steele, Lea and Flood, 2014. Constants of our own: numpy's generators may change between versions."""
    found = []
    for step in range(1, count + 1):
        z = (seed + step * _GOLDEN) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        found.append(z ^ (z >> 31))
    return found


_CHARACTER_FACTORS = [np.uint32(z & 0xFFFFFFFF | 1) for z in _splitmix(2, SHINGLE)]
_PERMUTATIONS = [
    (np.uint32(z >> 32), np.uint32(z & 0xFFFFFFFF | 1)) for z in _splitmix(1, BANDS * ROWS)
]  # (b, a) of (x ^ b) * a
_BAND_SEEDS = np.array(_splitmix(3, BANDS), dtype=np.uint64)


def bands(folded: Sequence[str], number_signatures: Sequence[int]) -> NDArray[np.uint64]:
    """(n, BANDS): equal values at the same place are a shared band. The same on every machine, and for every split of a
    sequence into calls. Memory: ten arrays of the longest text's length or of a block's, and 0.3 kB a text.
    """
    signatures = np.asarray(number_signatures, dtype=np.uint64)
    if len(folded) != len(signatures):
        raise ValueError("As many number signatures as texts, please.")
    minima_p_n = np.empty((BANDS * ROWS, len(folded)), dtype=np.uint32)
    for start, stop in _blocks(folded):
        _minima(folded[start:stop], minima_p_n[:, start:stop])
    return _banded(minima_p_n, signatures)


def _blocks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    start = size = 0
    for at, text in enumerate(texts):
        size += len(text) + SHINGLE
        if size > BLOCK_CHARACTERS and at > start:
            yield start, at
            start, size = at, len(text) + SHINGLE
    if start < len(texts):
        yield start, len(texts)


def _minima(texts: Sequence[str], minima_p_n: _U32) -> None:
    """Write the least value of every permutation (p) over the shingles of every text (n)."""
    shingles, starts = _shingles(texts)
    permuted = np.empty_like(shingles)
    for row, (flip, factor) in enumerate(_PERMUTATIONS):
        np.bitwise_xor(shingles, flip, out=permuted)
        np.multiply(permuted, factor, out=permuted)
        np.minimum.reduceat(permuted, starts, out=minima_p_n[row])


def _shingles(texts: Sequence[str]) -> tuple[_U32, NDArray[np.intp]]:
    """Hashes of the shingles of all texts, one text after the other, and where each text's begin.

    Every text is followed by NULs, which no text holds: one that is shorter than a shingle is a shingle with them.
    """
    tail = "\0" * SHINGLE
    codes = np.frombuffer((tail.join(texts) + tail).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    codes = codes.astype(np.uint32, copy=False)
    lengths_n = np.fromiter(map(len, texts), dtype=np.intp, count=len(texts))
    padded_n = lengths_n + len(tail)
    begins_n = np.cumsum(padded_n) - padded_n

    hashes = _hashed(codes, SHINGLE)
    widths_n = np.full(len(texts), SHINGLE)
    if (cjk_n := _mostly_cjk(codes, begins_n, lengths_n)) is not None:
        hashes = np.where(np.repeat(cjk_n, padded_n), _hashed(codes, SHINGLE_CJK), hashes)
        widths_n[cjk_n] = SHINGLE_CJK

    counts_n = np.maximum(lengths_n - widths_n + 1, 1)
    steps = np.zeros(len(codes) + 1, dtype=np.int8)  # +1 where a text's shingles begin, -1 behind its last one
    np.add.at(steps, begins_n, 1)
    np.add.at(steps, begins_n + counts_n, -1)
    kept = np.cumsum(steps[:-1], dtype=np.int8).view(np.bool_)
    return hashes[kept], np.cumsum(counts_n) - counts_n


def _hashed(codes: _U32, width: int) -> _U32:
    """A hash of the characters from every place on; zeros stand behind the end."""
    hashes = codes * _CHARACTER_FACTORS[0]
    for place in range(1, width):
        hashes[:-place] += codes[place:] * _CHARACTER_FACTORS[place]
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):  # Wellons' lowbias32
        hashes ^= hashes >> np.uint32(shift)
        hashes *= np.uint32(factor)
    hashes ^= hashes >> np.uint32(16)
    return hashes


def _mostly_cjk(codes: _U32, begins_n: NDArray[np.intp], lengths_n: NDArray[np.intp]) -> NDArray[np.bool_] | None:
    """Which texts are; None where none of them has such a character."""
    if codes.max() < _CJK[0][0]:
        return None
    cjk = np.zeros(len(codes), dtype=np.bool_)
    for first, last in _CJK:
        cjk |= (codes >= np.uint32(first)) & (codes <= np.uint32(last))
    most_n: NDArray[np.bool_] = np.add.reduceat(cjk, begins_n, dtype=np.int64) * 2 > lengths_n
    return most_n if most_n.any() else None


def _banded(minima_p_n: _U32, signatures_n: _U64) -> _U64:
    pairs = minima_p_n.astype(np.uint64).reshape(BANDS, ROWS // 2, 2, -1)
    pairs_b_r_n = pairs[:, :, 0] | (pairs[:, :, 1] << np.uint64(32))
    hashes_b_n = _mixed(signatures_n[np.newaxis, :] ^ _BAND_SEEDS[:, np.newaxis])
    for row in range(ROWS // 2):
        hashes_b_n = _mixed(hashes_b_n ^ pairs_b_r_n[:, row])
    return np.ascontiguousarray(hashes_b_n.T)


def _mixed(values: _U64) -> _U64:
    """The finaliser of splitmix64, a bijection."""
    values = (values + np.uint64(_GOLDEN)).astype(np.uint64, copy=False)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
