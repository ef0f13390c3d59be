"""number: the last number of the reply against a reference, within a tolerance.

Read as numbers: 1,234.5  −3  $5  1e3  2.5×10^3  3/4  50%. Not read: digits glued to a letter (H2O, v2), 5 inside 25.
Powers, roots and formulas are for the math grader.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import msgspec

from tasks.graders import templates
from tasks.graders.outcome import AuthorFault, Check, ModelFault, scored, wrong
from tasks.graders.remembered import of_the_last
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {"type": "number", "reference": "{{ item.reference }}", "absolute_tolerance": 0.01},
    "item": {"reference": 1234.5},
    "completion": "12 boxes hold 1,234.50 kg together.",
}

SEARCHED = 20_000  # characters at the end of a text: a number before them is not what the reply concludes with
MAX_CHARACTERS = 1000  # of one number; 10**4300 and longer would cost time and mean nothing
MAX_EXPONENT = 9999
_TAIL = 200  # characters searched first: the last number is nearly always there
_NEAR = 24  # characters searched before them, where numbers stand in a row and one of its blanks is in reach
_MINUS = str.maketrans(dict.fromkeys("−–﹣－", "-"))

# What any number begins with is looked for first, and "/" before what may not stand there: a third of the time.
_NUMBER = re.compile(
    r"(?=[-+−–﹣－$€£¥₹.\d])(?P<sign>(?<![\w)\]}])[-+−–﹣－])?[$€£¥₹]?(?<![A-Za-z\d_])(?<!\d\.)"
    r"(?P<whole>\d{1,3}(?P<separator>[,'’\u00a0\u2009\u202f]|\{,\})\d{3}(?:(?P=separator)\d{3})*(?!\d)|\d+|(?<![A-Za-z\d_.])(?=\.\d))"
    r"(?P<fraction>\.\d+)?"
    r"(?:[eE](?P<exponent>[-+−]?\d+)|\s?(?:[×x*·⋅]|\\times|\\cdot)\s?10\^\{?(?P<power>[-+−]?\d+)\}?|(?=/)(?<!\d/\d)(?<!\d/\d\d)(?<!\d/\d{4})/(?P<denominator>\d+)(?![\d/.,]\d|\d))?"
    r"(?P<percent>\s?(?:\\?[%％٪]|per\s?cent\b))?"
)
# A version or an address (5.0.1), a power (5², 10⁵), a mixed number (5½), a hexadecimal one (0x5)
_GOES_ON = re.compile(r"\.\d|[²³¹⁰-⁹⁺⁻½¼¾⅐-⅞]|(?<=0)(?<!\d0)(?<!\.0)[xX][\dA-Fa-f]")
_IN_A_ROW = re.compile(r"[0-9,.] (?=[0-9])")  # no number goes on across such a blank
_UNIT = re.compile(r"\s?([^\s\d.,;:!?()\[\]{}]+)")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="number", tag_field="type"):
    reference: str | int | float = "{{ item.reference }}"
    name: str = ""
    absolute_tolerance: float = 0.0  # |read - reference| may be this large; 0: exact
    relative_tolerance: float = 0.0  # or this share of |reference|
    percent: Literal["as_number", "as_fraction"] = "as_number"  # 50% reads 50, or 0.5, on both sides
    units: dict[str, float] = {}  # unit -> factor to the reference's unit; what is not listed is ignored
    unit_required: bool = False
    pass_threshold: float = 1.0

    def __post_init__(self) -> None:
        for field in ("absolute_tolerance", "relative_tolerance"):
            if not 0 <= getattr(self, field) < float("inf"):
                raise ValueError(f"`{field}` must be 0 or more")
        if self.unit_required and not self.units:
            raise ValueError("`unit_required` needs `units`")


class Reading(NamedTuple):
    value: Decimal
    text: str
    unit: str  # "" where none of the known ones follows
    numbers: int  # in the part of the text that was searched


def grade(completion: str, target: Decimal, tolerance: Decimal = Decimal(0)) -> Grade:
    """Compare the last number in the completion with the target.

    The last one wins because models show their working first and conclude after.
    """
    return _compare(_read_reply(completion, Config(reference=0)), target, tolerance, 1.0)


def read(text: str, config: Config) -> Reading | None:
    """The last number of a text, in the reference's unit. Raises ValueError on one too long to be meant."""
    found, numbers = _last(text)
    if found is None:
        return None
    if _GOES_ON.match(text, found.end()):
        raise ValueError(f"'{text[found.start() : found.end() + 9].strip()}' is not a plain number.")
    value = _value(found)
    if found["percent"] and config.percent == "as_fraction":
        value = value.scaleb(-2)
    unit = ""
    if config.units and (word := _UNIT.match(text, found.end())) and word[1] in config.units:
        unit = word[1]
        value *= _exact(config.units[unit])
    return Reading(value, found[0].strip(), unit, numbers)


def _last(text: str) -> tuple[re.Match[str] | None, int]:
    """The last number and how many were seen: the tail is searched first, and believed when it holds two.

    A single one may have been cut at the blank where the tail begins (2.5 × | 10^3). Nor may the place where the search
    begins cut one: what is longer than the run-up is refused in any case.
    """
    floor = len(text) - SEARCHED
    first, cut = max(0, floor - MAX_CHARACTERS), len(text) - _TAIL
    start = max(text.rfind(" ", first, cut), text.rfind("\n", first, cut), first) if cut > first else first
    found = _in_a_row(text, start)
    if len(found) < 2:
        found = list(_NUMBER.finditer(text, start))
    if start > first and len(found) < 2:
        found = list(_NUMBER.finditer(text, first))
    if floor > 0:
        found = [number for number in found if number.end() > floor]
    return (found[-1] if found else None), len(found)


def _in_a_row(text: str, start: int) -> list[re.Match[str]]:
    """The last ones of numbers that stand in a row behind `start`: the same as of all that follows it."""
    blank = text.rfind(" ", start, max(start, len(text) - _NEAR))
    in_a_row = blank > start and _IN_A_ROW.match(text, blank - 1)
    return list(_NUMBER.finditer(text, blank + 1)) if in_a_row else []


def _value(found: re.Match[str]) -> Decimal:
    if found.end() - found.start() > MAX_CHARACTERS:
        raise ValueError(f"The number has more than {MAX_CHARACTERS} characters.")
    whole = found["whole"]
    if separator := found["separator"]:
        whole = whole.replace(separator, "")
    exponent = int((found["exponent"] or found["power"] or "0").translate(_MINUS)[:9])
    if abs(exponent) > MAX_EXPONENT:
        raise ValueError(f"The number's exponent is beyond {MAX_EXPONENT}.")
    value = Decimal((whole or "0") + (found["fraction"] or ""))
    if exponent:
        value = value.scaleb(exponent)
    if found["denominator"]:
        if not (denominator := Decimal(found["denominator"])):
            raise ValueError("The number divides by zero.")
        value /= denominator
    return -value if (found["sign"] or "+").translate(_MINUS) == "-" else value


def _exact(number: float) -> Decimal:
    return Decimal(repr(number))


def target_of(config: Config, item: Mapping[str, Any], completion: str = "") -> Reading:
    """The reference as a number; a bad one is the author's fault."""
    reference = config.reference
    value = templates.parse(reference).value(completion, item) if isinstance(reference, str) else reference
    return to_reading(value, config)


_target = of_the_last(target_of)


def to_reading(value: Any, config: Config) -> Reading:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise AuthorFault("bad_reference", f"The reference is not a number: {templates.as_text(value)[:80]}.")
    if isinstance(value, int) and abs(value) < 10**15:  # most references; the way below would read the same
        return Reading(Decimal(value), str(value), "", 1)
    if isinstance(value, str) and len(value) <= 15 and value.isascii() and value.isdigit():  # of the others, most
        return Reading(Decimal(value), value, "", 1)
    if isinstance(value, str) and len(value) > SEARCHED:
        raise AuthorFault("bad_reference", f"The reference is longer than {SEARCHED:,} characters: it is not a number.")
    try:
        reading = read(str(value), config)
    except ValueError as fault:
        raise AuthorFault("bad_reference", f"The reference cannot be read: {fault}") from None
    if reading is None or reading.numbers > 1:
        raise AuthorFault("bad_reference", f"The reference is not one number: '{str(value)[:80]}'.")
    return reading


def compile(config: Config) -> Check:
    absolute, relative = _exact(config.absolute_tolerance), _exact(config.relative_tolerance)
    literal = config.reference
    fixed = None if isinstance(literal, str) and "{{" in literal else target_of(config, {})
    quotes = isinstance(literal, str) and templates.parse(literal).reads_reply

    def check(completion: str, item: Mapping[str, Any]) -> Grade:
        target = (fixed or (target_of(config, item, completion) if quotes else _target(config, item))).value
        tolerance = max(absolute, relative * abs(target)) if relative else absolute
        return _compare(_read_reply(completion, config), target, tolerance, config.pass_threshold)

    return check


def _read_reply(completion: str, config: Config) -> Reading | Grade:
    """What the reply says, or its grade where it says nothing."""
    try:
        reading = read(completion, config)
    except ValueError as fault:
        return wrong(None, str(fault), "sample_parse_error")
    if reading is None:
        where = f" in its last {SEARCHED:,} characters" if len(completion) > SEARCHED else ""
        return wrong(None, f"The reply contains no number{where}.")
    if config.unit_required and not reading.unit:
        return wrong(None, f"'{reading.text[:80]}' has none of the units {', '.join(config.units)}.")
    return reading


def _compare(reading: Reading | Grade, target: Decimal, tolerance: Decimal, threshold: float) -> Grade:
    if isinstance(reading, Grade):
        return reading
    if reading.value == target or (tolerance and abs(reading.value - target) <= tolerance):
        return scored(1.0, threshold, reading.text, "Matches the reference.")
    return scored(0.0, threshold, reading.text, f"Expected {str(target)[:60]}, read {reading.text[:60]}.")


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    try:
        reading = target_of(config, item)
    except (AuthorFault, ModelFault):
        return None
    own_unit = next((unit for unit, factor in config.units.items() if factor == 1), "") if config.unit_required else ""
    return f"{reading.text} {reading.unit or own_unit}".rstrip()


def coincides(config: Config, item: Mapping[str, Any], completion: str) -> bool:
    """Whether a decoy states the right number by accident: exactly, without help from a wide tolerance."""
    try:
        reading = read(completion, config)
        return reading is not None and reading.value == target_of(config, item, completion).value
    except (AuthorFault, ModelFault, ValueError):
        return False


def reference_problem(config: Config, item: Mapping[str, Any]) -> str | None:
    """Why the reference of this item cannot be used, as a sentence."""
    target_of(config, item)
    return None
