"""A list of positions for each of many things, in two arrays: no object for any of them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.dedup.grams import Places


class Lists(NamedTuple):
    offsets: Places
    values: Places

    def of(self, chosen: Places) -> tuple[Places, Places]:
        """The lists of the chosen, one behind the other: (position in `chosen`, value)."""
        begins = self.offsets[chosen]
        counts = self.offsets[chosen + 1] - begins
        owners = np.repeat(np.arange(len(chosen)), counts)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        return owners, self.values[begins[owners] + within]

    @property
    def counts(self) -> Places:
        return np.diff(self.offsets)

    @classmethod
    def grouped(cls, owners: Places, values: Places, size: int) -> "Lists":
        """From pairs, in the order of owners and as given within one."""
        order = np.argsort(owners, kind="stable")
        offsets = np.zeros(size + 1, dtype=np.int64)
        np.cumsum(np.bincount(owners, minlength=size), out=offsets[1:])
        return cls(offsets, values[order].astype(np.int64))


def among(values: Places, ascending: Places) -> NDArray[np.bool_]:
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[at] == values
    return found


def most_named(rows: Places, values: Places, size: int, most: int) -> tuple[Places, Places]:
    """Each (row, value) once, and of a row only the `most` that were named most often. Values are below `size`."""
    pairs, named = np.unique(rows * size + values, return_counts=True)
    rows = pairs // size
    order = np.lexsort((pairs, -named, rows))
    rows, pairs = rows[order], pairs[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    few = rank < most
    return rows[few], pairs[few] % size
