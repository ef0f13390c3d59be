r"""How people write a mathematical answer, brought to the LaTeX that the symbolic comparison reads.

Only dress is taken off: signs outside ASCII, delimiters, blanks between thousands, currency, a unit behind a number.
What changes the value is written out: 2 1/2, 1e3, 0.\overline{3}, 5 million. What is words is told apart from formulas.
"""

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

MAX_CHARACTERS = 2000  # of one answer; what is longer is not read
MAX_DEPTH = 24  # brackets within brackets; the grammar takes seconds for more

_SIGNS = {
    **dict.fromkeys("−–﹣－‐‑", "-"), **dict.fromkeys("·⋅∙•", r"\cdot "), "×": r"\times ", "÷": r"\div ", "∗": "*",
    "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt", "±": r"\pm ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
    "≈": r"\approx ", "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ", "°": r"^\circ ",
    "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "λ": r"\lambda ", "μ": r"\mu ", "σ": r"\sigma ",
    "φ": r"\phi ", "ω": r"\omega ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℚ": r"\mathbb{Q}", "ℕ": r"\mathbb{N}",
    "ℂ": r"\mathbb{C}", "’": "'", "‘": "'", "“": '"', "”": '"', "…": r"\ldots ",
}  # fmt: skip
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ", "0123456789+-()n", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎", "0123456789+-()", strict=True))
_BLANKS = frozenset("\u00a0\u2007\u2009\u200a\u202f\u3000")
_RAISED = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_LOWERED = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")

_DELIMITERS = re.compile(
    r"(?<!\\)\\[()\[\]](?![a-zA-Z])|\\?\$|[€£¥₹]|\*\*|`|\\(?:displaystyle|limits|boldsymbol)(?![a-zA-Z])"
)
_SPACES = re.compile(r"(?<!\\)\\[,;:! ]|\\q?quad(?![a-zA-Z])|(?<!\\)~|\s+")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:\\[,;:! ]|~|\{\\?,\}|'|\s)\d{3}){1,20}(?![\d])")
_COMMAS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3}){1,20}(?![\d,])")
_BRACKETS = re.compile(r"[()\[\]{}]")
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname)\s?\{([^{}]{0,500})\}")
_WORDS = re.compile(r"[^\W\d_]+(?:(?:[-' /&]|, )[^\W\d_]+)*")
_LONG_WORD = re.compile(r"[^\W\d_]{4}")
_MATHS_WORDS = frozenset(
    {"infinity", "sinh", "cosh", "tanh", "sqrt", "alpha", "beta", "gamma", "theta", "lambda", "sigma"}
)
_MIXED = re.compile(r"(?<![\d.^_/}])(\d{1,20})\s(\d{1,20})/(\d{1,20})(?![\d.])")
_SCIENTIFIC = re.compile(r"(?<![\w.\\])(\d{1,50}(?:\.\d{1,50})?)[eE]([+-]?\d{1,4})(?![\w.])")
_REPEATING = re.compile(r"(?<![\d.])(\d{0,20})\.(\d{0,20})\\(?:overline|bar|dot)\s?\{(\d{1,20})\}(?!\d)")
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALE = re.compile(
    r"(?<=\d)\s?(?:\\text\s?\{\s?)?(hundred|thousand|million|billion|trillion)s?\b\s?\}?", re.IGNORECASE
)
_PERCENT = re.compile(
    r"\s?(?:\\?%|\\text\s?\{\s?(?:\\?%|percent)\s?\}|\bper\s?cent\b|\bpercentage\b|\bpct\b)$", re.IGNORECASE
)
# A unit behind a number. One letter only after a blank: 3t is a product. Letters that are numbers (e, i) never are.
_UNIT = re.compile(
    r"(?<=[\d}i])(?:"
    r"\s?\\(?:text|mathrm|mbox|textrm)\s?\{\s?(?![a-zA-Z]\s?\})[^{}]{2,100}\}"
    r"|\s?\\(?:text|mathrm|mbox|textrm)\s?\{\s?[mghlsLNJWVKCF]\s?\}"
    r"|(?<=\d)\s?(?:[cmkd]?m|k?g|mg|ml|mL|ft|kmh|mph|hrs?|oz|lbs?|mi|yd|sq)(?<!\dm)(?<!\dg)(?:/\s?[A-Za-z]{1,20})?"
    r"|(?<=\d)\s(?:in|[mghsL](?:/[hs])?)"
    r"|(?<=\d)\s(?!(?:and|mod|sin|cos|tan|log|for|when)\b)[A-Za-z]{3,20}(?:[ /][A-Za-z]{2,20}){0,5}"
    r")(?:\^\s?\{?[23]\}?)?$"
)
_CURRENCY_WORDS = re.compile(r"^(?:USD|EUR|GBP|Rs\.?)\s?(?=\d)")
_LEADING = re.compile(r"^(?:=|\\approx(?![a-zA-Z])|approximately\b|about\b|exactly\b)\s?", re.IGNORECASE)
_NAMES = (
    (re.compile(r"\\(?:mathrm|text|textrm|operatorname)\s?\{\s?([ei])\s?\}"), r"\1"),
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset"),
    (re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"(?<![A-Za-z\\])(?:infinity|inf|oo)(?![A-Za-z])"), r"\\infty "),
)
_ROOT = re.compile(r"\\?sqrt\s?\(([^()]{1,200})\)")
_POWER = re.compile(r"\*\*")
_PLAIN = re.compile(r"-?(?:\d{1,15}|(?=[\d.]{3,15}$)\d{1,12}\.\d{1,6})", re.ASCII)


class Written(NamedTuple):
    latex: str  # without a percent sign behind it
    percent: bool
    words: str  # folded, where it is words and no formula; else ""
    folded: str  # the whole as plain text, for comparing with words
    plain: Decimal | None  # its value where it is an integer or a decimal of at most 15 digits, 6 behind the point


class Unreadable(ValueError):
    """The text cannot be meant as a formula; says why."""

    def __init__(self, reason: str, flag: str = "sample_parse_error") -> None:
        super().__init__(reason)
        self.flag = flag


@lru_cache(maxsize=8192)
def written(text: str) -> Written:
    """Raises Unreadable on what has no answer in it: nothing, too much, or numbers without a sign between them."""
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(f"The answer has more than {MAX_CHARACTERS:,} characters", "too_long")
    if _depth(text) > MAX_DEPTH:
        raise Unreadable(f"The answer nests deeper than {MAX_DEPTH} levels")
    if _PLAIN.fullmatch(text):
        return Written(text, False, "", text, Decimal(text))
    text = _ascii(text).strip()
    folded = _folded(text)
    if not folded:
        raise Unreadable("The answer is empty")
    if words := _as_words(text, folded):
        return Written(text, False, words, folded, None)
    latex = _formula(text)
    percent = bool(found := _PERCENT.search(latex))
    if found:
        latex = latex[: found.start()].rstrip("\\ ")
    if not latex:
        raise Unreadable("The answer is empty")
    if re.fullmatch(r"[-\d.]+(?:\s[-\d.]+)+", latex):
        raise Unreadable(f"'{latex[:60]}' has no sign between its numbers")
    return Written(latex, percent, "", folded, Decimal(latex) if _PLAIN.fullmatch(latex) else None)


def _depth(text: str) -> int:
    depth = deepest = 0
    for sign in _BRACKETS.findall(text):
        depth += 1 if sign in "([{" else -1
        deepest = max(deepest, depth)
    return deepest


def _ascii(text: str) -> str:
    if text.isascii():
        return text.replace("\0", "\ufffd")
    text = _RAISED.sub(lambda run: "^{" + "".join(_SUPERSCRIPTS[sign] for sign in run[0]) + "}", text)
    text = _LOWERED.sub(lambda run: "_{" + "".join(_SUBSCRIPTS[sign] for sign in run[0]) + "}", text)
    return "".join(sign if sign.isascii() else _sign(sign) for sign in text)


def _sign(sign: str) -> str:
    if (plain := _SIGNS.get(sign)) is not None:
        return plain
    if sign in _BLANKS:
        return " "
    category = unicodedata.category(sign)
    if category == "Nd":
        return str(unicodedata.decimal(sign))
    if category == "Cs":  # half of a surrogate pair: no JSON and no answer
        return "\ufffd"
    if category == "Cf":  # invisible
        return ""
    folded = unicodedata.normalize("NFKC", sign)
    if category == "No" and "\u2044" in folded:  # ½
        over, _, under = folded.partition("\u2044")
        return rf"\frac{{{over}}}{{{under}}}"
    return folded


def _formula(text: str) -> str:
    text = _DELIMITERS.sub("", _POWER.sub("^", text) if re.search(r"[\w)]\*\*[\w(]", text) else text)
    text = _THOUSANDS.sub(lambda found: "".join(sign for sign in found[0] if sign.isdecimal()), text)
    text = _SPACES.sub(" ", text).strip(" ").rstrip(".,;: ")
    text = _LEADING.sub("", text)
    text = _CURRENCY_WORDS.sub("", text)
    text = _SCALE.sub(lambda found: rf" \times 10^{{{_SCALES[found[1].lower()]}}} ", text).strip()
    text = _UNIT.sub(lambda found: found[0] if _PERCENT.fullmatch(found[0]) else "", text)
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    text = _SCIENTIFIC.sub(r"\1 \\times 10^{\2}", text)
    text = _REPEATING.sub(_fraction, text)
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    for name, latex in _NAMES:
        text = name.sub(latex, text)
    if "," in text and not _BRACKETS.search(text) and ", " not in text:
        text = _COMMAS.sub(lambda found: found[0].replace(",", ""), text)
    return text.strip()


def _fraction(repeating: re.Match[str]) -> str:
    r"""0.1\overline{6} = (16 - 1) / 90."""
    whole, fixed, cycle = repeating[1] or "0", repeating[2], repeating[3]
    numerator = int(whole + fixed + cycle) - int(whole + fixed)
    return rf"\frac{{{numerator}}}{{{(10 ** len(cycle) - 1) * 10 ** len(fixed)}}}"


def _folded(text: str) -> str:
    for _ in range(4):
        text, unwrapped = _TEXT.subn(r"\1", text)
        if not unwrapped:
            break
    text = _SPACES.sub(" ", _DELIMITERS.sub("", text)).strip(" .,;:!")
    if text[:1] == "(" and text[-1:] == ")" and len(text) <= 4:
        text = text[1:-1].strip()
    return text.casefold()


def _as_words(text: str, folded: str) -> str:
    r"""Letters are words where \text says so or four stand in a row; xyz is a product."""
    if not _WORDS.fullmatch(folded) or folded in _MATHS_WORDS or "\\" in folded:
        return ""
    wrapped = _TEXT.fullmatch(_DELIMITERS.sub("", text).strip(" .,;:!"))
    return folded if wrapped or _LONG_WORD.search(folded) else ""
