"""A corpus of rows with planted copies and what is true of each: the ingest bench's input and its answer key.

Every row follows from the seed and its own number, so a file of any length is written in constant memory, an original
is made anew where a copy needs it, and a finding about two rows can be checked against both texts. Shares no code with
the product: shingles, edits and answers are its own.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from flywheel.bench import questions
from flywheel.bench.questions import CHOICE, DIGITS, Draw, Question

HELD_OUT_SEED = 0x5EA1
TRIES = 200  # draws of an original of the kind that is needed


class Kind(StrEnum):
    CLEAN = "clean"
    EXACT = "exact"
    DRESSED = "dressed"  # other case, blanks, signs: equal once normalised
    WRAPPED = "wrapped"  # instruction lines before or after
    EDITED = "edited"  # 1 to 15 % of its words or characters, the numbers kept
    NUMBERS = "numbers"  # other numbers: another question
    TURNED = "turned"  # the same numbers in another order, and another answer
    EXTREME = "extreme"  # smallest instead of largest
    CONFLICT = "conflict"  # the same prompt, another answer
    HELD_OUT = "held_out"  # an item of the suite as it stands
    CONTAINED = "contained"  # such an item inside a longer prompt
    REWORDED = "reworded"  # such an item with one word changed


SHARES = (  # of the planted rows; EDITED most, because recall is measured on it
    (Kind.EXACT, 0.16),
    (Kind.DRESSED, 0.12),
    (Kind.WRAPPED, 0.12),
    (Kind.EDITED, 0.28),
    (Kind.NUMBERS, 0.10),
    (Kind.TURNED, 0.02),
    (Kind.EXTREME, 0.03),
    (Kind.CONFLICT, 0.07),
    (Kind.HELD_OUT, 0.03),
    (Kind.CONTAINED, 0.05),
    (Kind.REWORDED, 0.02),
)
# As they stand in published recipes: DeepSeek and Qwen, verl (MATH, GSM8K), DAPO, and the plainest ones.
WRAPPERS = (
    ("", "\nPlease reason step by step, and put your final answer within \\boxed{}."),
    ("", " Let's think step by step and output the final answer within \\boxed{}."),
    ("", ' Let\'s think step by step and output the final answer after "####".'),
    (
        "Solve the following math problem step by step. The last line of your response should be of the form "
        "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n",
        '\n\nRemember to put your answer on its own line after "Answer:".',
    ),
    ("", "\nLet's think step by step."),
    ("Answer the following question.\n\n", ""),
    ("Question: ", "\nAnswer:"),
)


@dataclass(frozen=True, slots=True)
class Truth:
    row: int  # from 0
    kind: Kind
    original: int | None = None  # number of the row that it was made of, counted through elders and own rows
    jaccard: float | None = None  # with the original: char-5 shingles, char-3 for Chinese
    same_answer: bool = True
    item: int | None = None  # of the held-out suite


@dataclass(frozen=True, slots=True)
class Corpus:
    """`elders` are rows that were there before, and may be copied too: rows are counted through both."""

    seed: int
    size: int
    planted: float = 0.0  # share of rows
    elders: "Corpus | None" = None
    held_out: int = 0  # items of the suite

    @property
    def before(self) -> int:
        return self.elders.size if self.elders else 0

    def rows(self) -> Iterator[tuple[Question, Truth]]:
        return (self.row(number) for number in range(self.size))

    def row(self, number: int) -> tuple[Question, Truth]:
        kind = self._kind(number)
        if kind is not Kind.CLEAN:
            draw = Draw((self.seed << 41) | (number << 1) | 1)
            made = self._held_out(number, kind, draw) if kind in _OF_THE_SUITE else self._copy(number, kind, draw)
            if made is not None:
                return made
        return questions.ask(Draw((self.seed << 41) | (number << 1))), Truth(number, Kind.CLEAN)

    def at(self, position: int) -> Question:
        """Of a position counted through elders and own rows."""
        if self.elders is not None and position < self.before:
            return self.elders.row(position)[0]
        return self.row(position - self.before)[0]

    def _kind(self, number: int) -> Kind:
        if not self.planted:
            return Kind.CLEAN
        share = _fraction(self.seed, number) / self.planted
        if share >= 1:
            return Kind.CLEAN
        for kind, part in SHARES:
            if share < part:
                return kind
            share -= part
        return SHARES[-1][0]

    def _is_clean(self, position: int) -> bool:
        """Said without making the row; a planted row that found no original counts as planted."""
        if self.elders is not None and position < self.before:
            return self.elders._is_clean(position)
        return self._kind(position - self.before) is Kind.CLEAN

    def _copy(self, number: int, kind: Kind, draw: Draw) -> tuple[Question, Truth] | None:
        if not self.before + number:
            return None
        for _ in range(TRIES):
            position = self._earlier(number, draw)
            if not self._is_clean(position):
                continue
            original = self.at(position)
            copy = _COPIES[kind](original, draw)
            if copy is not None and (copy != original or kind is Kind.EXACT):
                same = copy.reference == original.reference
                likeness = 1.0 if kind in _EQUAL else jaccard(original, copy)
                return copy, Truth(number, kind, position, likeness, same)
        return None

    def _earlier(self, number: int, draw: Draw) -> int:
        """An elder, or an own row before this one: one as often as the other."""
        if number and (not self.before or draw.random() < 0.5):
            return self.before + draw.below(number)
        return draw.below(self.before)

    def _held_out(self, number: int, kind: Kind, draw: Draw) -> tuple[Question, Truth] | None:
        if not self.held_out:
            return None
        item = draw.below(self.held_out)
        question = held_out(item)
        if kind is Kind.REWORDED:
            question = replace(question, prompt=one_other_word(question.prompt, draw))
        elif kind is Kind.CONTAINED:
            before, after = questions.fact(draw)[0], questions.fact(draw)[0]
            question = replace(question, prompt=f"{before} {question.prompt}\n{after}")
        return question, Truth(number, kind, item=item)


_EQUAL = frozenset({Kind.EXACT, Kind.DRESSED, Kind.CONFLICT})
_OF_THE_SUITE = frozenset({Kind.HELD_OUT, Kind.CONTAINED, Kind.REWORDED})


def held_out(item: int) -> Question:
    """An item of the suite: of the same mixture, but no row of any corpus."""
    return questions.ask(Draw((HELD_OUT_SEED << 41) | item))


def jaccard(one: Question, other: Question) -> float:
    size = 3 if one.domain == "chinese" else 5
    mine, others = shingles(one.prompt, size), shingles(other.prompt, size)
    return len(mine & others) / len(mine | others)


def shingles(text: str, size: int) -> set[str]:
    return {text[start : start + size] for start in range(max(len(text) - size, 0) + 1)}


# -- copies ----------------------------------------------------------------------------------------------------------


def _exact(question: Question, draw: Draw) -> Question:
    return question


def _dressed(question: Question, draw: Draw) -> Question:
    text = question.prompt
    for dress in (draw.pick(_CASES), draw.pick(_SPACES), draw.pick(_SIGNS)):
        text = dress(text)
    ends = text.rstrip("?.") + draw.pick(("", "?", " ?", ".", "…"))
    return replace(question, prompt=f"{draw.pick(('', ' ', chr(0x200B)))}{ends}{draw.pick(('', '  ', chr(10)))}")


def _double_spaced(text: str) -> str:
    return text.replace(" ", "  ")


def _on_lines(text: str) -> str:
    return text.replace(". ", ".\n")


def _with_separators(text: str) -> str:
    return re.sub(r"(?<![\d.,])\d{4,6}(?![\d,.])", lambda match: f"{int(match[0]):,}", text)


def _curly(text: str) -> str:
    return text.replace("'", "’").replace('"', "“").replace("*", "×")


_CASES: tuple[Callable[[str], str], ...] = (str.upper, str.lower, str.swapcase, str)
_SPACES: tuple[Callable[[str], str], ...] = (_double_spaced, _on_lines, str)
_SIGNS: tuple[Callable[[str], str], ...] = (_with_separators, _curly, str)


def _wrapped(question: Question, draw: Draw) -> Question:
    before, after = draw.pick(WRAPPERS)
    return replace(question, prompt=f"{before}{question.prompt}{after}")


def _edited(question: Question, draw: Draw) -> Question:
    """1 to 15 % of the words, or of the characters; every second copy keeps the answer."""
    share = 0.01 + 0.14 * draw.random()
    edit = draw.pick((_other_words, _other_characters))
    edited = replace(question, prompt=edit(question.prompt, share, draw))
    return edited if draw.random() < 0.5 else _conflict(edited, draw)


_WORD = re.compile(r"[^\W\d_]{2,}")
_HAN = re.compile(r"[一-鿿]")


def _other_words(text: str, share: float, draw: Draw) -> str:
    """Words are of the language's letters only, so every number stays as it is."""
    if _HAN.search(text):
        return _other_characters(text, share, draw)
    words = list(_WORD.finditer(text))
    chosen = {draw.below(len(words)) for _ in range(max(1, round(share * len(words))))}
    return _with(text, [(words[index].span(), draw.pick(questions.NOUNS)) for index in sorted(chosen)])


def one_other_word(text: str, draw: Draw) -> str:
    return _other_words(text, 0.0, draw)


def _other_characters(text: str, share: float, draw: Draw) -> str:
    """Letters replaced, doubled or left out; never where that could join two numbers."""
    places = [at for word in _WORD.finditer(text) for at in range(*word.span())]
    chosen = {draw.pick(places) for _ in range(max(1, round(share * len(text))))}
    letters = "的一是在有人这中大为上个国我以要他时来用们" if _HAN.search(text) else "etaoinshrdlu"
    edits = []
    for at in sorted(chosen):
        letter = draw.pick(letters)
        edits.append(((at, at + 1), draw.pick((letter, letter, text[at] + letter))))
    return _with(text, edits)


def _with(text: str, edits: list[tuple[tuple[int, int], str]]) -> str:
    parts, end = [], 0
    for (start, stop), new in edits:
        parts += [text[end:start], new]
        end = stop
    return "".join(parts) + text[end:]


def _numbers(question: Question, draw: Draw) -> Question | None:
    """One or more numbers are others, and so is the answer, three times in four."""
    found = list(DIGITS.finditer(question.prompt))
    if not found:
        return None
    chosen = {draw.below(len(found)) for _ in range(1 + draw.below(3))}
    present = {match[0] for match in found}
    edits = [(found[index].span(), _another(found[index][0], present, draw)) for index in sorted(chosen)]
    changed = replace(question, prompt=_with(question.prompt, edits))
    return changed if draw.random() < 0.25 else _conflict(changed, draw)


def _another(number: str, present: set[str], draw: Draw) -> str:
    while True:
        new = str(draw.between(1, max(99, 2 * int(number))))
        if new not in present:
            return new


def _conflict(question: Question, draw: Draw) -> Question:
    return replace(question, reference=_other_answer(question, draw))


def _other_answer(question: Question, draw: Draw) -> str:
    if question.grader is CHOICE:
        return "B" if question.reference == "A" else "A"
    if question.reference.lstrip("-").isdigit():
        return str(int(question.reference) + draw.between(1, 9))
    return f"{question.reference} {questions.name(draw)}"


_COPIES: dict[Kind, Callable[[Question, Draw], Any]] = {
    Kind.EXACT: _exact,
    Kind.DRESSED: _dressed,
    Kind.WRAPPED: _wrapped,
    Kind.EDITED: _edited,
    Kind.NUMBERS: _numbers,
    Kind.TURNED: lambda question, draw: questions.turned(question),
    Kind.EXTREME: lambda question, draw: questions.smallest(question),
    Kind.CONFLICT: _conflict,
}


def _fraction(seed: int, number: int) -> float:
    """In [0, 1), of both numbers: the finaliser of SplitMix64."""
    mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 31)) / 2**64


# -- files -----------------------------------------------------------------------------------------------------------

STRETCH = 5000  # rows


def write(corpus: Corpus, path: Path, truth: Path | None = None) -> int:
    """The rows as JSON Lines, and beside them what was planted, one JSON object a line; returns the bytes of rows."""
    size = 0
    starts = range(0, corpus.size, STRETCH)
    with (
        path.open("wb") as file,
        (truth or Path(os.devnull)).open("wb") as key,
        # Not forked: who calls this may have threads.
        ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as processes,
    ):
        for lines, planted in processes.map(partial(_stretch, corpus), starts):
            size += file.write(lines)
            key.write(planted)
    return size


def _stretch(corpus: Corpus, start: int) -> tuple[bytes, bytes]:
    lines, planted = [], []
    for number in range(start, min(start + STRETCH, corpus.size)):
        question, truth = corpus.row(number)
        lines.append(_json(as_row(question)))
        if truth.kind is not Kind.CLEAN:
            planted.append(_json({name: getattr(truth, name) for name in Truth.__dataclass_fields__}))
    return "".join(lines).encode(), "".join(planted).encode()


def as_row(question: Question) -> dict[str, Any]:
    row: dict[str, Any] = {"prompt": question.prompt, "reference": question.reference, "domain": question.domain}
    return row if question.grader is None else {**row, "grader": question.grader}


_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode


def _json(value: dict[str, Any]) -> str:
    return _encode(value) + "\n"


def read_truth(path: Path) -> Iterator[Truth]:
    with path.open() as file:
        for line in file:
            values = json.loads(line)
            yield Truth(**{**values, "kind": Kind(values["kind"])})
