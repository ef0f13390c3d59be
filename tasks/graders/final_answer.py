r"""Where a reply states its mathematical answer: the last \boxed{}, else what follows "the answer is" or ####.

Boxes that nothing but "or", "and" or commas stand between are one statement, and their different contents are read as
one list: \boxed{3} or \boxed{4} says "3, 4" and not 4. A box before other words is working and does not count.
A last box that is never closed was cut off: such a reply states nothing.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MAX_BOXES = 64  # of one statement
_BETWEEN = 60  # characters that may join two boxes
_TOKEN = re.compile(r"\\{1,2}(?:boxed|fbox)\s{0,4}\{|\\.|[{}]", re.DOTALL)
_MARKUP = re.compile(
    r"\$|\\[()\[\],;:! ]|\\q?quad|\\(?:text|mathrm|textbf)\s?\{|[{}*]|[a-zA-Z](?:_\d)?\s?=|[=\s.:&/|]|\\\\"
)
_JOINS = frozenset(
    ["or", "and", "either", "alternatively", "maybe", "perhaps", "possibly", "also", "else", "even", "both"]
)
_STATED = re.compile(
    r"\b(?:final\s{1,3})?answer\b(?:\s{0,3}(?:is|are|equals|would\s{1,2}be|=|:)){1,2}\s{0,3}(?=\S)|#{4}\s{0,3}(?=\S)",
    re.IGNORECASE,
)
_SENTENCE_ENDS = re.compile(r"\n|[.!?](?=\s|$)|;\s|,?\s(?:because|since|so that|which)\b")
_DELIMITED = re.compile(
    r"\$\$?([^$]{1,4000})\$\$?|\\\(((?:[^\\]|\\(?!\))){1,4000})\\\)|\\\[((?:[^\\]|\\(?!\])){1,4000})\\\]"
)
_FORMULA = re.compile(r"[\s\d.,+\-*/^%()=$€£\\{}]*")
MAX_BARE = 200  # characters of a reply that is nothing but its answer


class Statement(NamedTuple):
    text: str | None  # None: the reply states no answer
    problem: str = ""  # why not, as a sentence


class Box(NamedTuple):
    start: int  # of \boxed
    end: int  # behind the closing brace; -1: never closed
    content: str


NO_BOX = Statement(None, "The reply has no \\boxed{} answer.")
NO_ANSWER = Statement(None, "The reply states no answer: put it into \\boxed{}.")
EMPTY = Statement(None, "The last \\boxed{} of the reply is empty.")
CUT_OFF = Statement(None, "The last \\boxed{ of the reply is never closed.")
TOO_MANY = Statement(None, f"The reply's last statement has more than {MAX_BOXES} boxes.")


def read(reply: str, only_boxed: bool = False) -> Statement:
    if "boxed" in reply or "fbox" in reply:
        boxes = list(_boxes(reply))
        if boxes:
            return _boxed(reply, boxes)
    if only_boxed:
        return NO_BOX
    return _stated(reply) or _bare(reply) or NO_ANSWER


def _boxes(reply: str) -> Iterator[Box]:
    """Boxes that are not inside another one, in one pass over the text: the last may be open."""
    depth = 0
    opened: tuple[int, int, int] | None = None  # start, start of the content, depth outside
    for token in _TOKEN.finditer(reply):
        sign = token[0]
        if sign == "{":
            depth += 1
        elif sign == "}":
            depth = max(depth - 1, 0)
            if opened is not None and depth == opened[2]:
                yield Box(opened[0], token.end(), reply[opened[1] : token.start()].strip())
                opened = None
        elif sign[-1] == "{" and len(sign) > 2:
            if opened is None:
                opened = token.start(), token.end(), depth
            depth += 1
    if opened is not None:
        yield Box(opened[0], -1, "")


def _boxed(reply: str, boxes: Sequence[Box]) -> Statement:
    if boxes[-1].end < 0:
        return CUT_OFF
    last = len(boxes) - 1
    first = last
    while first and _joined(reply, boxes[first - 1].end, boxes[first].start):
        first -= 1
        if last - first >= MAX_BOXES:
            return TOO_MANY
    contents = list(dict.fromkeys(box.content for box in boxes[first:] if box.content))
    return Statement(", ".join(contents)) if contents else EMPTY


def _joined(reply: str, start: int, end: int) -> bool:
    """Whether two boxes belong to one statement: no words between them but "or", "and" and the like."""
    if end - start > _BETWEEN:
        return False
    words = _MARKUP.sub(" ", reply[start:end]).replace(",", " ").replace(";", " ").split()
    return all(word.lower() in _JOINS for word in words)


def _stated(reply: str) -> Statement | None:
    ends = [claim.end() for claim in _STATED.finditer(reply)]
    if not ends:
        return None
    tail = reply[ends[-1] : ends[-1] + 4000].lstrip("*_ ")
    if formula := _DELIMITED.match(tail):
        return Statement(next(part for part in formula.groups() if part is not None).strip())
    stop = _SENTENCE_ENDS.search(tail)
    text = (tail[: stop.start()] if stop else tail).strip(" \t\r\n*_`")
    return Statement(text) if text else None


def _bare(reply: str) -> Statement | None:
    """A reply that is nothing but one formula: 72, x = 4, $\\frac{1}{2}$."""
    text = reply.strip()
    if not text or len(text) > MAX_BARE or "\n" in text:
        return None
    formula = _DELIMITED.fullmatch(text)
    if formula or _FORMULA.fullmatch(text) or re.fullmatch(r"[A-Za-z]\s{0,2}=[^=]{1,100}", text):
        return Statement(text)
    return None
