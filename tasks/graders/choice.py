"""choice: a multiple choice answer by its letter or by its text.

What counts, in this order: the whole reply is a letter or one choice's text; the last "answer is B", "Answer: B",
"option B" or \\boxed{B}; the only letter that stands alone. A reply that names several choices has not chosen, and
"not B" names none.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from tasks.graders import templates
from tasks.graders.outcome import AuthorFault, Check, ModelFault, scored, wrong
from tasks.graders.remembered import of_the_last
from tasks.text import normalise
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {"type": "choice", "reference": "{{ item.reference }}", "choices": "{{ item.choices }}"},
    "item": {"reference": "B", "choices": ["Mars", "Venus", "Jupiter"]},
    "completion": "Venus is closest to Earth's size, so the answer is (B).",
}

# Looked for first: a pattern takes 25 µs to find nothing in a reply of 2,000 characters, one of these words 0.1 µs.
_STATES = ("answer", "option", "choice", "choose", "pick", "boxed")
_DENIES = ("not", "never", "except", "but", "nor", "neither", "n't", "n’t")
_DRESS = " \t\r\n.,:;!?()[]{}*_`\"'$\\"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="choice", tag_field="type"):
    reference: str = "{{ item.reference }}"  # a letter, or the text of a choice
    choices: str | list[str] | None = None  # the texts in order, or a template that gives them; None: letters only
    letters: str = "ABCDEFGHIJ"  # used when `choices` is not given; otherwise as many as there are choices
    name: str = ""
    pass_threshold: float = 1.0

    def __post_init__(self) -> None:
        if not self.letters.isalpha() or len(set(self.letters.upper())) != len(self.letters) or len(self.letters) > 26:
            raise ValueError("`letters` must be up to 26 different letters")
        if isinstance(self.choices, list) and not 2 <= len(self.choices) <= 26:
            raise ValueError("`choices` must be 2 to 26 texts")


def compile(config: Config) -> Check:
    reference_of = templates.parse(config.reference)

    def check(completion: str, item: Mapping[str, Any]) -> Grade:
        letters, texts = _choices(config, item)
        right = _right(reference_of.text(completion, item), letters, texts)
        claimed = _claimed(completion, letters, texts)
        if not claimed:
            return wrong(None, "The reply names no choice.")
        if len(claimed) > 1:
            return wrong(", ".join(claimed), f"The reply names several choices: {', '.join(claimed)}.")
        if claimed[0] == right:
            return scored(1.0, config.pass_threshold, right, "Matches the reference.")
        return scored(0.0, config.pass_threshold, claimed[0], f"Expected {right}, read {claimed[0]}.")

    return check


@of_the_last
def _choices(config: Config, item: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
    """The letters in play and the normalised texts ([] where they are not known)."""
    letters = config.letters.upper()
    given = templates.fill(config.choices, "", item)
    if given is None:
        return letters, []
    if isinstance(given, Mapping):  # {"A": "Mars", "B": "Venus"}
        given = list(given.values())
    if not isinstance(given, list) or not 2 <= len(given) <= 26:
        raise AuthorFault("bad_reference", "`choices` must give a list of 2 to 26 texts.")
    letters = (letters + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[len(letters) :])[: len(given)]
    texts = [normalise(templates.as_text(text)) for text in given]
    if not all(texts):
        raise AuthorFault("bad_reference", "One of the `choices` is an empty text.")
    return letters, texts


def _right(reference: str, letters: str, texts: Sequence[str]) -> str:
    bare = reference.strip(_DRESS)
    if len(bare) == 1 and bare.upper() in letters:
        return bare.upper()
    wanted = normalise(reference)
    if texts.count(wanted) == 1:
        return letters[texts.index(wanted)]
    raise AuthorFault(
        "bad_reference", f"The reference '{reference[:80]}' is not one of the choices {', '.join(letters)}."
    )


def _claimed(completion: str, letters: str, texts: Sequence[str]) -> list[str]:
    """The letters that the reply settles on: one is a choice, several are none."""
    if not completion.isascii():
        completion = unicodedata.normalize("NFKC", completion)  # Ｂ and Ⓑ are B
    bare = completion.strip(_DRESS)
    if len(bare) == 1 and bare.upper() in letters:
        return [bare.upper()]
    if texts and (named := _by_text(completion, letters, texts)):
        return named
    denied, stated, one = _patterns(letters)
    folded = _folded(completion)
    if any(word in folded for word in _DENIES):
        completion = denied.sub(" ", completion)
    if any(word in folded for word in _STATES) and (statements := stated.findall(completion)):
        return _distinct(one.findall(statements[-1]))
    return _standing_alone(completion, letters)


def _folded(text: str) -> str:
    """As patterns that ignore the case see it: to them a dotless ı is an i as well."""
    return text.lower() if text.isascii() else text.replace("ı", "i").replace("İ", "i").casefold()


def _by_text(completion: str, letters: str, texts: Sequence[str]) -> list[str]:
    reply = normalise(completion)
    bare = reply.strip(_DRESS)
    pairs = list(zip(letters, texts, strict=True))
    for letter, text in pairs:
        if bare in (f"{letter.lower()}) {text}", f"{letter.lower()}. {text}"):
            return [letter]
    if whole := [letter for letter, text in pairs if text in (reply, bare)]:
        return whole
    concluded = max((reply.rfind(mark) + len(mark) for mark in ("answer", "boxed{") if mark in reply), default=0)
    bare = reply[concluded:].strip().removeprefix("is ").strip(_DRESS)
    return [letter for letter, text in pairs if text == bare]


def _standing_alone(completion: str, letters: str) -> list[str]:
    """Letters by the place where each stands alone first: a rambling reply has a thousand, so all are not looked at."""
    singles, bracketed = _alone(letters)
    first = {
        letter: found.start()
        for letter, single in singles.items()
        if letter in completion and (found := single.search(completion))
    }
    for found in bracketed.finditer(completion) if "(" in completion else ():
        letter, place = found[1].upper(), found.start(1)
        first[letter] = min(place, first.get(letter, place))
    return sorted(first, key=first.__getitem__)


def _distinct(found: list[str]) -> list[str]:
    """Single letters, of which a rambling reply has a thousand: told apart as one text."""
    return list(dict.fromkeys("".join(found).upper()))


@lru_cache(maxsize=64)
def _patterns(letters: str) -> tuple[re.Pattern[str], ...]:
    """A denied letter, an explicit statement with the letters it names, one of a statement."""
    small = letters.lower()
    both = f"{letters}{small}"
    # Every repetition is bounded: two neighbours that match the same signs are quadratic in a row of stars.
    dress = r"[\s(\[*_`\"'$]{0,8}(?:\\(?:text|mathrm|mathbf)\{)?"
    letter = rf"(?:[{letters}](?![\w'’])|[{small}](?![\w'’]|\s[A-Za-z]))"
    marked = rf"{dress}{letter}[)\]*_`\"'$}}]{{0,8}}"
    hedge = r"(?i:or|and|maybe|perhaps|possibly|alternatively|also|even|else)\b"
    doubt = r"\s{0,2}[.(–—-]{0,2}\s{0,2}(?:(?i:or|maybe|perhaps|possibly|alternatively)\b)"
    joint = rf"(?:\s{{0,2}}(?:[,;/&|+]|{hedge})|{doubt})(?:\s{{0,2}}{hedge}){{0,2}}"
    joined = rf"{marked}(?:{joint}{marked}){{0,25}}"
    claims = (
        r"\b(?i:answer|option|choice|choose|pick)\b(?:\s{1,2}(?i:is|are|would\s{1,2}be))?[\s:=*_]{0,8}|\\boxed\s{0,2}\{"
    )
    stated = re.compile(rf"(?:{claims})((?:(?i:option|choice)\s{{1,2}})?{joined})")
    filling = (
        r"(?:\s{1,2}(?:the|an?|answer|option|choice|letter|be|is|it|it['’]s|to|think|believe|say|choose|pick|select)\b)"
    )
    denial = r"(?:\b(?:not|never|except|nor|neither|(?:every|any)thing\s{1,2}but|all\s{1,2}but)\b|n['’]t\b)"
    denied = re.compile(rf"(?i:{denial}{filling}{{0,6}}){marked}")
    return denied, stated, re.compile(rf"(?<![A-Za-z\\])[{both}](?![A-Za-z])")


@lru_cache(maxsize=64)
def _alone(letters: str) -> tuple[dict[str, re.Pattern[str]], re.Pattern[str]]:
    """What finds each letter standing alone, and any in brackets.

    Small letters are words too often ("a"), and so are A and I before another word: but "A or B" names two. What stands
    before a letter is looked at behind it, because a pattern that begins with a letter skips to the next one.
    """
    word = rf"\s(?!(?:or|and)\s[{letters}](?![\w'’-]))[a-z]"
    ends = {letter: rf"(?!{word})" if letter in "AI" else "" for letter in letters}
    singles = {letter: re.compile(rf"{letter}(?<![\w'’-].)(?![\w'’-]){end}") for letter, end in ends.items()}
    return singles, re.compile(rf"\(([{letters}{letters.lower()}])\)")


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    try:
        letters, texts = _choices(config, item)
        return _right(templates.parse(config.reference).text("", item), letters, texts)
    except (AuthorFault, ModelFault):
        return None


def every_candidate(config: Config, item: Mapping[str, Any], others: Sequence[str]) -> str | None:
    """Every letter, the right one among them: a reply that hedges must not win."""
    try:
        return ", ".join(_choices(config, item)[0])
    except (AuthorFault, ModelFault):
        return None


def reference_problem(config: Config, item: Mapping[str, Any]) -> str | None:
    """Why the reference of this item cannot be used, as a sentence."""
    letters, texts = _choices(config, item)
    _right(templates.parse(config.reference).text("", item), letters, texts)
    return None
