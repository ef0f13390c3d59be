"""Personal data: e-mail, payment cards, telephone numbers, national ids.

Mathematics is full of numbers, so a number counts only with its check digits and a shape that nobody calculates with,
or beside a word that says what it is; never next to a sign of arithmetic. Addresses and numbers that are set aside for
examples (RFC 2606, 555-01xx) are nobody's.
"""

import re
from collections.abc import Callable
from datetime import date

from tasks.screening.rules import Kind, Rule

_NEAR = 40  # characters before and behind a number in which a word may say what it is
_ARITHMETIC_BEFORE = re.compile(r"[\d)\]] ?[-+*/^=×÷%] ?$|[*/^=×÷] ?$")
_OPERAND_BEFORE = re.compile(r"[\d)\]] ?$")
_ARITHMETIC_BEHIND = re.compile(r" ?[*/^=×÷%+]| ?[-−] ?[\d(]")


def _calculated(match: re.Match[str]) -> bool:
    text = match.string
    before = text[max(0, match.start() - 4) : match.start()]
    if match[0].startswith("+") and _OPERAND_BEFORE.search(before):
        return True
    return bool(_ARITHMETIC_BEFORE.search(before) or _ARITHMETIC_BEHIND.match(text, match.end()))


def _said(match: re.Match[str], words: re.Pattern[str]) -> bool:
    near = match.string[max(0, match.start() - _NEAR) : match.end() + _NEAR]
    return words.search(near) is not None


def _digits(text: str) -> list[int]:
    return [int(character) for character in text if "0" <= character <= "9"]


# E-mail

_NOBODYS_DOMAIN = re.compile(r"(?:^|\.)(?:example|test|invalid|localhost)(?:\.(?:com|net|org))?$")
_ENDINGS = (
    "com|net|org|edu|gov|mil|int|info|biz|name|pro|aero|coop|museum|jobs|mobi|travel|email|cloud|online|site|shop|store"
    "|tech|app|dev|xyz|blog|wiki|live|life|world|today|agency|systems|solutions|academy|school|bank|berlin|wien|koeln"
    "|london|paris|tokyo|nyc|[a-z]{2}"
)


def _somebodys(match: re.Match[str]) -> bool:
    """Not the user and host of an address such as https://user:password@host."""
    before = match.string[max(0, match.start() - 100) : match.start()].rpartition(" ")[2]
    return "://" not in before and _NOBODYS_DOMAIN.search(match["domain"].lower()) is None


# Payment cards

_CARD_WORDS = re.compile(r"(?i)card|visa|amex|american express|credit|debit|payment|karte|carte|tarjeta|卡")


def _card(match: re.Match[str]) -> bool:
    """ISO/IEC 7812. Written as one run the digits could be any number: a word has to say that they are not."""
    digits = _digits(match[0])
    grouped = len(match[0]) > len(digits)
    return _luhn(digits) and not _calculated(match) and (grouped or _said(match, _CARD_WORDS))


def _luhn(digits: list[int]) -> bool:
    doubled = (digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 and len(set(digits)) > 1


# Telephone numbers

_NOBODYS_NUMBER = re.compile(r"555\D{0,2}01\d\d$")


def _telephone(match: re.Match[str]) -> bool:
    digits = _digits(match[0])
    return (
        8 <= len(digits) <= 15
        and len(set(digits)) > 2
        and not _calculated(match)
        and _NOBODYS_NUMBER.search(match[0]) is None
    )


# National ids

_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19,
    "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
_ADVERTISED = frozenset({"078-05-1120", "219-09-9999", "123-45-6789"})  # shown so often that they are nobody's
_INSURANCE_WORDS = re.compile(r"(?i)s[ée]cu|social|insee|\bnir\b|n° ?ss")
_TAX_WORDS = re.compile(r"(?i)steuer|idnr|\btin\b|tax")
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def _iban(match: re.Match[str]) -> bool:
    """ISO 13616: modulo 97 of the digits, letters as 10 to 35, the first four characters at the end."""
    text = match[0].replace(" ", "")
    if len(text) != _IBAN_LENGTHS.get(text[:2]):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def _social_security(match: re.Match[str]) -> bool:
    """No area 000, 666 or from 900, no group 00, no serial number 0000: such ones were never given."""
    area, group, serial = match[0].split("-")
    given = area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"
    return given and match[0] not in _ADVERTISED and not _calculated(match)


def _german_tax_id(match: re.Match[str]) -> bool:
    """ISO 7064, MOD 11,10; of the first ten digits one stands twice or three times."""
    digits = _digits(match[0])
    most = max(digits[:10].count(digit) for digit in range(10))
    if most not in (2, 3) or not _said(match, _TAX_WORDS):
        return False
    product = 10
    for digit in digits[:10]:
        product = (product + digit) % 10 or 10
        product = product * 2 % 11
    return (11 - product) % 10 == digits[10]


def _chinese_id(match: re.Match[str]) -> bool:
    """GB 11643: a day of birth and ISO 7064, MOD 11-2."""
    text = match[0].upper()
    try:
        date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(text[:17]))
    return text[17] == "10X98765432"[total % 11] and not _calculated(match)


def _spanish_id(match: re.Match[str]) -> bool:
    number = match[0][:-1].translate(str.maketrans("XYZ", "012"))
    return match[0][-1] == _DNI_LETTERS[int(number) % 23] and len(set(number)) > 2


def _french_id(match: re.Match[str]) -> bool:
    """The last two digits are 97 less the rest modulo 97."""
    digits = match[0].replace(" ", "")
    right = int(digits[13:]) == 97 - int(digits[:13]) % 97
    return right and (len(match[0]) == 21 or _said(match, _INSURANCE_WORDS))  # all grouped: 15 digits and six blanks


def _brazilian_id(match: re.Match[str]) -> bool:
    digits = _digits(match[0])
    return len(set(digits)) > 2 and all(
        (sum(digit * (place + 1 - i) for i, digit in enumerate(digits[:place])) * 10 % 11) % 10 == digits[place]
        for place in (9, 10)
    )


_PART_OF_MORE = ".,+-"  # before a number they make it part of something longer, as letters and digits do
_ENDS = r"(?![\w]|[.,-]\d)"
# Ignoring case, Python takes ı and İ for i, RE2 does not.
_CALL = r"(?i:tel(?:e(?:fon|phone))?|phone|call|mob[iıİ]le?|cell|handy|fax|whatsapp|电话|手机|電話)"


def _number(name: str, written: str, likely: Callable[[re.Match[str]], bool], part: str | None = _PART_OF_MORE) -> Rule:
    """A number that stands alone. `part`: characters before it that make it part of something longer; None: any may
    stand there. Its shape takes every letter beyond ASCII for one that may stand around a number: too much, never too
    little."""
    alone, begins = "", ""
    if part is not None:
        excluded = re.escape(part)
        alone, begins = rf"(?<![\w{excluded}])", rf"(?:\A|[^0-9A-Za-z_{excluded}])"
    shape = rf"{begins}{written}(?:\z|[^0-9A-Za-z_])".replace(r"\d", r"\p{Nd}")
    return Rule(Kind.PERSONAL, name, re.compile(f"{alone}{written}{_ENDS}"), likely=likely, shape=shape)


RULES = (
    Rule(
        Kind.PERSONAL,
        "e-mail",
        re.compile(
            rf"(?<![\w.%+-])[A-Za-z0-9][\w.%+-]{{0,63}}@(?P<domain>(?:[A-Za-z0-9-]{{1,63}}\.){{1,4}}(?i:{_ENDINGS}))(?![\w-]|\.\w|\()"
        ),
        ("@",),
        _somebodys,
    ),
    _number("IBAN", r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?", _iban),
    _number(
        "card number",
        r"(?:(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6(?:011|5\d\d))(?:\d{12}|(?: \d{4}){3}|(?:-\d{4}){3})"
        r"|3[47]\d\d(?:\d{11}| \d{6} \d{5}|-\d{6}-\d{5}))",
        _card,
    ),
    _number("social security number", r"\d{3}-\d\d-\d{4}", _social_security),
    _number("Chinese id", r"[1-8]\d{5}(?:19|20)\d{2}[01]\d[0-3]\d\d{3}[\dXx]", _chinese_id),
    _number("Spanish id", r"(?:\d{8}|[XYZ]\d{7})[A-HJ-NP-TV-Z]", _spanish_id),
    _number("French social security number", r"[12] ?\d\d ?(?:0[1-9]|1[0-2]) ?\d\d ?\d{3} ?\d{3} ?\d\d", _french_id),
    _number("Brazilian id", r"\d{3}\.\d{3}\.\d{3}-\d\d", _brazilian_id),
    _number("German tax id", r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}", _german_tax_id),
    _number(
        "telephone number",
        r"(?P<found>\+[1-9]\d{0,2}(?:[ .()/-]{0,2}\d{1,5}){2,6})",
        _telephone,
        part=f"{_PART_OF_MORE})]",
    ),
    _number("telephone number", r"(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[.-])[2-9]\d\d[.-]\d{4}", _telephone),
    _number(
        "telephone number",
        rf"{_CALL}(?: ?(?:no|nr|number|nummer)\b)?[.:：]{{0,2}} {{0,2}}(?:is |me at |at |为|是)?"
        r"(?P<found>\(?\d[\d() /.-]{6,16}\d)",
        _telephone,
        part=None,
    ),
)
