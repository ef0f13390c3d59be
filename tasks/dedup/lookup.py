"""Which items of the suites come into question for a row: those that share rare grams or a band with it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.dedup import grams
from tasks.dedup.grams import Places, Words
from tasks.dedup.lists import Lists, among, most_named

MOST_CANDIDATES = 16  # items looked at closely for one row: those with most rare grams or bands in common
REVIEW_SHARE = 0.5  # of an item's grams


class Tables(NamedTuple):
    """All that is known of the items besides their texts. Hashes stand in it as the bits of signed numbers."""

    lengths: Places  # of the grams in use, in tokens
    asked: Places  # where in an item's text that begins which is looked for inside others
    known: Places  # gram hashes, ascending
    gram_offsets: Places  # item → its grams
    item_grams: Places
    rare_offsets: Places  # gram → items that have it among their rarest (see suites)
    rare_items: Places
    bands: Places  # band hashes, ascending
    band_offsets: Places  # band → items that have it
    band_items: Places
    words: Places  # hashes of single tokens, ascending
    word_items: Places  # how many items have each
    twins: Places  # item → the first item with the very same grams, which stands for all of them in rare_items
    crowded: Places  # items that resemble another
    numbered: Places  # items that their numbers single out


class Hits(NamedTuple):
    """Grams of a block's texts that are an item's, row by row."""

    rows: Places
    grams: Places
    first: Places  # token
    length: Places  # tokens

    def in_row(self, row: int) -> "Hits":
        begin, end = np.searchsorted(self.rows, (row, row + 1))
        return Hits(*(column[begin:end] for column in self))


class Candidates(NamedTuple):
    rows: Places
    items: Places
    shares: NDArray[np.float64]


class Lookup:
    """The tables, ready to be asked."""

    def __init__(self, tables: Tables) -> None:
        self._items = len(tables.asked)
        self._lengths = tables.lengths.tolist()
        self._known = grams.Sorted(tables.known.view(np.uint64))
        self._item_grams = Lists(tables.gram_offsets, tables.item_grams)
        self._rare = Lists(tables.rare_offsets, tables.rare_items)
        self._bands = grams.Sorted(tables.bands.view(np.uint64))
        self._band_items = Lists(tables.band_offsets, tables.band_items)
        self.has_grams = len(self._known) > 0
        self.has_bands = len(self._bands) > 0

    def hits(self, tokens: grams.Tokens) -> Hits:
        parts = []
        for length in self._lengths:
            hashes, first = grams.of(tokens, length)
            at, known = self._known.find(hashes)
            parts.append(Hits(tokens.rows[first[at]], known, first[at], np.full(len(at), length)))
        hits = Hits(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        order = np.argsort(hits.first, kind="stable")
        return Hits(*(column[order] for column in hits))

    def candidates(self, hits: Hits) -> Candidates:
        """Items of which a row holds at least half, of twins the first.

        Half of an item's grams cannot be found without one of its rarest half and one more, so only those name
        candidates: grams of a template name nobody.
        """
        held = np.unique(hits.rows * len(self._known) + hits.grams)
        owners, items = self._rare.of(held % len(self._known))
        rows, items = most_named(held[owners] // len(self._known), items, self._items, MOST_CANDIDATES)
        owners, wanted = self._item_grams.of(items)
        there = among(rows[owners] * len(self._known) + wanted, held)
        shares = np.bincount(owners[there], minlength=len(rows)) / self._item_grams.counts[items]
        enough = shares >= REVIEW_SHARE
        return Candidates(rows[enough], items[enough], shares[enough])

    def longest_run(self, item: int, hits: Hits, tokens: grams.Tokens) -> tuple[int, int]:
        """Begin and end, within the row's text, of the longest run of the item's grams."""
        _, own = self._item_grams.of(np.array([item]))
        chosen = np.isin(hits.grams, own)
        first, length = hits.first[chosen], hits.length[chosen]
        last = np.maximum.accumulate(first + length - 1)
        runs = np.flatnonzero(np.append(True, first[1:] > last[:-1] + 1))
        ends = last[np.append(runs[1:], len(last)) - 1]
        spans = [tokens.span(int(a), int(b)) for a, b in zip(first[runs], ends, strict=True)]
        return max(spans, key=lambda span: (span[1] - span[0], -span[0]))

    def neighbours(self, bands: Words) -> tuple[Places, Places]:
        """(row, item) with a band in common, at most MOST_CANDIDATES a row."""
        nobody = np.array([], dtype=np.int64)
        if not self.has_bands:
            return nobody, nobody
        at, known = self._bands.find(np.ascontiguousarray(bands).reshape(-1))
        owners, items = self._band_items.of(known)
        return most_named(at[owners] // bands.shape[1], items, self._items, MOST_CANDIDATES)


class Alike(NamedTuple):
    numbers: list[int]
    texts: list[str]


def alike(folded: Sequence[str]) -> list[Alike]:
    """ASCII and other texts apart: one Chinese row would make a block of others cost twice as much."""
    parts = ([row for row, text in enumerate(folded) if text.isascii() is plain] for plain in (True, False))
    return [Alike(numbers, [folded[row] for row in numbers]) for numbers in parts if numbers]
