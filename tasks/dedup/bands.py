"""Which older tasks share a band with the rows of a chunk: those stored, from sorted runs on disk, and those before it.

The rule does not depend on how an upload is cut into chunks. Older are the stored tasks and the earlier rows of the
chunk that become tasks. A bucket counts for a row while it has at most LIMIT older members; more of them are instances
of a template. Of the members of the counting buckets the SHORTLIST that share most bands go on, the oldest first among
equals; and of these the ones whose sketches agree with the row's: the others share a band by chance.

Rows come as their signatures, (n, WORDS): bands and sketch. `BandIndex` is a cache of one space's `Task.bands`, for all
processes of a machine: the folder can be deleted at any time, and damaged files are answered as if it had been.
"""

import fcntl
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from tasks.dedup import runs
from tasks.dedup.runs import LIMIT, Damaged, Found, Run, Sketches
from tasks.dedup.signature import BANDS, BANDS_VERSION, SKETCH_WORDS, WORDS, alike

SHORTLIST = 8
FAN_IN = 8  # runs of a tier that become one of the next
FIRST_TIER_ENTRIES = 1 << 18  # a chunk of 20,000 rows is in the first tier
PAIRS_AT_ONCE = 1 << 19  # before they are counted: 8 bytes each, four times over
MOST_IDS = 1 << 32  # a run's ids are 32-bit distances from the first task of the space

_U64 = NDArray[np.uint64]
_Ids = NDArray[np.int64]
_Counts_n_b = NDArray[np.int64]
_Mask_n_b = NDArray[np.bool_]


class Pairs(NamedTuple):
    """Rows and the older ones that they share bands with: by row, then by shared bands downwards, then by age."""

    rows: _Ids  # place in the chunk
    others: _Ids  # id of a stored task, or place of an earlier row in the chunk
    shared: NDArray[np.int64]  # bands in common, of those that count


class Older(NamedTuple):
    """The candidates of a chunk's rows, SHORTLIST each at most: by row, then by shared bands downwards, then by age."""

    rows: _Ids
    others: _Ids
    in_chunk: NDArray[np.bool_]  # whether the other is an earlier row of the chunk, or a stored task
    shared: NDArray[np.int64]


class _Members(NamedTuple):
    """Older members of some buckets: for a probe (row * BANDS + band) those at others[left : left + count]."""

    probes: _Ids
    lefts: _Ids
    counts: _Ids
    others: NDArray[np.integer]
    base: int


class _Entry(msgspec.Struct, frozen=True):
    name: str
    entries: int


class _Manifest(msgspec.Struct, frozen=True):
    version: int = BANDS_VERSION
    bands: int = BANDS
    watermark: int = 0
    base: int = 0
    runs: tuple[_Entry, ...] = ()  # oldest first


class _Sealed(msgspec.Struct, frozen=True):
    check: str  # hex xxh3 of the manifest's bytes
    manifest: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Stored:
    """What an index knows of a chunk's bands."""

    sizes: _Counts_n_b
    members: tuple[_Members, ...]
    runs: tuple[Run, ...]

    def sketches(self, tasks: _Ids) -> _U64:
        """(n, SKETCH_WORDS) of tasks that were found."""
        words_n = np.zeros((len(tasks), SKETCH_WORDS), dtype=np.uint64)
        for run in self.runs:
            run.sketch(tasks, words_n)
        return words_n

    def pairs(self, counting: _Mask_n_b) -> Pairs:
        return _shortlist(self.members, counting)


@dataclass(frozen=True, slots=True)
class Within:
    """What a chunk's rows know of the rows before them."""

    sizes: _Counts_n_b
    members: _Members

    def pairs(self, counting: _Mask_n_b) -> Pairs:
        return _shortlist([self.members], counting)


def older(index: "BandIndex", signatures: _U64, kept: NDArray[np.bool_]) -> Older:
    """Everything that the rows of a chunk have before them; `kept`: which rows become tasks."""
    sorted_probes = _sorted(signatures)
    stored, earlier = index.lookup(signatures, sorted_probes), within(signatures, kept, sorted_probes)
    counting = stored.sizes + earlier.sizes <= LIMIT
    found = [stored.pairs(counting), earlier.pairs(counting)]
    rows, others, shared = (np.concatenate(columns) for columns in zip(*found, strict=True))
    in_chunk = np.repeat([False, True], [len(pairs.rows) for pairs in found])
    order = np.lexsort((others, in_chunk, -shared, rows))
    best = order[_ranks(rows[order]) < SHORTLIST]
    rows, others, in_chunk = rows[best], others[best], in_chunk[best]
    sketches = np.empty((len(rows), SKETCH_WORDS), dtype=np.uint64)
    sketches[in_chunk] = signatures[others[in_chunk], BANDS:]
    sketches[~in_chunk] = stored.sketches(others[~in_chunk])
    worth = alike(signatures[rows, BANDS:], sketches)
    return Older(rows[worth], others[worth], in_chunk[worth], shared[best][worth])


def within(signatures: _U64, kept: NDArray[np.bool_], sorted_probes: tuple[_Ids, _U64] | None = None) -> Within:
    """For every row and band the kept rows before it that have the same: how many, and which."""
    order, hashes = _sorted(signatures) if sorted_probes is None else sorted_probes
    kept_sorted = kept[order // BANDS]
    before: _Ids = np.cumsum(kept_sorted) - kept_sorted  # kept probes anywhere before
    begins = np.ones(len(hashes), dtype=np.bool_)
    begins[1:] = hashes[1:] != hashes[:-1]
    lefts = np.maximum.accumulate(np.where(begins, before, 0))
    counts = before - lefts
    sizes = np.empty(len(hashes), dtype=np.int64)
    sizes[order] = counts
    some = counts > 0
    rows = (order // BANDS)[kept_sorted]
    return Within(sizes.reshape(-1, BANDS), _Members(order[some], lefts[some], counts[some], rows, 0))


class BandIndex:
    def __init__(self, folder: Path) -> None:
        """The folder is created. One object per process and thread; several may use one folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._manifest = _Manifest()
        self._runs: tuple[Run, ...] = ()
        self._seen = b""  # the manifest as last read

    @property
    def watermark(self) -> int:
        """The last task id covered; 0: none. It can fall, where files were lost."""
        self._refresh()
        return self._manifest.watermark

    def lookup(self, signatures: _U64, sorted_probes: tuple[_Ids, _U64] | None = None) -> Stored:
        """Probe all runs in the order of their hashes. The answer holds what it needs, whatever is merged meanwhile."""
        self._refresh()
        order, hashes = _sorted(signatures) if sorted_probes is None else sorted_probes
        sizes = np.zeros(len(hashes), dtype=np.int64)
        members = []
        for run in self._runs:
            found: Found = run.find(hashes)
            sizes[found.probes] += found.counts
            if len(found.probes):
                members.append(_Members(order[found.probes], found.lefts, found.counts, run.ids, run.base))
        sizes_n_b = np.empty_like(sizes)
        sizes_n_b[order] = sizes
        return Stored(sizes_n_b.reshape(-1, BANDS), tuple(members), self._runs)

    def extend(self, ids: _Ids, signatures: _U64, *, after: int) -> int:
        """Add all tasks of the space with an id above `after`, up to the last one given, and return the watermark.

        What another process has added meanwhile is left out. Where the index has been lost meanwhile and covers less
        than `after`, nothing is added: go on from the watermark that this returns. Ids ascend. A chunk's worth a call:
        a call takes 0.5 kB a task.
        """
        with self._locked():
            self._refresh()
            fresh = ids > self._manifest.watermark
            if after <= self._manifest.watermark and fresh.any():
                self._extend(ids[fresh], signatures[fresh])
            return self._manifest.watermark

    def _extend(self, ids: _Ids, signatures: _U64) -> None:
        base = self._manifest.base if self._runs else int(ids[0])
        watermark = int(ids[-1])
        if watermark - base >= MOST_IDS:
            raise ValueError(f"Task ids of a space may span {MOST_IDS} at most.")
        path = self._new_path(watermark)
        own = (ids - base).astype(np.uint32)
        sketches = Sketches(own, signatures[:, BANDS:])
        runs.write(path, signatures[:, :BANDS].reshape(-1), np.repeat(own, BANDS), base, sketches)
        added = [*self._runs, Run(path)]
        while (due := _due([run.entries for run in added])) > 1:
            path = self._new_path(watermark)
            runs.merge(path, added[-due:])
            added[-due:] = [Run(path)]
        self._runs = tuple(added)
        entries = tuple(_Entry(run.path.name, run.entries) for run in added)
        self._publish(_Manifest(watermark=watermark, base=base, runs=entries))

    def _new_path(self, watermark: int) -> Path:
        return self.folder / f"{watermark:019d}-{secrets.token_hex(8)}.run"

    def _publish(self, manifest: _Manifest) -> None:
        """Switch, then drop what no manifest names, a killed writer's too. Readers keep what they have open."""
        content = msgspec.json.encode(manifest)
        draft = self.folder / "manifest.new"
        sealed = _Sealed(xxhash.xxh3_64_hexdigest(content), msgspec.Raw(content))
        self._manifest, self._seen = manifest, msgspec.json.encode(sealed)
        draft.write_bytes(self._seen)
        draft.replace(self._manifest_path)
        named = {entry.name for entry in manifest.runs}
        for path in self.folder.glob("*.run"):
            if path.name not in named:
                path.unlink(missing_ok=True)

    @property
    def _manifest_path(self) -> Path:
        return self.folder / "manifest.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _content(self) -> bytes:
        try:
            return self._manifest_path.read_bytes()
        except FileNotFoundError:
            return b""

    def _refresh(self) -> None:
        """Open what the manifest names, if it has changed. Where a run is missing, a writer may have merged it."""
        while (content := self._content()) != self._seen:
            try:
                self._manifest, self._runs = self._opened(content)
            except (OSError, ValueError, Damaged):
                if content != self._content():
                    continue
                self._manifest, self._runs = _Manifest(), ()
            self._seen = content

    def _opened(self, content: bytes) -> tuple[_Manifest, tuple[Run, ...]]:
        sealed = msgspec.json.decode(content, type=_Sealed)
        if sealed.check != xxhash.xxh3_64_hexdigest(bytes(sealed.manifest)):
            raise Damaged("manifest.json")
        manifest = msgspec.json.decode(sealed.manifest, type=_Manifest)
        if (manifest.version, manifest.bands) != (BANDS_VERSION, BANDS):
            raise Damaged("manifest.json")
        open_runs = {run.path.name: run for run in self._runs}
        return manifest, tuple(open_runs.get(entry.name) or self._verified(entry) for entry in manifest.runs)

    def _verified(self, entry: _Entry) -> Run:
        run = Run(self.folder / entry.name)
        run.verify()
        if run.entries != entry.entries:
            raise Damaged(entry.name)
        return run


def _due(entries: Sequence[int]) -> int:
    """How many of the newest runs to merge: all that are in the last one's tier or below, if they are FAN_IN."""
    tiers = [_tier(count) for count in entries]
    trailing = 0
    while trailing < len(tiers) and tiers[-1 - trailing] <= tiers[-1]:
        trailing += 1
    return trailing if trailing >= FAN_IN else 0


def _tier(entries: int) -> int:
    tier = 0
    while entries >= FIRST_TIER_ENTRIES * FAN_IN**tier:
        tier += 1
    return tier


def _sorted(signatures: _U64) -> tuple[_Ids, _U64]:
    """Probes in the order of their hashes, earlier rows first among equals: places (row * BANDS + band) and hashes."""
    if signatures.ndim != 2 or signatures.shape[1] != WORDS:
        raise ValueError(f"Signatures come as (rows, {WORDS}).")
    flat = np.ascontiguousarray(signatures[:, :BANDS], dtype=np.uint64).reshape(-1)
    order = np.argsort(flat, kind="stable")
    return order, flat[order]


def _shortlist(members: Sequence[_Members], counting: _Mask_n_b) -> Pairs:
    """Count shared bands over all sources, some rows at a time: a row may have BANDS * LIMIT pairs."""
    wanted = counting.reshape(-1)
    chosen = [_only(found, wanted[found.probes]) for found in members]
    load = np.zeros(len(counting), dtype=np.int64)
    for found in chosen:
        load += np.bincount(found.probes // BANDS, weights=found.counts, minlength=len(counting)).astype(np.int64)
    block_of_row = np.cumsum(load) // PAIRS_AT_ONCE
    blocks = []
    for block in np.unique(block_of_row[load > 0]):
        inside = [_only(found, block_of_row[found.probes // BANDS] == block) for found in chosen]
        blocks.append(_counted(inside))
    if not blocks:
        nothing = np.zeros(0, dtype=np.int64)
        return Pairs(nothing, nothing, nothing)
    return Pairs(*(np.concatenate(columns) for columns in zip(*blocks, strict=True)))


def _only(found: _Members, mask: NDArray[np.bool_]) -> _Members:
    return found._replace(probes=found.probes[mask], lefts=found.lefts[mask], counts=found.counts[mask])


def _counted(members: Sequence[_Members]) -> Pairs:
    base = min((found.base for found in members), default=0)
    keys = np.concatenate([_keys(found, base) for found in members])
    keys, shared = np.unique(keys, return_counts=True)
    rows, others = (keys >> np.uint64(32)).astype(np.int64), (keys & np.uint64(MOST_IDS - 1)).astype(np.int64) + base
    order = np.lexsort((others, -shared, rows))
    rows, others, shared = rows[order], others[order], shared[order]
    best = _ranks(rows) < SHORTLIST
    return Pairs(rows[best], others[best], shared[best].astype(np.int64))


def _ranks(rows: _Ids) -> _Ids:
    """Place of each among the equal ones, of ascending rows."""
    return np.arange(len(rows)) - np.searchsorted(rows, rows)


def _keys(found: _Members, base: int) -> _U64:
    """(row, other) of every pair as one number."""
    ends = np.cumsum(found.counts)
    places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(found.lefts - (ends - found.counts), found.counts)
    others = found.others[places].astype(np.uint64) + np.uint64(found.base - base)
    rows = np.repeat(found.probes // BANDS, found.counts).astype(np.uint64)
    keys: _U64 = (rows << np.uint64(32)) | others
    return keys
