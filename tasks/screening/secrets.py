"""Keys, tokens and passwords: what gives access to something.

Shapes are those that the providers publish. Keys that documentation shows as examples are no secrets, nor are
placeholders: a random key has digits, letters and many different characters.
"""

import re

from tasks.screening.rules import Kind, Rule

_EXAMPLES = ("example", "placeholder", "your", "xxxx")
_FEWEST_DIFFERENT = 10  # characters of a random key of twenty: fewer have one chance in a million


def _random(match: re.Match[str]) -> bool:
    key = match["key"]
    shown = key.lower()
    return (
        any(character.isdigit() for character in key)
        and any(character.isalpha() for character in key)
        and len(set(key)) >= _FEWEST_DIFFERENT
        and not any(example in shown for example in _EXAMPLES)
    )


# Its lines may be written with \\n, as in JSON; what stands behind END is not worth the search for it.
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----"
    r"[\s\\rn]{0,8}[A-Za-z0-9+/=:,\s\\-]{40,20000}"
)
_PASSWORD = re.compile(
    r"(?<![A-Za-z0-9])[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'<>]{1,64}:(?P<found>[^\s:/@\"'<>{}$]{6,128})@[\w.-]"
)
_WORDS_FOR_A_PASSWORD = ("password", "passwd", "secret", "xxx", "***")


def _not_a_word_for_it(match: re.Match[str]) -> bool:
    return not any(word in match["found"].lower() for word in _WORDS_FOR_A_PASSWORD)


def _rule(name: str, pattern: str, *anchors: str) -> Rule:
    return Rule(Kind.SECRET, name, re.compile(pattern), anchors, _random)


RULES = (
    _rule("AWS key", r"(?<![A-Za-z0-9])(?P<key>(?:AKIA|ASIA)[A-Z0-9]{16})(?![A-Za-z0-9])", "AKIA", "ASIA"),
    _rule(
        "GitHub token",
        r"(?<![A-Za-z0-9])(?P<key>gh[oprsu]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{50,200})",
        "ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_",
    ),
    _rule(
        "API key",  # OpenAI, Anthropic, OpenRouter and those who copy them
        r"(?<![A-Za-z0-9_-])sk-(?:[a-z]{2,8}[0-9]{0,2}-){0,2}(?P<key>[A-Za-z0-9_-]{20,250})",
        "sk-",
    ),
    _rule("Google key", r"(?<![A-Za-z0-9_-])(?P<key>AIza[A-Za-z0-9_-]{35})(?![A-Za-z0-9_-])", "AIza"),
    _rule("Slack token", r"(?<![A-Za-z0-9])(?P<key>xox[abeoprs]-[A-Za-z0-9-]{20,250})", "xox"),
    _rule("Stripe key", r"(?<![A-Za-z0-9])(?:[sr]k_(?:live|test)|whsec)_(?P<key>[A-Za-z0-9]{16,250})",
          "k_live_", "k_test_", "whsec_"),
    Rule(Kind.SECRET, "private key", _PRIVATE_KEY, ("-----BEGIN ",)),
    _rule(
        "JSON web token",
        r"(?<![A-Za-z0-9_-])(?P<key>eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,8000}\.[A-Za-z0-9_-]{20,1000})",
        "eyJ",
    ),
    _rule("bearer token", r"\b[Bb](?:earer|EARER) {1,3}(?P<key>[A-Za-z0-9._~+/-]{20,2000}={0,2})", "earer ", "EARER "),
    Rule(Kind.SECRET, "password in an address", _PASSWORD, ("://",), _not_a_word_for_it),
)  # fmt: skip
