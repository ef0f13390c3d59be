"""The items of held-out suites as tables: by what each is known, and which of them resemble another.

An item of eight tokens or more is known by its 8-grams, one of five to seven by a single gram of its whole length, a
shorter one by its exact key only. Grams of more than 64 items say nothing about any of them, and neither do bands of
more than 32.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz

from tasks.dedup import grams, particulars
from tasks.dedup.grams import Places, Words
from tasks.dedup.lists import Lists
from tasks.dedup.lookup import REVIEW_SHARE, Lookup, Tables

VERSION = 1  # of the tables as bytes: whoever changes what stands in them raises it, for they are kept in files
GRAM = 8  # tokens
SHORTEST_GRAM = 5  # tokens of the shortest item that is looked for inside other texts
MOST_ITEMS_OF_A_GRAM = 64
MOST_ITEMS_OF_A_BAND = 32  # as among tasks: a fuller bucket is a template, not a copy
SIMILAR_RATIO = 85.0  # rapidfuzz, of folded texts
PHRASE = 4  # tokens
CROWDED_SHARE = 0.4  # of an item's phrases that other items have too. GSM8K: 3 % of the items, a template's: nearly all
TELLING_DIGITS = 4  # of an item's numbers that hardly another has: with them it is known among its template's
HARDLY_ANOTHER = 2  # items


class HeldOut(NamedTuple):
    """An item of a suite, as far as it has to be recognised."""

    id: int
    exact_key: str
    folded: str


class _Parts(msgspec.Struct, array_like=True):
    """Items and tables on their way to another process."""

    items: list[HeldOut]
    tables: list[bytes]  # in the order of Tables


def to_bytes(items: list[HeldOut], tables: Tables) -> bytes:
    return msgspec.msgpack.encode(_Parts(items, [array.tobytes() for array in tables]))


def from_bytes(data: bytes) -> tuple[list[HeldOut], Tables]:
    parts = msgspec.msgpack.decode(data, type=_Parts)
    return parts.items, Tables(*(np.frombuffer(array, np.int64) for array in parts.tables))


def build(items: Sequence[HeldOut], bands: Words) -> Tables:
    """`bands`: (n, 12), the items' own."""
    asked = _asked(items)
    texts = [item.folded[begin:] for item, begin in zip(items, asked.tolist(), strict=True)]
    owners, hashes, lengths = _grams_of(texts)
    unique, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    telling = counts <= MOST_ITEMS_OF_A_GRAM
    kept = telling[inverse]
    own = Lists.grouped(owners[kept], (np.cumsum(telling) - 1)[inverse[kept]], len(items))
    twins = _twins(own)
    rare = _rarest(own, counts[telling], twins)
    known, band_items, full = _band_lists(bands, set())
    words, word_items = np.unique(_runs([item.folded for item in items], 1)[1], return_counts=True)
    nobody = _positions(set())
    tables = Tables(
        _positions(set(lengths)), asked, unique[telling].view(np.int64), *own, *rare,
        known.view(np.int64), *band_items, words.view(np.int64), word_items, twins, nobody, nobody,
    )  # fmt: skip
    crowded = full | _phrased_alike(texts) | _hollowed(owners, kept, len(items))
    crowded |= _crowd(items, texts, bands, Lookup(tables)) | _several(twins)
    numbered = _numbered(items)
    known, band_items, _ = _band_lists(bands, crowded - numbered)
    return tables._replace(
        bands=known.view(np.int64),
        band_offsets=band_items.offsets,
        band_items=band_items.values,
        crowded=_positions(crowded),
        numbered=_positions(numbered),
    )


def _positions(items: set[int]) -> Places:
    return np.array(sorted(items), dtype=np.int64)


def _asked(items: Sequence[HeldOut]) -> Places:
    """Where the part begins that is looked for: the last message, if it is long enough and no other item's."""
    begins = [item.folded.rfind("\n\n") + 2 if "\n\n" in item.folded else 0 for item in items]
    last = [grams.words(item.folded[begin:]) if begin else [] for item, begin in zip(items, begins, strict=True)]
    asked = Counter(" ".join(read) for read in last)
    alone = (len(read) >= SHORTEST_GRAM and asked[" ".join(read)] == 1 for read in last)
    return np.array([begin if able else 0 for begin, able in zip(begins, alone, strict=True)], dtype=np.int64)


# Grams


def _grams_of(texts: Sequence[str]) -> tuple[Places, Words, list[int]]:
    """(text, hash) of every gram that a text is known by, each once a text, and which lengths they have."""
    found = [_runs(texts, length) for length in range(SHORTEST_GRAM, GRAM + 1)]
    sizes = np.zeros(len(texts), dtype=np.int64)  # the longest gram that fits
    for length, (owners, _) in enumerate(found, SHORTEST_GRAM):
        sizes[owners] = length
    own = [sizes[owners] == length for length, (owners, _) in enumerate(found, SHORTEST_GRAM)]
    owners, hashes = (
        np.concatenate([pair[column][chosen] for pair, chosen in zip(found, own, strict=True)]) for column in (0, 1)
    )
    return owners, hashes, [length for length, chosen in enumerate(own, SHORTEST_GRAM) if chosen.any()]


def _runs(texts: Sequence[str], length: int) -> tuple[Places, Words]:
    """(text, hash) of every run of so many tokens, each once a text."""
    parts = [(np.array([], dtype=np.int64), np.array([], dtype=np.uint64))]
    for block in grams.blocks(texts):
        tokens = grams.read(texts[block.start : block.stop])
        hashes, first = grams.of(tokens, length)
        parts.append((tokens.rows[first] + block.start, hashes))
    owners, hashes = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((hashes, owners))
    owners, hashes = owners[order], hashes[order]
    once = np.append(True, (owners[1:] != owners[:-1]) | (hashes[1:] != hashes[:-1]))[: len(owners)]
    return owners[once], hashes[once]


def _twins(item_grams: Lists) -> Places:
    """Item → the first with the same grams. Signs or an order of tokens tell them apart, which grams do not see."""
    first: dict[bytes, int] = {}
    parts = zip(item_grams.offsets[:-1].tolist(), item_grams.offsets[1:].tolist(), strict=True)
    own = (item_grams.values[begin:end].tobytes() for begin, end in parts)
    return np.array([first.setdefault(values, item) for item, values in enumerate(own)], dtype=np.int64)


def _rarest(item_grams: Lists, items_of_gram: Places, twins: Places) -> Lists:
    """Gram → items that have it among their rarest half and one more, of twins the first."""
    counts = item_grams.counts
    owners = np.repeat(np.arange(len(counts)), counts)
    own = item_grams.values
    order = np.lexsort((own, items_of_gram[own], owners))
    rank = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = order[(rank <= counts[owners] // 2) & (twins[owners] == owners)]
    return Lists.grouped(own[chosen], owners[chosen], len(items_of_gram))


def _band_lists(bands: Words, without: set[int]) -> tuple[Words, Lists, set[int]]:
    """Band hash → items; and the items of buckets that are too full to tell anything."""
    owners = np.repeat(np.arange(len(bands)), bands.shape[1])
    known, inverse, counts = np.unique(bands.reshape(-1), return_inverse=True, return_counts=True)
    telling = counts <= MOST_ITEMS_OF_A_BAND
    kept = telling[inverse] & ~np.isin(owners, list(without))
    lists = Lists.grouped((np.cumsum(telling) - 1)[inverse[kept]], owners[kept], int(telling.sum()))
    return known[telling], lists, set(owners[~telling[inverse]].tolist())


# Items that resemble another


def _crowd(items: Sequence[HeldOut], texts: Sequence[str], bands: Words, lookup: Lookup) -> set[int]:
    """Items that have half of their grams in common with another, or a band and their numbers and nearly the text.

    `texts` are the items' own, without what is not looked for.
    """
    crowded: set[int] = set()
    for block in grams.blocks(texts) if lookup.has_grams else ():
        found = lookup.candidates(lookup.hits(grams.read(texts[block.start : block.stop])))
        crowded.update(found.items[found.items != found.rows + block.start].tolist())
    for row, item in zip(*(column.tolist() for column in lookup.neighbours(bands)), strict=True):
        if row != item and item not in crowded and fuzz.ratio(items[row].folded, items[item].folded) >= SIMILAR_RATIO:
            crowded.add(item)
    return crowded


def _several(twins: Places) -> set[int]:
    return set(np.flatnonzero(np.bincount(twins, minlength=len(twins))[twins] > 1).tolist())


def _hollowed(owners: Places, telling: NDArray[np.bool_], items: int) -> set[int]:
    """Items that have lost half of their grams to more than 64 items: what is left is the gap of a template."""
    lost = np.bincount(owners[~telling], minlength=items)
    return set(np.flatnonzero(lost > REVIEW_SHARE * np.bincount(owners, minlength=items)).tolist())


def _phrased_alike(texts: Sequence[str]) -> set[int]:
    """Items many of whose phrases other items have too."""
    owners, hashes = _runs(texts, PHRASE)
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    common = np.bincount(owners[counts[inverse] > 1], minlength=len(texts))
    phrases = np.bincount(owners, minlength=len(texts))
    return set(np.flatnonzero((phrases > 0) & (common >= CROWDED_SHARE * phrases)).tolist())


def _numbered(items: Sequence[HeldOut]) -> set[int]:
    """Items with numbers that hardly another has, one by one or together: those of a template itself all have.

    Together a number counts for a digit less than it has: numbers of one digit, as on boards and in lists of steps,
    agree too often.
    """
    numbers = [particulars.numbers(item.folded) for item in items]
    having = Counter(number for found in numbers for number in found)
    alike = Counter(frozenset(found.items()) for found in numbers)
    alone = [sum(len(number) for number in found if having[number] <= HARDLY_ANOTHER) for found in numbers]
    together = [
        sum(_digits_together(number, having[number]) for number in found)
        if alike[frozenset(found.items())] <= HARDLY_ANOTHER
        else 0
        for found in numbers
    ]
    return {item for item, digits in enumerate(zip(alone, together, strict=True)) if max(digits) >= TELLING_DIGITS}


def _digits_together(number: str, items: int) -> int:
    return sum(map(str.isdecimal, number)) - 1 if items <= MOST_ITEMS_OF_A_GRAM else 0
