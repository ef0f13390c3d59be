"""One normalisation of text. It makes keys and compares answers; a stored prompt is never changed by it.

Whoever changes what `normalise` returns raises NORM_VERSION: stored keys carry it and are computed anew
(tasks.services.rekeying). It is raised together with tasks.dedup.signature.BANDS_VERSION too, which no row carries.
"""

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from tasks.types import Message

NORM_VERSION = 2

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎", "0123456789+-()", strict=True))
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe31\ufe32\ufe58"  # hyphens, en, em, bar, minus; upright, small
_SIGNS = {
    **dict.fromkeys(_DASHES, "-"),  # all of them: which one stands for minus depends on who typed it
    **dict.fromkeys("。｡︒", "."),
    **dict.fromkeys("、､︑﹑", ","),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("×·⋅\u0387", "*"),
    **dict.fromkeys("Ŀŀ", "l*"),  # Catalan, as l·l is
}
_FRACTIONS = {
    chr(point): " " + "".join(chr(int(part, 16)) for part in unicodedata.decomposition(chr(point)).split()[1:]) + " "
    for point in (*range(0xBC, 0xBF), *range(0x2150, 0x215F), 0x2189)
}
_FRACTIONS = {sign: text.replace("\u2044", "/") for sign, text in _FRACTIONS.items()}
# soft hyphen, BOM, zero-width characters, and the marks that change the writing direction
_INVISIBLE = "\u00ad\ufeff\u200b-\u200f\u2060-\u2064\u202a-\u202e\u2066-\u2069\u061c"

# Before NFKC, which would turn 2³ into 23 and ½ into 1⁄2 glued to what stands before it. One set of characters first,
# which is searched for three times as fast as alternatives; what stands in a run is told by its first character.
_UPS, _DOWNS = re.escape("".join(_SUPERSCRIPTS)), re.escape("".join(_SUBSCRIPTS))
_BEFORE_NFKC = re.compile(
    f"[{_UPS}{_DOWNS}{''.join(_FRACTIONS)}{re.escape(''.join(_SIGNS))}{_INVISIBLE}]"
    f"(?:(?<=[{_UPS}])[{_UPS}]*|(?<=[{_DOWNS}])[{_DOWNS}]*|)"
)
_LATEX = re.compile(
    r"\$|\\[()!,]|\\(?:left|right)(?![a-zA-Z])|\\(?P<frac>[dt]frac)|\\(?:text|mathrm)\{(?P<word>[^{}]*)\}"
)
TRAILING = " .,:;!?。！？…"  # what may end a prompt without making it another one
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?!\d)")
_COMMA_IN_NUMBER = re.compile(r",\d")  # begins with a plain character, which is found ten times as fast
_BRACKETS_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_OF_A_WORD = r"[0-9A-Za-z_\u00aa-\u1fff\u2c00-\u2fff]"  # with marks on letters; Chinese and Japanese are cut anywhere
_WITHIN_WORD = re.compile(
    f"(?<={_OF_A_WORD})['.,]?(?={_OF_A_WORD})|(?<={_OF_A_WORD}['.,])(?={_OF_A_WORD})"  # let's, 3.5
)
LONGEST_WORD = 40  # characters; a longer run of letters is cut where it has to be


def normalise(text: str) -> str:
    """Fold what leaves the meaning alone: case, blanks, width, typographic signs, LaTeX dress, thousands separators."""
    if not text.isascii():
        text = _BEFORE_NFKC.sub(_plain, text)
    if text.isascii():
        text = text.lower()
    else:
        # Twice: folding the case can leave a form that NFKC would change again.
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if "\\" in text or "$" in text:
        text = _without_latex(text)
    if "," in text and _COMMA_IN_NUMBER.search(text):
        text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    return " ".join(text.split())


def _plain(match: re.Match[str]) -> str:
    found = match[0]
    first = found[0]
    if first in _SIGNS:
        return _SIGNS[first]
    if first in _SUPERSCRIPTS:
        return "^" + "".join(_SUPERSCRIPTS[sign] for sign in found)
    if first in _SUBSCRIPTS:
        return "_" + "".join(_SUBSCRIPTS[sign] for sign in found)
    return _FRACTIONS.get(first, "")


def _without_latex(text: str) -> str:
    for _ in range(8):  # \\text{\\mathrm{m}} unwraps from the inside; deeper than eight is not mathematics
        shorter = _LATEX.sub(lambda match: r"\frac" if match["frac"] else match["word"] or "", text)
        if shorter == text:
            break
        text = shorter
    return text


def refused_character(text: str) -> str | None:
    """Name the first character that Postgres or UTF-8 cannot hold, or None."""
    if "\0" in text:
        return "a NUL character"
    if not text.isascii() and (found := _LONE_SURROGATE.search(text)):
        return f"half of a surrogate pair (U+{ord(found[0]):04X})"
    return None


def folded(messages: Iterable[Message]) -> str:
    """The prompt as shingles, grams and ratios read it: every message normalised, without what ends a sentence."""
    return "\n\n".join(normalise(message.content).rstrip(TRAILING) for message in messages)


def prompt_text(messages: Iterable[Message]) -> str:
    """The prompt as one text, one paragraph a message, for shingles, echoes and excerpts."""
    return "\n\n".join(message.content for message in messages)


def nests_deeper(text: str, limit: int) -> bool:
    """Whether JSON text opens more than `limit` brackets at once. Linear, and almost free for ordinary text."""
    if text.count("[") + text.count("{") <= limit:
        return False
    depth = 0
    for found in _BRACKETS_OR_STRING.finditer(text):
        sign = found[0]
        if sign in ("[", "{"):
            depth += 1
            if depth > limit:
                return True
        elif sign in ("]", "}"):
            depth -= 1
    return False


def json_bytes(value: Any) -> int:
    """Of a JSON value as a reply holds it: without blanks, in UTF-8."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass"))


def excerpt(text: str, length: int = 200) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def whole_words(text: str, begin: int = 0, end: int | None = None, *, most: int = 200) -> str:
    """A stretch of a text as evidence: at most so many characters, without halves of words or numbers at its edges.

    Where nothing would be left, or a word is longer than words are, it is cut as it comes.
    """
    end = len(text) if end is None else end
    first = next((at for at in range(begin, min(begin + LONGEST_WORD, end)) if not _within_word(text, at)), begin)
    last = min(end, first + most)
    kept = next((at for at in range(last, max(last - LONGEST_WORD, first), -1) if not _within_word(text, at)), first)
    return text[first:kept].strip() or text[begin : min(end, begin + most)].strip()


def _within_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and _WITHIN_WORD.match(text, at) is not None
