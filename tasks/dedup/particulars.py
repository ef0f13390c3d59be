"""What tells two questions apart whose words agree: numbers, signs, quoted words, and what stands in a row.

Texts are folded (tasks.text). Only candidates are looked at, one by one.
"""

import re
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from tasks.dedup import grams

FORMULA_SIGNS = 0.2  # signs and brackets per token from which a text is a formula
FORMULA_TOKENS = 40  # a longer text with many signs is code: it may be edited and still be the same

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_BETWEEN_NUMBERS = re.compile(r"(?<=[\d)\]])\s?([-+*/^=<>]+)(?=\s?[-+(\[]*\d)")
_MATHEMATICS = r"+*/^=<>%|&~¬±÷\u2190-\u22ff\u27c0-\u27ef\u2980-\u2aff"
_DRAWN = r"#@\u2500-\u27bf\u2b00-\u2bff\U0001f300-\U0001faff"  # boards, letters made of signs, programs
_MINUS = r"(?<=[\d)\]])-|(?<=[\d)\]] )-|-(?=\s?[\d(\[])"  # any other is a dash
_AMONG_SIGNS = r"(?<=[-+*/<>\]#.])[.,:](?=[-+*/<>\[#.])"  # any other ends a sentence or a clause
_BLANKS = r"(?<![^\W_])_+(?![^\W_])|(?<= )\.(?= )"  # to be filled in, and empty squares of boards
_OPERATOR = rf"[{_MATHEMATICS}]|[{_DRAWN}]+|{_BLANKS}"
_SIGN = re.compile(rf"[-()\[\]{{}}]|{_OPERATOR}")
_WORD_OR_OPERATOR = re.compile(rf"[^\W_]+|{_MINUS}|{_OPERATOR}")
_WORD_OR_SIGN = re.compile(rf"[^\W_]+|[-()\[\]{{}}]|{_AMONG_SIGNS}|{_OPERATOR}")
_WORD = re.compile(r"[^\W_]+")
_QUOTED_WORD = re.compile(r"""(?<!\w)(["'`])([^\W_]+)\1(?!\w)""")
_LIST = re.compile(rf" (?:\d+ \d+|[{_DRAWN}_|]+ [{_DRAWN}_|]+) $")
_TWO_MORE = re.compile(rf"\d+ \d+ |[{_DRAWN}_|]+ [{_DRAWN}_|]+ ")


class Look(NamedTuple):
    """What is compared of an item once it has come into question."""

    words: list[str]
    numbers: Counter[str]
    quoted: frozenset[str]  # words that stand in quotation marks alone
    signs: str  # between numbers
    exactly: str  # what has to be there in a row of a formula or a crowded item
    formula: bool


def look(folded: str) -> Look:
    read = grams.words(folded)
    formula = len(read) < FORMULA_TOKENS and len(_SIGN.findall(folded)) >= FORMULA_SIGNS * max(1, len(read))
    quoted = frozenset(found[2] for found in _QUOTED_WORD.finditer(folded))
    return Look(read, numbers(folded), quoted, _signs(folded), _exactly(folded, formula), formula)


@lru_cache(maxsize=4)
def _numbers(text: str) -> Counter[str]:
    return Counter(_NUMBER.findall(text))


def same(text: str, asked: Look) -> bool:
    """Whether the text holds the item's numbers, quoted words, and signs. It may hold more."""
    return _holds_numbers(text, asked) and holds_values(text, asked)


def holds_values(text: str, asked: Look) -> bool:
    """A quoted word is what the question is about, as a number is, and so is every sign of a formula."""
    if asked.quoted and not asked.quoted <= set(_WORD.findall(text)):
        return False
    return in_a_row(text, asked) if asked.formula else not asked.signs or asked.signs in _signs(text)


def in_a_row(text: str, asked: Look) -> bool:
    """Whether the text holds all words and signs one behind the other. A list that goes on is another."""
    read = _exactly(text, asked.formula)
    begin = read.find(asked.exactly)
    if begin >= 0 and _LIST.search(asked.exactly):
        while begin >= 0 and _TWO_MORE.match(read, begin + len(asked.exactly)):
            begin = read.find(asked.exactly, begin + 1)
    return begin >= 0


def numbers(text: str) -> Counter[str]:
    return Counter(_NUMBER.findall(text))


def _holds_numbers(text: str, asked: Look) -> bool:
    return not asked.numbers or asked.numbers <= _numbers(text)


def _signs(text: str) -> str:
    return "".join(_BETWEEN_NUMBERS.findall(text))


@lru_cache(maxsize=4)  # of one text asked about several items
def _exactly(text: str, formula: bool) -> str:
    """Without blanks and punctuation; brackets count in a formula."""
    return f" {' '.join((_WORD_OR_SIGN if formula else _WORD_OR_OPERATOR).findall(text))} "
