"""Does a task repeat an item of a held-out suite? A pure probe of thousands of rows at once.

Texts are folded (tasks.text) and read as tokens (tasks.dedup.grams), so punctuation, case, blanks and what stands
around it do not hide a copy. How an item is known is told in tasks.dedup.suites, how the items that come into question
are found in tasks.dedup.lookup. The share is that of the item's grams which the task holds; its particulars are its
numbers, quoted words and signs (tasks.dedup.particulars).

| found | particulars of the item in the task | verdict |
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
them is a sibling, and bands say nothing; but where the numbers alone single the item out, both are for review. By bands
only where 85 % of the tokens agree and the task has half of the item's words, each weighing the less the more items
have it: a template's words weigh next to nothing.

Only the last message of an item is looked for where it can stand for itself: a question under another system message
is the same question, and a system message in common is no overlap.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from rapidfuzz import fuzz
from rapidfuzz.distance import Indel, LCSseq
from xxhash import xxh3_64_intdigest

from tasks.dedup import grams, particulars, suites
from tasks.dedup.grams import Words
from tasks.dedup.lookup import REVIEW_SHARE, Lookup, Tables, alike
from tasks.dedup.particulars import Look
from tasks.dedup.suites import GRAM, SIMILAR_RATIO
from tasks.dedup.suites import HeldOut as HeldOut  # part of the interface
from tasks.text import whole_words

CONTAMINATED_SHARE = 0.8
SIMILAR_TOKENS = 0.9  # of the tokens in their order, for a refusal
FEWEST_SIMILAR_TOKENS = 20  # in a shorter item another word is more likely another question than an edited copy
SHOWN_CHARACTERS = 200
COMPARED_TOKENS = 5000  # of two similar texts


class Verdict(StrEnum):
    CONTAMINATED = "contaminated"
    REVIEW = "review"
    SIBLING = "sibling"


_WEIGHT = {Verdict.SIBLING: 0, Verdict.REVIEW: 1, Verdict.CONTAMINATED: 2}


class Overlap(NamedTuple):
    """What a task has in common with the item that it comes closest to. `shared` is text of the task."""

    item: int  # HeldOut.id
    share: float  # in [0, 1]: of the item's grams; by the rule "similar": of the two texts
    verdict: Verdict
    rule: str  # exact | contained | similar
    shared: str  # the longest run in common, as it stands in the task's folded text


class Index:
    """The items of a space's suites. Built once, sent to the workers as bytes, probed for every chunk."""

    def __init__(self, items: list[HeldOut], tables: Tables) -> None:
        self.items = items
        self._keys = {item.exact_key: position for position, item in reversed(list(enumerate(items)))}
        self._tables = tables
        self._lookup = Lookup(tables)
        self._twins: dict[int, list[int]] = {}
        for item, first in enumerate(tables.twins.tolist()):
            self._twins.setdefault(first, []).append(item)
        self._crowded = set(tables.crowded.tolist())
        self._numbered = set(tables.numbered.tolist())
        self._looks: dict[tuple[int, bool], Look] = {}
        self._weights: dict[int, dict[str, float]] = {}

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def build(cls, items: Iterable[HeldOut], bands: Words | None = None) -> "Index":
        """`bands`: the items' own, (n, 12), where the caller has them. Repeated items count once."""
        given = list(items)
        kept = sorted({item.exact_key: position for position, item in reversed(list(enumerate(given)))}.values())
        unique = [given[position] for position in kept]
        hashes = bands_of([item.folded for item in unique]) if bands is None else bands[kept]
        return cls(unique, suites.build(unique, hashes))

    def to_bytes(self) -> bytes:
        return suites.to_bytes(self.items, self._tables)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Index":
        return cls(*suites.from_bytes(data))

    def probe(
        self, folded: Sequence[str], exact_keys: Sequence[str], bands: Words | None = None
    ) -> list[Overlap | None]:
        """The worst overlap of each text. Without the texts' `bands`, (n, 12), an item with changed words can hide."""
        found: list[Overlap | None] = [None] * len(folded)
        if not self.items:
            return found
        for row, key in enumerate(exact_keys):
            if (item := self._keys.get(key)) is not None:
                shared = whole_words(folded[row], most=SHOWN_CHARACTERS)
                found[row] = Overlap(self.items[item].id, 1.0, Verdict.CONTAMINATED, "exact", shared)
        for rows in alike(folded) if self._lookup.has_grams else ():
            for block in grams.blocks(rows.texts):
                for row, overlap in self._contained(rows.texts[block.start : block.stop]):
                    _keep_worse(found, rows.numbers[block.start + row], overlap)
        if bands is not None:
            for row, overlap in self._similar(folded, bands, found):
                _keep_worse(found, row, overlap)
        return found

    # Grams in common

    def _contained(self, texts: Sequence[str]) -> Iterator[tuple[int, Overlap]]:
        tokens = grams.read(texts)
        hits = self._lookup.hits(tokens)
        candidates = self._lookup.candidates(hits)
        for row, first, share in zip(*(column.tolist() for column in candidates), strict=True):
            judged = {item: self._verdict(item, share, texts[row]) for item in self._twins[first]}
            item, verdict = max(judged.items(), key=lambda pair: -1 if pair[1] is None else _WEIGHT[pair[1]])
            if verdict is not None:
                begin, end = self._lookup.longest_run(item, hits.in_row(row), tokens)
                shared = whole_words(texts[row], begin, end, most=SHOWN_CHARACTERS)
                yield row, Overlap(self.items[item].id, round(share, 4), verdict, "contained", shared)

    def _verdict(self, item: int, share: float, text: str) -> Verdict | None:
        look = self._look(item, whole=False)
        whole = share >= CONTAMINATED_SHARE
        same = particulars.same(text, look)
        if item not in self._crowded:
            return (Verdict.CONTAMINATED if whole else Verdict.REVIEW) if same else Verdict.SIBLING
        if not whole:
            return None
        if not same:
            return Verdict.SIBLING
        if particulars.in_a_row(text, look):
            return Verdict.CONTAMINATED
        return Verdict.REVIEW if item in self._numbered else Verdict.SIBLING

    # Bands in common

    def _similar(
        self, folded: Sequence[str], bands: Words, found: Sequence[Overlap | None]
    ) -> Iterator[tuple[int, Overlap]]:
        for row, item in zip(*(column.tolist() for column in self._lookup.neighbours(bands)), strict=True):
            before = found[row]
            if before is None or before.verdict is not Verdict.CONTAMINATED:
                overlap = self._similarity(item, folded[row])
                if overlap is not None:
                    yield row, overlap

    def _similarity(self, item: int, text: str) -> Overlap | None:
        look = self._look(item, whole=True)
        if particulars.numbers(text) != look.numbers or len(look.words) < GRAM:
            return None
        ratio = fuzz.ratio(self.items[item].folded, text, score_cutoff=SIMILAR_RATIO)
        if ratio < SIMILAR_RATIO:
            return None
        asked, read = look.words[:COMPARED_TOKENS], grams.words(text)[:COMPARED_TOKENS]
        verdict = Verdict.SIBLING
        if particulars.holds_values(text, look):
            verdict = self._worded(item, asked, read)
        return Overlap(self.items[item].id, round(ratio / 100, 4), verdict, "similar", _run_in_common(text, asked))

    def _worded(self, item: int, asked: Sequence[str], read: Sequence[str]) -> Verdict:
        """Of two texts with the same particulars, by their words."""
        agreeing = Indel.normalized_similarity(asked, read)
        if item in self._crowded:
            worded = agreeing >= SIMILAR_RATIO / 100 and self._weight_in_common(item, asked, read) >= REVIEW_SHARE
            return Verdict.REVIEW if worded else Verdict.SIBLING
        if len(asked) >= FEWEST_SIMILAR_TOKENS and agreeing >= SIMILAR_TOKENS:
            return Verdict.CONTAMINATED
        return Verdict.REVIEW

    def _weight_in_common(self, item: int, asked: Sequence[str], read: Sequence[str]) -> float:
        """In [0, 1]: of the item's words without numbers, one that n items have weighs 1/n."""
        weights = self._weights.get(item)
        if weights is None:
            words = sorted({word for word in asked if not word.isdecimal()})
            weights = self._weights[item] = dict(zip(words, self._rarity(words), strict=True))
        held = set(read)
        return sum(weight for word, weight in weights.items() if word in held) / (sum(weights.values()) or 1.0)

    def _rarity(self, words: Sequence[str]) -> list[float]:
        hashes, _ = grams.of(grams.read(words), 1)
        at = np.searchsorted(self._tables.words.view(np.uint64), hashes)
        return [1 / int(items) for items in self._tables.word_items[at]]

    def _look(self, item: int, *, whole: bool) -> Look:
        look = self._looks.get((item, whole))
        if look is None:
            begin = 0 if whole else int(self._tables.asked[item])
            look = self._looks[item, whole] = particulars.look(self.items[item].folded[begin:])
        return look


def bands_of(folded: Sequence[str]) -> Words:
    """The band hashes of texts, as they are computed for tasks."""
    from tasks.dedup import signature

    numbers = [xxh3_64_intdigest(",".join(sorted(particulars.numbers(text).elements())).encode()) for text in folded]
    return signature.bands(folded, numbers)


def _keep_worse(found: list[Overlap | None], row: int, overlap: Overlap) -> None:
    """A worse verdict wins, then a larger share; the first of equals stays."""
    before = found[row]
    if before is None or (_WEIGHT[overlap.verdict], overlap.share) > (_WEIGHT[before.verdict], before.share):
        found[row] = overlap


def _run_in_common(text: str, asked: Sequence[str]) -> str:
    tokens, read = grams.read([text]), grams.words(text)[:COMPARED_TOKENS]
    run = max(LCSseq.opcodes(asked, read).as_matching_blocks(), key=lambda block: block.size)
    if not run.size:
        return ""
    begin, end = tokens.span(run.b, run.b + run.size - 1)
    return whole_words(text, begin, end, most=SHOWN_CHARACTERS)
