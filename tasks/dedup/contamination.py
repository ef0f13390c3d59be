"""Does a task repeat an item of a held-out suite? A pure probe of thousands of rows at once.

Texts are folded (tasks.text) and read as tokens (tasks.dedup.grams), so punctuation, case, blanks and what stands
around it do not hide a copy. An item of eight tokens or more is known by its 8-grams, one of five to seven by a single
gram of its whole length, a shorter one by its exact key only. Grams of more than 64 items say nothing about any of
them. The share is that of the item's grams which the task holds.

| found | numbers and signs of the item in the task | verdict |
|---|---|---|
| exact key equal | | contaminated |
| share ≥ 0.8 | all | contaminated |
| 0.5 ≤ share < 0.8 | all | review |
| share ≥ 0.5 | changed | sibling |
| a band in common, ratio ≥ 85 | the same | contaminated where 90 % of the tokens agree, else review |

The last line is for changed words, each of which costs eight grams. "Any 8-gram in common" would flag a third of all
clean templated tasks.

Two rules keep other questions of one template apart. Signs between numbers count as numbers do, and a short item that
is mostly formula has to be there sign by sign. And an item that resembles others of its suites is *crowded*: its words
tell the questions of its template apart, so only a task that holds them all in a row repeats it. One that holds most of
them is a sibling, and bands say nothing; but where the numbers alone single the item out, both are for review.

Only the last message of an item is looked for where it can stand for itself: a question under another system message
is the same question, and a system message in common is no overlap.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz
from rapidfuzz.distance import Indel, LCSseq
from xxhash import xxh3_64_intdigest

from tasks.dedup import grams
from tasks.dedup.grams import Places, Words
from tasks.text import whole_words

GRAM = 8  # tokens
SHORTEST_GRAM = 5  # tokens of the shortest item that is looked for inside other texts
MOST_ITEMS_OF_A_GRAM = 64
MOST_ITEMS_OF_A_BAND = 32  # as among tasks: a fuller bucket is a template, not a copy
CONTAMINATED_SHARE = 0.8
REVIEW_SHARE = 0.5
SIMILAR_RATIO = 85.0  # rapidfuzz, of folded texts
SIMILAR_TOKENS = 0.9  # of the tokens in their order, for a refusal
FEWEST_SIMILAR_TOKENS = 20  # in a shorter item another word is more likely another question than an edited copy
MOST_CANDIDATES = 16  # items looked at closely for one row: those with most rare grams in common
SHOWN_CHARACTERS = 200
COMPARED_TOKENS = 5000  # of two similar texts
PHRASE = 4  # tokens
CROWDED_SHARE = 0.4  # of an item's phrases that other items have too. GSM8K: 3 % of the items, a template's: nearly all
TELLING_DIGITS = 4  # of an item's numbers together that hardly another has: with them it is known among its template's
HARDLY_ANOTHER = 2  # items
FORMULA_SIGNS = 0.2  # signs and brackets per token from which an item is a formula
FORMULA_TOKENS = 40  # a longer text with many signs is code: it may be edited and still be the same

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_BETWEEN_NUMBERS = re.compile(r"(?<=[\d)\]])\s?([-+*/^=<>]+)(?=\s?[-+(\[]*\d)")
_OPERATORS = r"+*/^=<>%|&~¬±÷\u2190-\u22ff\u27c0-\u27ef\u2980-\u2aff"
_MINUS = r"(?<=[\d)\]])-|(?<=[\d)\]] )-|-(?=\s?[\d(\[])"  # any other is a dash
_SIGN = re.compile(rf"[-()\[\]{{}}{_OPERATORS}]")
_WORD_OR_OPERATOR = re.compile(rf"[^\W_]+|[{_OPERATORS}]|{_MINUS}")
_WORD_OR_SIGN = re.compile(rf"[^\W_]+|[-()\[\]{{}}{_OPERATORS}]")


class Verdict(StrEnum):
    CONTAMINATED = "contaminated"
    REVIEW = "review"
    SIBLING = "sibling"


_WEIGHT = {Verdict.SIBLING: 0, Verdict.REVIEW: 1, Verdict.CONTAMINATED: 2}


class HeldOut(NamedTuple):
    """An item of a suite, as far as it has to be recognised."""

    id: int
    exact_key: str
    folded: str


class Overlap(NamedTuple):
    """What a task has in common with the item that it comes closest to. `shared` is text of the task."""

    item: int  # HeldOut.id
    share: float  # in [0, 1]: of the item's grams; by the rule "similar": of the two texts
    verdict: Verdict
    rule: str  # exact | contained | similar
    shared: str  # the longest run in common, as it stands in the task's folded text


class Lists(NamedTuple):
    """A list of positions for each of many, without objects."""

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


class _Tables(NamedTuple):
    """All of an Index that is numbers. Hashes stand in it as the bits of signed ones."""

    asked: Places  # where in an item's text that begins which is looked for inside others
    known: Places  # gram hashes, ascending
    gram_offsets: Places  # item → its grams
    item_grams: Places
    rare_offsets: Places  # gram → items that have it among their rarest (see _rarest)
    rare_items: Places
    bands: Places  # band hashes, ascending
    band_offsets: Places  # band → items that have it
    band_items: Places
    crowded: Places  # items that resemble another
    numbered: Places  # items that their numbers single out


class _Parts(msgspec.Struct, array_like=True):
    """An Index on its way to another process."""

    items: list[HeldOut]
    lengths: list[int]
    tables: list[bytes]  # in the order of _Tables


class _Hits(NamedTuple):
    """Grams of a block's texts that are an item's, row by row."""

    rows: Places
    grams: Places
    first: Places  # token
    length: Places  # tokens

    def in_row(self, row: int) -> "_Hits":
        begin, end = np.searchsorted(self.rows, (row, row + 1))
        return _Hits(*(column[begin:end] for column in self))


class _Candidates(NamedTuple):
    rows: Places
    items: Places
    shares: NDArray[np.float64]


class _Look(NamedTuple):
    """What is compared of an item once its grams or bands were found."""

    words: list[str]
    numbers: Counter[str]
    signs: str  # between numbers
    exactly: str  # what has to be there in a row of a formula or a crowded item
    formula: bool


class Index:
    """The items of a space's suites. Built once, sent to the workers as bytes, probed for every chunk."""

    def __init__(self, items: list[HeldOut], lengths: list[int], tables: "_Tables") -> None:
        self.items = items
        self._keys = {item.exact_key: position for position, item in reversed(list(enumerate(items)))}
        self._lengths = lengths  # of the grams in use, in tokens
        self._tables = tables
        self._known = grams.Sorted(tables.known.view(np.uint64))
        self._item_grams = Lists(tables.gram_offsets, tables.item_grams)
        self._rare = Lists(tables.rare_offsets, tables.rare_items)
        self._bands = grams.Sorted(tables.bands.view(np.uint64))
        self._band_items = Lists(tables.band_offsets, tables.band_items)
        self._crowded = set(tables.crowded.tolist())
        self._numbered = set(tables.numbered.tolist())
        self._looks: dict[tuple[int, bool], _Look] = {}

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def build(cls, items: Iterable[HeldOut], bands: Words | None = None) -> "Index":
        """`bands`: the items' own, (n, 10), where the caller has them. Repeated items count once."""
        given = list(items)
        kept = sorted({item.exact_key: position for position, item in reversed(list(enumerate(given)))}.values())
        unique = [given[position] for position in kept]
        hashes = bands_of([item.folded for item in unique]) if bands is None else bands[kept]
        return _build(unique, hashes)

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(_Parts(self.items, self._lengths, [array.tobytes() for array in self._tables]))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Index":
        parts = msgspec.msgpack.decode(data, type=_Parts)
        return cls(parts.items, parts.lengths, _Tables(*(np.frombuffer(array, np.int64) for array in parts.tables)))

    def probe(
        self, folded: Sequence[str], exact_keys: Sequence[str], bands: Words | None = None
    ) -> list[Overlap | None]:
        """The worst overlap of each text. Without the texts' `bands`, (n, 10), an item with changed words can hide."""
        found: list[Overlap | None] = [None] * len(folded)
        if not self.items:
            return found
        for row, key in enumerate(exact_keys):
            if (item := self._keys.get(key)) is not None:
                shared = whole_words(folded[row], most=SHOWN_CHARACTERS)
                found[row] = Overlap(self.items[item].id, 1.0, Verdict.CONTAMINATED, "exact", shared)
        for rows in _alike(folded) if len(self._known) else ():
            for block in grams.blocks(rows.texts):
                for row, overlap in self._contained(rows.texts[block.start : block.stop]):
                    _keep_worse(found, rows.numbers[block.start + row], overlap)
        if bands is not None and len(self._bands):
            for row, overlap in self._similar(folded, bands, found):
                _keep_worse(found, row, overlap)
        return found

    # Grams in common

    def _contained(self, texts: Sequence[str]) -> Iterator[tuple[int, Overlap]]:
        tokens = grams.read(texts)
        hits = self._hits(tokens)
        candidates = self._candidates(hits)
        for row, item, share in zip(*(column.tolist() for column in candidates), strict=True):
            verdict = self._verdict(item, share, texts[row])
            if verdict is not None:
                begin, end = self._longest_run(item, hits.in_row(row), tokens)
                shared = whole_words(texts[row], begin, end, most=SHOWN_CHARACTERS)
                yield row, Overlap(self.items[item].id, round(share, 4), verdict, "contained", shared)

    def _hits(self, tokens: grams.Tokens) -> _Hits:
        parts = []
        for length in self._lengths:
            hashes, first = grams.of(tokens, length)
            at, known = self._known.find(hashes)
            parts.append(_Hits(tokens.rows[first[at]], known, first[at], np.full(len(at), length)))
        hits = _Hits(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        order = np.argsort(hits.first, kind="stable")
        return _Hits(*(column[order] for column in hits))

    def _candidates(self, hits: _Hits) -> _Candidates:
        """Items of which a row holds at least half.

        Half of an item's grams cannot be found without one of its rarest half and one more, so only those name
        candidates: grams of a template name nobody.
        """
        held = np.unique(hits.rows * len(self._known) + hits.grams)
        owners, items = self._rare.of(held % len(self._known))
        rows, items = _most_named(held[owners] // len(self._known), items, len(self.items))
        owners, wanted = self._item_grams.of(items)
        there = _among(rows[owners] * len(self._known) + wanted, held)
        shares = np.bincount(owners[there], minlength=len(rows)) / self._item_grams.counts[items]
        enough = shares >= REVIEW_SHARE
        return _Candidates(rows[enough], items[enough], shares[enough])

    def _verdict(self, item: int, share: float, text: str) -> Verdict | None:
        look = self._look(item, whole=False)
        whole = share >= CONTAMINATED_SHARE
        same = _holds_numbers(text, look) and _holds_signs(text, look)
        if item not in self._crowded:
            return (Verdict.CONTAMINATED if whole else Verdict.REVIEW) if same else Verdict.SIBLING
        if not whole:
            return None
        if not same:
            return Verdict.SIBLING
        if look.exactly in _exactly(text, look.formula):
            return Verdict.CONTAMINATED
        return Verdict.REVIEW if item in self._numbered else Verdict.SIBLING

    def _longest_run(self, item: int, hits: _Hits, tokens: grams.Tokens) -> tuple[int, int]:
        """Begin and end, within the row's text, of the longest run of the item's grams."""
        _, own = self._item_grams.of(np.array([item]))
        chosen = np.isin(hits.grams, own)
        first, length = hits.first[chosen], hits.length[chosen]
        last = np.maximum.accumulate(first + length - 1)
        runs = np.flatnonzero(np.append(True, first[1:] > last[:-1] + 1))
        ends = last[np.append(runs[1:], len(last)) - 1]
        spans = [tokens.span(int(a), int(b)) for a, b in zip(first[runs], ends, strict=True)]
        return max(spans, key=lambda span: (span[1] - span[0], -span[0]))

    # Bands in common

    def _similar(
        self, folded: Sequence[str], bands: Words, found: Sequence[Overlap | None]
    ) -> Iterator[tuple[int, Overlap]]:
        for row, item in zip(*(column.tolist() for column in self._neighbours(bands)), strict=True):
            before = found[row]
            if before is None or before.verdict is not Verdict.CONTAMINATED:
                overlap = self._similarity(item, folded[row])
                if overlap is not None:
                    yield row, overlap

    def _neighbours(self, bands: Words) -> tuple[Places, Places]:
        """(row, item) with a band in common, at most MOST_CANDIDATES a row."""
        nobody = np.array([], dtype=np.int64)
        if not len(self._bands):
            return nobody, nobody
        at, known = self._bands.find(np.ascontiguousarray(bands).reshape(-1))
        owners, items = self._band_items.of(known)
        return _most_named(at[owners] // bands.shape[1], items, len(self.items))

    def _similarity(self, item: int, text: str) -> Overlap | None:
        look = self._look(item, whole=True)
        if Counter(_NUMBER.findall(text)) != look.numbers:
            return None
        ratio = fuzz.ratio(self.items[item].folded, text, score_cutoff=SIMILAR_RATIO)
        if ratio < SIMILAR_RATIO or len(look.words) < GRAM:
            return None
        asked, read = look.words[:COMPARED_TOKENS], grams.words(text)[:COMPARED_TOKENS]
        if not _holds_signs(text, look):
            verdict = Verdict.SIBLING
        elif item in self._crowded:
            verdict = Verdict.REVIEW
        elif len(asked) >= FEWEST_SIMILAR_TOKENS and Indel.normalized_similarity(asked, read) >= SIMILAR_TOKENS:
            verdict = Verdict.CONTAMINATED
        else:
            verdict = Verdict.REVIEW
        return Overlap(self.items[item].id, round(ratio / 100, 4), verdict, "similar", _run_in_common(text, asked))

    def _look(self, item: int, *, whole: bool) -> _Look:
        look = self._looks.get((item, whole))
        if look is None:
            begin = 0 if whole else int(self._tables.asked[item])
            look = self._looks[item, whole] = _looked_at(self.items[item].folded[begin:])
        return look

    def crowd(self, texts: Sequence[str], bands: Words) -> set[int]:
        """Items that have half of their grams in common with another, or a band and their numbers and nearly the text.

        `texts` and `bands` are the items' own, the texts without what is not looked for.
        """
        crowded: set[int] = set()
        for block in grams.blocks(texts) if len(self._known) else ():
            found = self._candidates(self._hits(grams.read(texts[block.start : block.stop])))
            crowded.update(found.items[found.items != found.rows + block.start].tolist())
        folded = [item.folded for item in self.items]
        for row, item in zip(*(column.tolist() for column in self._neighbours(bands)), strict=True):
            if row != item and item not in crowded and fuzz.ratio(folded[row], folded[item]) >= SIMILAR_RATIO:
                crowded.add(item)
        return crowded


class _Alike(NamedTuple):
    numbers: list[int]
    texts: list[str]


def _alike(folded: Sequence[str]) -> Iterator[_Alike]:
    """ASCII and other texts apart: one Chinese row would make a block of others cost twice as much."""
    for plain in (True, False):
        numbers = [row for row, text in enumerate(folded) if text.isascii() is plain]
        if numbers:
            yield _Alike(numbers, [folded[row] for row in numbers])


def bands_of(folded: Sequence[str]) -> Words:
    """The band hashes of texts, as they are computed for tasks."""
    from tasks.dedup import signature

    numbers = [xxh3_64_intdigest(",".join(sorted(_NUMBER.findall(text))).encode()) for text in folded]
    return signature.bands(folded, numbers)


def _keep_worse(found: list[Overlap | None], row: int, overlap: Overlap) -> None:
    """A worse verdict wins, then a larger share; the first of equals stays."""
    before = found[row]
    if before is None or (_WEIGHT[overlap.verdict], overlap.share) > (_WEIGHT[before.verdict], before.share):
        found[row] = overlap


def _most_named(rows: Places, items: Places, size: int) -> tuple[Places, Places]:
    """Each (row, item) once, and of a row only the items that were named most often."""
    pairs, named = np.unique(rows * size + items, return_counts=True)
    rows = pairs // size
    order = np.lexsort((pairs, -named, rows))
    rows, pairs = rows[order], pairs[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    few = rank < MOST_CANDIDATES
    return rows[few], pairs[few] % size


def _among(values: Places, ascending: Places) -> NDArray[np.bool_]:
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[at] == values
    return found


# What counts besides the words


def _looked_at(folded: str) -> _Look:
    read = grams.words(folded)
    formula = len(read) < FORMULA_TOKENS and len(_SIGN.findall(folded)) >= FORMULA_SIGNS * max(1, len(read))
    return _Look(read, Counter(_NUMBER.findall(folded)), _signs(folded), _exactly(folded, formula), formula)


def _signs(text: str) -> str:
    return "".join(_BETWEEN_NUMBERS.findall(text))


def _exactly(text: str, formula: bool) -> str:
    """Without blanks and punctuation; brackets count in a formula."""
    return f" {' '.join((_WORD_OR_SIGN if formula else _WORD_OR_OPERATOR).findall(text))} "


def _holds_numbers(text: str, look: _Look) -> bool:
    return not look.numbers or look.numbers <= Counter(_NUMBER.findall(text))


def _holds_signs(text: str, look: _Look) -> bool:
    return look.exactly in _exactly(text, True) if look.formula else not look.signs or look.signs in _signs(text)


def _run_in_common(text: str, asked: Sequence[str]) -> str:
    tokens, read = grams.read([text]), grams.words(text)[:COMPARED_TOKENS]
    run = max(LCSseq.opcodes(asked, read).as_matching_blocks(), key=lambda block: block.size)
    if not run.size:
        return ""
    begin, end = tokens.span(run.b, run.b + run.size - 1)
    return whole_words(text, begin, end, most=SHOWN_CHARACTERS)


# Building


def _build(items: list[HeldOut], bands: Words) -> Index:
    asked = _asked(items)
    texts = [item.folded[begin:] for item, begin in zip(items, asked.tolist(), strict=True)]
    owners, hashes, lengths = _grams_of(texts)
    unique, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    telling = counts <= MOST_ITEMS_OF_A_GRAM
    kept = telling[inverse]
    own = Lists.grouped(owners[kept], (np.cumsum(telling) - 1)[inverse[kept]], len(items))
    rare = _rarest(own, counts[telling])
    known, band_items, full = _band_lists(bands, set())
    nobody = _positions(set())
    tables = _Tables(
        asked, unique[telling].view(np.int64), *own, *rare, known.view(np.int64), *band_items, nobody, nobody
    )
    crowded = full | _phrased_alike(texts) | _hollowed(owners, kept, len(items))
    crowded |= Index(items, lengths, tables).crowd(texts, bands)
    numbered = _numbered(items)
    known, band_items, _ = _band_lists(bands, crowded - numbered)
    tables = tables._replace(
        bands=known.view(np.int64),
        band_offsets=band_items.offsets,
        band_items=band_items.values,
        crowded=_positions(crowded),
        numbered=_positions(numbered),
    )
    return Index(items, lengths, tables)


def _positions(items: set[int]) -> Places:
    return np.array(sorted(items), dtype=np.int64)


def _asked(items: Sequence[HeldOut]) -> Places:
    """Where the part begins that is looked for: the last message, if it is long enough and no other item's."""
    begins = [item.folded.rfind("\n\n") + 2 if "\n\n" in item.folded else 0 for item in items]
    last = [grams.words(item.folded[begin:]) if begin else [] for item, begin in zip(items, begins, strict=True)]
    asked = Counter(" ".join(read) for read in last)
    alone = (len(read) >= SHORTEST_GRAM and asked[" ".join(read)] == 1 for read in last)
    return np.array([begin if able else 0 for begin, able in zip(begins, alone, strict=True)], dtype=np.int64)


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


def _rarest(item_grams: Lists, items_of_gram: Places) -> Lists:
    """Gram → items that have it among their rarest half and one more."""
    counts = item_grams.counts
    owners = np.repeat(np.arange(len(counts)), counts)
    own = item_grams.values
    order = np.lexsort((own, items_of_gram[own], owners))
    rank = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = order[rank <= counts[owners] // 2]
    return Lists.grouped(own[chosen], owners[chosen], len(items_of_gram))


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
    """Items with numbers that hardly another has: those of a template itself all have."""
    numbers = [set(_NUMBER.findall(item.folded)) for item in items]
    having = Counter(number for found in numbers for number in found)
    digits = [sum(len(number) for number in found if having[number] <= HARDLY_ANOTHER) for found in numbers]
    return {item for item, count in enumerate(digits) if count >= TELLING_DIGITS}


def _band_lists(bands: Words, without: set[int]) -> tuple[Words, Lists, set[int]]:
    """Band hash → items; and the items of buckets that are too full to tell anything."""
    owners = np.repeat(np.arange(len(bands)), bands.shape[1])
    known, inverse, counts = np.unique(bands.reshape(-1), return_inverse=True, return_counts=True)
    telling = counts <= MOST_ITEMS_OF_A_BAND
    kept = telling[inverse] & ~np.isin(owners, list(without))
    lists = Lists.grouped((np.cumsum(telling) - 1)[inverse[kept]], owners[kept], int(telling.sum()))
    return known[telling], lists, set(owners[~telling[inverse]].tolist())
