"""MinHash signature of a text: bands, of which two tasks share one where they may be alike and hold the same numbers,
and a sketch, by which most of those that share one by chance are told before any text is read.

Shingles: 5 characters, blanks among them; 3 where most characters are Chinese, Japanese or Korean; the whole text where
it is shorter. Commas, full stops, quotes and the like do not count: a copy with other punctuation has other keys, and
must meet its original here. 48 permutations x -> (x ^ b) * a modulo 2^32 (a odd), the least of each over the text's
shingles, four of them a band, twelve bands. The signature of the task's numbers is hashed into every band, so tasks
that differ in a number never meet.

Texts of Jaccard similarity J share a band with probability 1 - (1 - J^4)^12: 0.963 at 0.7, 0.998 at 0.8. Averaged over
edits of 1 to 15 % in English word problems: 0.995 of the pairs from 0.7 up, 0.9996 from 0.8 up. Ten bands find 0.988
of the former. Without blanks a text has a fifth fewer shingles and an edit spoils as many: 0.985. Bands of three find
more, and sixteen times as many strangers: a million tasks without numbers would fill their buckets.

The sketch is the lowest four bits of every minimum (Li and Koenig, b-bit minwise hashing, 2010). Texts of similarity J
agree in J + (1 - J) / 16 of the 48 on average: AGREEING is half way down from 0.7. With 200,000 tasks stored, of 12,700
pairs that share a band 2,679 were alike as texts; 2,640 go on, and one in fifty of those alike does not, none of them
of a similarity of 0.7 or more. They are instances of a template that hold the same numbers by chance.

Stored signatures depend on every constant here: whoever changes one raises BANDS_VERSION, and
tasks.text.NORM_VERSION with it: that is what tells which rows have to be computed anew (tasks.services.rekeying).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BANDS_VERSION = 2
BANDS = 12
ROWS = 4
BAND_BYTES = 6  # of a band as it is stored: among ten million tasks two others share one by chance in 1 of 10^6 rows
SKETCH_WORDS = 3  # of 64 bits, 16 minima each
WORDS = BANDS + SKETCH_WORDS
STORED_BYTES = BANDS * BAND_BYTES + SKETCH_WORDS * 8
AGREEING = 25  # minima of 48 in which two sketches agree that are worth comparing as texts
SHINGLE = 5  # characters
SHINGLE_CJK = 3
BLOCK_CHARACTERS = 1 << 16  # arrays of 256 kB stay in the second-level cache; a longer text is a block of its own

PUNCTUATION = ",.;:!?'\"-"  # as tasks.text folds it; what stands in a number is in the number's signature

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


def signatures(folded: Sequence[str], number_signatures: Sequence[int]) -> NDArray[np.uint64]:
    """(n, WORDS): BANDS hashes, of which equal ones at the same place are a shared band, and the sketch. The same on
    every machine, and for every split of a sequence into calls. Memory: ten arrays of the longest text's length or of
    a block's, and 0.4 kB a text.
    """
    numbers = np.asarray(number_signatures, dtype=np.uint64)
    if len(folded) != len(numbers):
        raise ValueError("As many number signatures as texts, please.")
    minima_p_n = np.empty((BANDS * ROWS, len(folded)), dtype=np.uint32)
    for start, stop in _blocks(folded):
        _minima(folded[start:stop], minima_p_n[:, start:stop])
    return np.concatenate([_banded(minima_p_n, numbers), _sketched(minima_p_n)], axis=1)


def bands(folded: Sequence[str], number_signatures: Sequence[int]) -> NDArray[np.uint64]:
    """(n, BANDS): the signatures without their sketches."""
    return np.ascontiguousarray(signatures(folded, number_signatures)[:, :BANDS])


def alike(one_n: _U64, other_n: _U64) -> NDArray[np.bool_]:
    """Which pairs of sketches, (n, SKETCH_WORDS) each, agree well enough for their texts to be compared."""
    unlike = one_n ^ other_n
    unlike |= unlike >> np.uint64(2)
    unlike |= unlike >> np.uint64(1)
    unlike &= np.uint64(0x1111111111111111)  # a bit for each minimum that differs
    differing = np.unpackbits(unlike.view(np.uint8), axis=1).sum(axis=1)
    worth: NDArray[np.bool_] = differing <= BANDS * ROWS - AGREEING
    return worth


def packed(signatures_n: _U64) -> NDArray[np.uint8]:
    """(n, WORDS) as it is stored: (n, STORED_BYTES)."""
    stored = signatures_n.astype("<u8").view(np.uint8).reshape(-1, WORDS, 8)
    bands = stored[:, :BANDS, 8 - BAND_BYTES :].reshape(-1, BANDS * BAND_BYTES)
    return np.concatenate([bands, stored[:, BANDS:].reshape(-1, SKETCH_WORDS * 8)], axis=1)


def unpacked(stored: bytes) -> _U64:
    """Stored signatures, one behind the other, as (n, WORDS)."""
    raw = np.frombuffer(stored, dtype=np.uint8).reshape(-1, STORED_BYTES)
    words = np.zeros((len(raw), WORDS, 8), dtype=np.uint8)
    words[:, :BANDS, 8 - BAND_BYTES :] = raw[:, : BANDS * BAND_BYTES].reshape(len(raw), BANDS, BAND_BYTES)
    words[:, BANDS:] = raw[:, BANDS * BAND_BYTES :].reshape(len(raw), SKETCH_WORDS, 8)
    signatures_n = words.reshape(-1, WORDS * 8).view("<u8").astype(np.uint64)
    signatures_n[:, :BANDS] = _filled(signatures_n[:, :BANDS])
    return signatures_n


def _filled(bands: _U64) -> _U64:
    """The lowest bits follow from those that are stored: a hash of 64 bits with equal chances for all of them."""
    low = np.uint64((1 << (64 - 8 * BAND_BYTES)) - 1)
    high = bands & ~low
    return high | (_mixed(high) & low)


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
    kept = _unpunctuated(codes)
    padded_n = np.add.reduceat(kept, np.cumsum(padded_n) - padded_n, dtype=np.intp)
    codes, lengths_n = codes[kept], padded_n - len(tail)
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
    inside = np.cumsum(steps[:-1], dtype=np.int8).view(np.bool_)
    return hashes[inside], np.cumsum(counts_n) - counts_n


_COUNTS = np.ones(128, dtype=np.bool_)
_COUNTS[[ord(sign) for sign in PUNCTUATION]] = False


def _unpunctuated(codes: _U32) -> NDArray[np.bool_]:
    """Which characters count, and one blank where several would then stand together; none at a text's ends."""
    counting = _COUNTS[np.minimum(codes, np.uint32(127))]
    places = np.flatnonzero(counting)
    left = codes[places]
    blank, behind = left == 32, np.append(left[1:], np.uint32(0))
    before = np.append(np.uint32(0), left[:-1])
    counting[places[blank & ((behind == 32) | (behind == 0) | (before == 0))]] = False
    return counting


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
    return np.ascontiguousarray(_filled(hashes_b_n).T)


def _sketched(minima_p_n: _U32) -> _U64:
    """(n, SKETCH_WORDS): the lowest four bits of every minimum, 16 to a word."""
    nibbles = (minima_p_n & np.uint32(15)).astype(np.uint64).reshape(SKETCH_WORDS, 16, -1)
    shifts = np.arange(0, 64, 4, dtype=np.uint64).reshape(1, 16, 1)
    return np.ascontiguousarray(np.bitwise_or.reduce(nibbles << shifts, axis=1).T)


def _mixed(values: _U64) -> _U64:
    """The finaliser of splitmix64, a bijection."""
    values = (values + np.uint64(_GOLDEN)).astype(np.uint64, copy=False)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
