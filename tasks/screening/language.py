"""In which scripts and, where it can be told, in which language a text is written.

A script is read from the characters: cheap, and certain. Which of the languages of one script it is would be a guess
for most tasks, which are short and half formula; py3langid makes it for longer texts, where it is installed. A text
that cannot be told is never called unwanted.
"""

from collections import Counter
from collections.abc import Collection
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

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
_FEWEST_LATIN = 30  # letters, to be more than a formula
_SURE = 0.98


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
    language = identify(text)
    return None if language is None or language in wanted else language


def identify(text: str) -> str | None:
    """The language, ISO 639-1, where it is as good as certain."""
    identifier = _identifier()
    if identifier is None:
        return None
    language, probability = identifier.classify(text[:5000])
    return str(language) if probability >= _SURE else None


@cache
def _identifier() -> Any:
    """None where py3langid is not installed: then scripts alone decide."""
    try:
        langid = import_module("py3langid.langid")
    except ImportError:
        return None
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
