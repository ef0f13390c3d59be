"""In which scripts and, where it can be told, in which language a text is written.

A script is read from the characters: cheap, and certain. Which of the languages of one script it is, py3langid says of
texts of 60 letters and more: a text is called unwanted where next to nothing speaks for any wanted language, neither in
the whole nor in a sentence of it. What cannot be told (names, formulas, code, boards) never is. Among 20,000 English
prompts (GSM8K, BBH, HumanEval, reasoning-gym) English was never given less than 5 %.

The model is loaded with the first text that it is asked about, in the processes that ask: 0.7 s, 80 MB. A guess costs
0.1 to 0.3 ms. Where no policy names languages neither is paid.
"""

import re
from collections import Counter
from collections.abc import Collection
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_RANGES = (
    ("Latin", 0x41, 0x24F),
    ("Greek", 0x370, 0x3FF),
    ("Cyrillic", 0x400, 0x52F),
    ("Armenian", 0x531, 0x58F),
    ("Hebrew", 0x591, 0x5F4),
    ("Arabic", 0x600, 0x77F),
    ("Devanagari", 0x900, 0x97F),
    ("Bengali", 0x980, 0x9FF),
    ("Gurmukhi", 0xA00, 0xA7F),
    ("Gujarati", 0xA80, 0xAFF),
    ("Tamil", 0xB80, 0xBFF),
    ("Telugu", 0xC00, 0xC7F),
    ("Kannada", 0xC80, 0xCFF),
    ("Malayalam", 0xD00, 0xD7F),
    ("Thai", 0xE00, 0xE7F),
    ("Georgian", 0x10A0, 0x10FF),
    ("Hangul", 0x1100, 0x11FF),
    ("Latin", 0x1E00, 0x1EFF),
    ("Kana", 0x3041, 0x30FF),
    ("Hangul", 0x3131, 0x318E),
    ("Han", 0x3400, 0x4DBF),
    ("Han", 0x4E00, 0x9FFF),
    ("Hangul", 0xAC00, 0xD7A3),
    ("Han", 0xF900, 0xFAFF),
    ("Arabic", 0xFB50, 0xFDFF),
    ("Han", 0x20000, 0x323AF),
)
# ISO 639-1. A language that is not here is written in Latin letters.
_SCRIPTS_OF = {
    "el": {"Greek"}, "ru": {"Cyrillic"}, "uk": {"Cyrillic"}, "bg": {"Cyrillic"}, "be": {"Cyrillic"},
    "mk": {"Cyrillic"}, "kk": {"Cyrillic"}, "ky": {"Cyrillic"}, "mn": {"Cyrillic"}, "tg": {"Cyrillic"},
    "sr": {"Cyrillic", "Latin"}, "hy": {"Armenian"}, "he": {"Hebrew"}, "yi": {"Hebrew"}, "ar": {"Arabic"},
    "fa": {"Arabic"}, "ur": {"Arabic"}, "ps": {"Arabic"}, "ug": {"Arabic"}, "hi": {"Devanagari"},
    "mr": {"Devanagari"}, "ne": {"Devanagari"}, "sa": {"Devanagari"}, "bn": {"Bengali"}, "as": {"Bengali"},
    "pa": {"Gurmukhi"}, "gu": {"Gujarati"}, "ta": {"Tamil"}, "te": {"Telugu"}, "kn": {"Kannada"},
    "ml": {"Malayalam"}, "th": {"Thai"}, "ka": {"Georgian"}, "ko": {"Hangul", "Han"}, "ja": {"Kana", "Han"},
    "zh": {"Han"},
}  # fmt: skip
_SHARE = 0.2  # of the letters, from which a script is one that the text is written in
_FEWEST_LETTERS = 60  # for a guess at the language: fewer, and names and formulas decide
_FEWEST_OF_A_PART = 15  # letters
_SENTENCE_END = re.compile(r"[.:;!?。？！：\n]")
_READ = 5000  # characters, for a guess
_FEWEST_LATIN = 30  # letters, to be more than a formula
_HARDLY = 0.002  # the probability of all wanted languages together, up to which a text is in none of them
_LIKELY = 0.5  # the probability from which the language that a text is in is named
_NONE = "zxx"  # py3langid's answer for texts that are in no language
# What py3langid calls the varieties of a language, or a language that it knows under another code.
_VARIETIES = {
    "zh": {"wuu", "yue"}, "ar": {"ary", "arz"}, "no": {"nn"}, "nb": {"no", "nn"}, "nn": {"no"}, "ku": {"sdh"},
    "uz": {"uzs"}, "el": {"grc"}, "he": {"hbo"}, "gn": {"gug"}, "ki": {"kik"}, "ff": {"fuv"},
}  # fmt: skip


@lru_cache(maxsize=20_000)
def _script(character: str) -> str | None:
    if not character.isalpha():
        return None
    point = ord(character)
    return next((name for name, first, last in _RANGES if first <= point <= last), None)


def scripts(text: str) -> dict[str, int]:
    """Letters of each script, the commonest first."""
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if (name := _script(character)) is not None:
            counts[name] += count
    return dict(counts.most_common())


def unwanted(text: str, wanted: Collection[str]) -> str | None:
    """The script or language that none of the wanted languages (ISO 639-1) is written in, or None.

    Latin letters beside another script, or a few of them alone, are names, units and formulas of any language.
    """
    counts = scripts(text)
    letters = sum(counts.values())
    allowed = set[str]().union(*(_SCRIPTS_OF.get(language, {"Latin"}) for language in wanted))
    neutral = letters < _FEWEST_LATIN or any(name != "Latin" and name in allowed for name in counts)
    for name, count in counts.items():
        if name not in allowed and count >= _SHARE * letters and not (name == "Latin" and neutral):
            return name
    if letters < _FEWEST_LETTERS or ("ja" in wanted and "Kana" in counts):
        return None
    return another(text, frozenset(wanted))


def another(text: str, wanted: frozenset[str]) -> str | None:
    """The language (ISO 639, as py3langid has it) of a text that is as good as certainly in none of the wanted ones.

    A language that py3langid does not know looks to it like a neighbour: where one is wanted nothing is said.
    """
    known = [{language, *_VARIETIES.get(language, ())} & _labels() for language in wanted]
    if not all(known):
        return None
    own = set[str]().union(*known)
    probabilities = _probabilities(text[:_READ])
    language = max(probabilities, key=probabilities.__getitem__)
    if sum(probabilities[name] for name in own | {_NONE}) > _HARDLY or probabilities[language] < _LIKELY:
        return None
    return None if _in_part(text[:_READ], own) else language


def _in_part(text: str, own: set[str]) -> bool:
    """Whether a sentence or line is in a wanted language: that of a request to translate the others, for one."""
    parts = (part for part in _SENTENCE_END.split(text) if sum(map(str.isalpha, part)) >= _FEWEST_OF_A_PART)
    return any(sum(_probabilities(part)[name] for name in own) >= _LIKELY for part in parts)


def _probabilities(text: str) -> dict[str, float]:
    return dict(_identifier().rank(text))


@cache
def _labels() -> frozenset[str]:
    return frozenset(_identifier().labels)


@cache
def _identifier() -> "LanguageIdentifier":
    from py3langid import langid  # here, because only few processes ever need it

    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
