"""One sorted run of band hashes on disk: who has which band, found by bisection in a mapped file; and their sketches.

Layout, little endian: a header of 64 bytes; `room` hashes (u64, ascending); `room` ids (u32, counted from the header's
base); a Bloom filter; the ids of the run's `tasks`, ascending; their sketches. Only `entries` of the room are written,
the rest is a hole in the file. Most hashes asked for are in no run: the filter says so for 97 of 100, and neither
hashes nor ids are touched. Its word is chosen by a hash's leading bits, three bits of the word by its last ones:
ascending hashes walk through the filter once.

Of every hash the first KEPT ids are kept. A bucket with more than LIMIT members says nothing, so what a run forgets
cannot change an answer, and a template with a million instances costs as much as one with forty.
"""

import mmap
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from tasks.dedup.signature import SKETCH_WORDS

LIMIT = 32  # members up to which a bucket names copies; beyond, it is a template
KEPT = LIMIT + 1
MERGED_AT_ONCE = 1 << 19  # entries: 6 MB of the files
SEARCHED_AT_ONCE = 1 << 20  # entries: what is looked at is memory of this process until it is released

_MAGIC = b"FWBANDS\x02"
_HEADER = struct.Struct("<8sQQqQQQ")  # magic, entries, room, base, checksum, log2 of filter words, tasks
_HEADER_BYTES = 64  # with its checksum
_SKETCH_BYTES = 8 * SKETCH_WORDS
_FILTER_ENTRIES_PER_WORD = 8  # at most: 8 to 16 bits an entry

_U64 = NDArray[np.uint64]
_U32 = NDArray[np.uint32]
_Places = NDArray[np.intp]


class Damaged(Exception):
    """The file is not what its writer wrote."""


class Found(NamedTuple):
    """Which of the probes asked for are in a run, and where their ids stand."""

    probes: _Places  # places in the array of probes, ascending
    lefts: _Places  # place of the first id
    counts: _Places  # number of ids, at least 1


class Sketches(NamedTuple):
    """Of the tasks of a run."""

    ids: _U32  # ascending
    words_n: _U64  # (n, SKETCH_WORDS)


class Run:
    """A run opened for reading. Its pages are the kernel's: `release` keeps them from counting as this process's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            if len(header) < _HEADER_BYTES or xxhash.xxh3_64_intdigest(header[:-8]) != _last_word(header):
                raise Damaged(path.name)
            magic, self.entries, room, self.base, self._checksum, self._word_bits, tasks = _HEADER.unpack(
                header[: _HEADER.size]
            )
            filter_at = _HEADER_BYTES + 12 * room
            tasks_at = filter_at + (8 << self._word_bits)
            if magic != _MAGIC or path.stat().st_size != tasks_at + (4 + _SKETCH_BYTES) * tasks:
                raise Damaged(path.name)
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self.hashes: _U64 = np.frombuffer(self._map, "<u8", self.entries, _HEADER_BYTES)
        self.ids: _U32 = np.frombuffer(self._map, "<u4", self.entries, _HEADER_BYTES + 8 * room)
        self._filter: _U64 = np.frombuffer(self._map, "<u8", 1 << self._word_bits, filter_at)
        words = np.frombuffer(self._map, "<u8", SKETCH_WORDS * tasks, tasks_at + 4 * tasks)
        self.sketches = Sketches(np.frombuffer(self._map, "<u4", tasks, tasks_at), words.reshape(tasks, SKETCH_WORDS))

    def verify(self) -> None:
        """Read all of it once: after a power cut a file can have its size and a hole where its data was."""
        sums = []
        words = self.sketches.words_n.reshape(-1)
        for section in (self.hashes, self.ids, self._filter, self.sketches.ids, words):
            digest = xxhash.xxh3_64()
            for start in range(0, len(section), SEARCHED_AT_ONCE):
                digest.update(section[start : start + SEARCHED_AT_ONCE].data)
                self.release()
            sums.append(digest)
        if _combined(sums) != self._checksum:
            raise Damaged(self.path.name)

    def release(self) -> None:
        self._map.madvise(mmap.MADV_DONTNEED)

    def find(self, probes: _U64) -> Found:
        """Look up ascending hashes, part by part of the file, so that memory does not grow with it."""
        parts = _parts(self.entries, SEARCHED_AT_ONCE)
        found = []
        for asked, held in zip(_stretches(probes, parts), _stretches(self.hashes, parts), strict=True):
            found.append(self._find(probes, asked, held))
            self.release()
        return Found(*(np.concatenate(columns) for columns in zip(*found, strict=True)))

    def sketch(self, ids: NDArray[np.int64], words_n: _U64) -> None:
        """Write the sketches of those of these tasks that are in the run, at their places."""
        if len(held := self.sketches.ids):
            places = np.minimum(np.searchsorted(held, ids - self.base), len(held) - 1)
            here = held[places] == ids - self.base
            words_n[here] = self.sketches.words_n[places[here]]
            self.release()

    def _find(self, probes: _U64, asked: slice, held: slice) -> Found:
        wanted, hashes = probes[asked], self.hashes[held]
        bits = _filter_bits(wanted)
        likely = np.flatnonzero(self._filter[wanted >> np.uint64(64 - self._word_bits)] & bits == bits)
        lefts = np.searchsorted(hashes, wanted[likely])
        inside = lefts < len(hashes)
        likely, lefts = likely[inside], lefts[inside]
        equal = hashes[lefts] == wanted[likely]
        likely, lefts = likely[equal], lefts[equal]
        rights = np.searchsorted(hashes, wanted[likely], side="right")
        return Found(likely + asked.start, lefts + held.start, rights - lefts)


def write(path: Path, hashes: _U64, ids: _U32, base: int, sketches: Sketches) -> None:
    """Write a run from entries in any order of hashes; of equal hashes the first ones count as the oldest."""
    order = np.argsort(hashes, kind="stable")
    _write(path, len(hashes), base, 1, iter([(hashes[order], ids[order])]), [sketches])


def merge(path: Path, runs: Sequence[Run]) -> None:
    """Write one run from several, oldest first, with the same base."""
    room = sum(run.entries for run in runs)
    parts = _parts(room, MERGED_AT_ONCE)
    _write(path, room, runs[0].base, parts, _merged(runs, parts), [run.sketches for run in runs])
    for run in runs:
        run.release()


def _merged(runs: Sequence[Run], parts: int) -> Iterator[tuple[_U64, _U32]]:
    starts = [0] * len(runs)
    for bound in [*_bounds(parts), None]:
        stops = [run.entries if bound is None else int(np.searchsorted(run.hashes, bound)) for run in runs]
        pieces = [(run, slice(start, stop)) for run, start, stop in zip(runs, starts, stops, strict=True)]
        hashes = np.concatenate([run.hashes[piece] for run, piece in pieces])
        ids = np.concatenate([run.ids[piece] for run, piece in pieces])
        starts = stops
        for run in runs:
            run.release()
        order = np.argsort(hashes, kind="stable")  # of sorted stretches: a merge
        yield hashes[order], ids[order]


def _write(
    path: Path,
    room: int,
    base: int,
    parts: int,
    sorted_parts: Iterator[tuple[_U64, _U32]],
    sketches: Sequence[Sketches],
) -> None:
    """Parts are equal stretches of the hash space, so each fills a stretch of the filter of its own."""
    word_bits = max((room // _FILTER_ENTRIES_PER_WORD).bit_length(), parts.bit_length(), 1)
    words = (1 << word_bits) // parts
    tasks = sum(len(some.ids) for some in sketches)
    sums = [xxhash.xxh3_64() for _ in range(5)]
    filter_at = _HEADER_BYTES + 12 * room
    tasks_at = filter_at + (8 << word_bits)
    offsets = [_HEADER_BYTES, _HEADER_BYTES + 8 * room, filter_at, tasks_at, tasks_at + 4 * tasks]
    entries = 0
    with path.open("xb") as file:
        for part, (hashes, ids) in enumerate(sorted_parts):
            kept = _first_of_each(hashes)
            hashes, ids = hashes[kept], ids[kept]
            places = (hashes >> np.uint64(64 - word_bits)) - np.uint64(part * words)
            sections = (hashes.astype("<u8"), ids.astype("<u4"), _filter_words(hashes, places, words).astype("<u8"))
            for which, section in enumerate(sections):
                _put(file, offsets, which, section.tobytes(), sums[which])
            entries += len(hashes)
        for some in sketches:
            _put(file, offsets, 3, some.ids.astype("<u4").tobytes(), sums[3])
            _put(file, offsets, 4, some.words_n.astype("<u8").tobytes(), sums[4])
        header = _HEADER.pack(_MAGIC, entries, room, base, _combined(sums), word_bits, tasks)
        file.seek(0)
        file.write(header + struct.pack("<Q", xxhash.xxh3_64_intdigest(header)))


def _filter_bits(hashes: _U64) -> _U64:
    bits = np.zeros(len(hashes), dtype=np.uint64)
    for shift in (0, 6, 12):
        bits |= np.uint64(1) << (hashes >> np.uint64(shift) & np.uint64(63))
    return bits


def _filter_words(hashes: _U64, places: _U64, words: int) -> _U64:
    filled = np.zeros(words, dtype=np.uint64)
    if len(hashes):
        begins = np.flatnonzero(np.diff(places, prepend=places[0] + np.uint64(1)))
        filled[places[begins]] = np.bitwise_or.reduceat(_filter_bits(hashes), begins)
    return filled


def _put(file: BinaryIO, offsets: list[int], which: int, data: bytes, digest: xxhash.xxh3_64) -> None:
    file.seek(offsets[which])
    file.write(data)
    offsets[which] += len(data)
    digest.update(data)


def _first_of_each(hashes: _U64) -> NDArray[np.bool_]:
    """False from the KEPT-th repetition of a value on, in ascending values."""
    kept = np.ones(len(hashes), dtype=np.bool_)
    kept[KEPT:] = hashes[KEPT:] != hashes[:-KEPT]
    return kept


def _parts(entries: int, at_once: int) -> int:
    """A power of two, so that parts are whole words of the filter."""
    return 1 << (entries // at_once).bit_length()


def _stretches(hashes: _U64, parts: int) -> list[slice]:
    """Where ascending hashes fall into equal parts of the hash space."""
    edges = [0, *np.searchsorted(hashes, _bounds(parts)).tolist(), len(hashes)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _bounds(parts: int) -> _U64:
    """Where the parts of the hash space after the first begin."""
    return np.array([(part << 64) // parts for part in range(1, parts)], dtype=np.uint64)


def _combined(sums: Sequence[xxhash.xxh3_64]) -> int:
    return xxhash.xxh3_64_intdigest(b"".join(digest.digest() for digest in sums))


def _last_word(header: bytes) -> int:
    return int.from_bytes(header[-8:], "little")
