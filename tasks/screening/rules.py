"""What a pattern of the screening is. The patterns themselves stand in secrets.py and personal.py."""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    SECRET = "secret"  # noqa: S105  gives access to something: never wanted
    PERSONAL = "personal"  # says who somebody is: wanted or not


class Rule(NamedTuple):
    """A pattern, and what besides its shape makes it likely. The group `found`, where there is one, is what counts.

    `shape` is the same for RE2, which knows no look-around and reads a text ten times as fast: a text that does not
    hold it does not hold the pattern either. "": nothing is known of that.
    """

    kind: Kind
    name: str  # as people call it: it stands in placeholders and on pages
    pattern: re.Pattern[str]
    anchors: tuple[str, ...] = ()  # of which a text must hold one; none: seven digits
    likely: Callable[[re.Match[str]], bool] = lambda _: True
    shape: str = ""
