"""Instructions around a question that make a copy of it look new: "Let's think step by step", "Question: … Answer:".

A wrapper is folded text (tasks.text.normalise), approved by a person or built in. It is taken off the start or the end
of a prompt, never out of its middle, and only for a second key: the stored prompt keeps it. In folded text the line
breaks of a message are blanks, so a wrapper ends where a word does. Where it was part of a sentence after all, the rest
is a key that no other task has.

What many rows of an upload begin or end with is proposed, not approved: "Sort the following words:" is such a piece.
What can be told to be of the question itself is not even proposed: a sentence with a question mark ("What does this
code print?"), a list of options, a single word that is no label. Who means one of them as a wrapper adds it by hand.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from tasks.text import TRAILING, normalise

SHARED_BY_ROWS = 20  # a piece is proposed from here on
SHARED_BY_SHARE = 0.001  # and above this share of the upload's rows
PIECE_CHARACTERS = 200  # a longer sentence is no wrapper
SHORTEST = 5  # characters of a piece that is proposed, but for "q:"
OPTION_WORDS = 3  # of each in a list of options; a longer part is a sentence
CAPACITY = 10_000  # pieces remembered: those of more than 1 in 5,000 rows are never forgotten
LAYERS = 4  # wrappers taken off one prompt at most

Place = Literal["start", "end"]

_SEPARATORS = " \n\t.,:;!?。！？…-*#"
_BETWEEN = _SEPARATORS.rstrip("*#")  # two wrappers: a heading's marks belong to the second
# One set of characters first, then the condition: three times as fast as alternatives. Folded text has the full-width
# signs of Chinese and Japanese as narrow ones, with no blank behind: there a sentence ends beside such a character.
_UNSPACED = r"\u3040-\U0010ffff"
_FIRST_MARK = re.compile(rf"[.?!:\n](?:(?=[ {_UNSPACED}])|(?<=\n)|(?<=[{_UNSPACED}].))")
_LAST_MARK_BACKWARDS = re.compile(rf"[.?!:\n](?:(?<=[ {_UNSPACED}].)|(?<=\n)|(?=[{_UNSPACED}]))", re.DOTALL)
_ASKING = ("?", "？", "؟")
_OPTION = re.compile(r"(?:^|(?<=\s))(?:\([a-z0-9]{1,2}\)|[a-z0-9][.)])(?=\s)")  # (a), b., 3)
_BETWEEN_OPTIONS = re.compile(r"\s[-*•|/]\s")
_WITHOUT_BLANKS = re.compile(f"[{_UNSPACED}]")


@dataclass(frozen=True, slots=True)
class Wrapper:
    """What stands before and what behind; with both, both must be there, and a mark before the end."""

    name: str
    start: str = ""  # folded
    end: str = ""

    @property
    def text(self) -> str:
        """As a person is shown it."""
        return " … ".join(part for part in (self.start, self.end) if part)


class Wrappers:
    """Approved wrappers, found by their first or last two characters."""

    def __init__(self, approved: Iterable[Wrapper]) -> None:
        self.all = tuple(approved)
        self._starts: dict[str, list[Wrapper]] = {}
        self._ends: dict[str, list[Wrapper]] = {}
        for wrapper in sorted(self.all, key=lambda wrapper: -len(wrapper.start + wrapper.end)):
            if len(wrapper.start or wrapper.end) < 2:
                raise ValueError(f"The wrapper {wrapper.name} is too short to be told from a word.")
            if wrapper.start:
                self._starts.setdefault(wrapper.start[:2], []).append(wrapper)
            else:
                self._ends.setdefault(wrapper.end[-2:], []).append(wrapper)

    def around(self, folded: str) -> Wrapper | None:
        """The longest one around a text."""
        for wrapper in self._starts.get(folded[:2], ()):
            if (
                folded.startswith(wrapper.start)
                and _starts(folded, len(wrapper.start))
                and _closes(folded, wrapper.end)
            ):
                return wrapper
        for wrapper in self._ends.get(folded[-2:], ()):
            if _ends(folded, wrapper.end):
                return wrapper
        return None

    def texts(self, names: Iterable[str]) -> list[str]:
        """What `strip` has taken off, as people read it."""
        by_name = {wrapper.name: wrapper.text for wrapper in self.all}
        return [by_name[name] for name in names]

    def knows(self, piece: str) -> bool:
        edges = {edge for wrapper in self.all for edge in (wrapper.start, wrapper.end)}
        return piece in edges or piece.strip(_SEPARATORS) in edges


def _starts(folded: str, stop: int) -> bool:
    return stop >= len(folded) or _apart(folded[stop - 1], folded[stop])


def _ends(folded: str, end: str) -> bool:
    begin = len(folded) - len(end)
    return folded.endswith(end) and (begin <= 0 or _apart(folded[begin - 1], end[0]))


def _closes(folded: str, end: str) -> bool:
    """The end of a pair may be a word as common as "answer"."""
    return not end or (_ends(folded, end) and not folded[: len(folded) - len(end)].rstrip()[-1:].isalnum())


def _apart(one: str, other: str) -> bool:
    """Whether a word can end between two characters; Chinese and Japanese write no blanks."""
    return not (one.isalnum() and other.isalnum()) or max(one, other) >= "\u3040"


def strip(folded: str, approved: Wrappers) -> tuple[str, tuple[str, ...]]:
    """The text without its wrappers, and their names from the outside in. A text of nothing else stays as it is."""
    names: list[str] = []
    while len(names) < LAYERS and (found := approved.around(folded)) is not None:
        inner = folded[len(found.start) : len(folded) - len(found.end)].lstrip(_BETWEEN).rstrip(_SEPARATORS)
        if not inner.lstrip(_SEPARATORS):
            break
        folded = inner
        names.append(found.name)
    return folded.lstrip(_SEPARATORS) if names else folded, tuple(names)


def wrapper(name: str, *, start: str = "", end: str = "") -> Wrapper:
    """From text as a person writes it. The colon of a start is kept: "question:" is a wrapper and "question" is not.

    A full stop is not: a start that was a message of its own has lost it in folded text.
    """
    return Wrapper(name, normalise(start).rstrip(TRAILING.replace(":", "")), normalise(end).strip(_SEPARATORS))


class Tally(msgspec.Struct):
    count: int
    line: int  # a row that has it
    asking: int = 0  # of the rows that end with it, those that end with a question mark
    labels: int = 0  # and those that end with a colon


class Lines(msgspec.Struct):
    """How many rows begin or end with the same sentence, in bounded memory (Misra and Gries, 1982; mergeable).

    A count is too low by `lost` at most, and `lost` is no more than 2 * rows / CAPACITY.
    """

    rows: int = 0
    lost: int = 0
    tallies: dict[str, Tally] = {}  # by "start" or "end", a blank, and the piece

    def add(self, folded: str, line: int, sign: str = "") -> None:
        """Count one row, given without the wrappers that are approved, and the sign that ended it (`last_sign`)."""
        self.rows += 1
        if piece := first_piece(folded):
            self._count("start " + piece, 1, line)
        if piece := last_piece(folded):
            self._count("end " + piece, 1, line, sign in _ASKING, sign == ":")
        while len(self.tallies) > CAPACITY:
            self._forget()

    def merge(self, other: "Lines") -> None:
        self.rows += other.rows
        self.lost += other.lost
        for key, tally in other.tallies.items():
            self._count(key, tally.count, tally.line, tally.asking, tally.labels)
        while len(self.tallies) > CAPACITY:
            self._forget()

    def _count(self, key: str, count: int, line: int, asking: int = 0, labels: int = 0) -> None:
        if (tally := self.tallies.get(key)) is not None:
            tally.count += count
            tally.line = min(tally.line, line)
            tally.asking += asking
            tally.labels += labels
        else:
            self.tallies[key] = Tally(count, line, int(asking), int(labels))

    def _forget(self) -> None:
        """Take one from every count; what has none left goes."""
        self.lost += 1
        for key, tally in list(self.tallies.items()):
            tally.count -= 1
            if not tally.count:
                del self.tallies[key]


def first_piece(folded: str) -> str:
    """The first sentence with its mark, "" where the text is one sentence or the first is long."""
    found = _FIRST_MARK.search(folded, 0, PIECE_CHARACTERS + 1)
    return folded[: found.end()].rstrip() if found and found.end() < len(folded) else ""


def last_piece(folded: str) -> str:
    """The last sentence without its mark, "" where the text is one sentence or the last is long.

    Behind a colon too, where more than a letter or a number stands there: 'end with a line "result: n"' is one piece.
    """
    tail = folded[-PIECE_CHARACTERS - 1 :].rstrip(_SEPARATORS)
    for found in _LAST_MARK_BACKWARDS.finditer(tail[::-1]):
        piece = tail[len(tail) - found.start() :].lstrip(_SEPARATORS)
        if found[0] != ":" or len(piece) >= SHORTEST:
            return piece
    return ""


def last_sign(content: str, folded: str, stripped: str) -> str:
    """What ended a text before folding took it off: of the last message, or in front of the wrapper behind it."""
    if folded.endswith(stripped):
        return content.rstrip(" \n\t\"'”’)*_`")[-1:].replace("：", ":")
    return folded[folded.rfind(stripped) + len(stripped) :].lstrip()[:1]


@dataclass(frozen=True, slots=True)
class Proposal:
    place: Place
    text: str
    count: int  # rows, at least
    share: float  # of the upload's rows
    line: int  # a row that has it


def propose(lines: Lines, approved: Wrappers) -> list[Proposal]:
    """What a person may want to approve, the most common first."""
    proposals = []
    for key, tally in lines.tallies.items():
        place, text = key.split(" ", 1)
        where: Place = "start" if place == "start" else "end"
        common = tally.count >= SHARED_BY_ROWS and tally.count > SHARED_BY_SHARE * lines.rows
        if common and not _of_the_question(text, tally) and not approved.knows(text):
            proposals.append(Proposal(where, text, tally.count, tally.count / lines.rows, tally.line))
    return sorted(proposals, key=lambda proposal: (-proposal.count, proposal.place, proposal.text))


def _of_the_question(text: str, tally: Tally) -> bool:
    """Whether a piece can be told to be no wrapper. Signs count where most of its rows have them."""
    if text.endswith(_ASKING) or 2 * tally.asking > tally.count:
        return True
    label = text.endswith(":") or 2 * tally.labels > tally.count
    one_word = " " not in text and not _WITHOUT_BLANKS.search(text)
    return (
        _offers(text) or not any(sign.isalpha() for sign in text) or (not label and (one_word or len(text) < SHORTEST))
    )


def _offers(text: str) -> bool:
    """Whether it is a list of options, or one of them: "(a) yes (b) no", "yes - no"."""
    found = [match.start() for match in _OPTION.finditer(text)]
    parts = _BETWEEN_OPTIONS.split(text)
    return (
        found[:1] == [0]
        or len(found) > 1
        or (len(parts) > 1 and all(len(part.split()) <= OPTION_WORDS for part in parts))
    )


BUILT_IN = (
    wrapper("question_answer", start="Question:", end="Answer"),
    wrapper("q_a", start="Q:", end="A"),
    wrapper("instruction_response", start="### Instruction:", end="### Response"),
    wrapper("question", start="Question:"),
    wrapper("problem", start="Problem:"),
    wrapper("instruction", start="### Instruction:"),
    wrapper("solve_problem", start="Solve the following problem"),
    wrapper("solve_math_problem", start="Solve the following math problem"),
    wrapper("solve_math_problem_steps", start="Solve the following math problem step by step"),
    wrapper("answer_question", start="Answer the following question"),
    wrapper("please_answer_question", start="Please answer the following question"),
    wrapper("answer_question_below", start="Answer the question below"),
    wrapper("helpful_assistant", start="You are a helpful assistant"),
    wrapper("math_assistant", start="You are a helpful math assistant"),
    wrapper(
        "alpaca",
        start="Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.",
    ),
    wrapper("boxed_only_first", start=r"Make sure to put the answer (and only answer) inside \boxed{}."),
    wrapper(
        "last_line_answer",
        start="The last line of your response should be of the form Answer: $Answer (without quotes) "
        "where $Answer is the answer to the problem.",
    ),
    wrapper("steps", start="Let's think step by step"),
    wrapper("steps_last", end="Let's think step by step"),
    wrapper("think_steps", end="Think step by step"),
    wrapper("please_think_steps", end="Please think step by step"),
    wrapper("reason_steps", end="Please reason step by step"),
    wrapper("show_work", end="Show your work"),
    wrapper("steps_boxed", end=r"Let's think step by step and output the final answer within \boxed{}"),
    wrapper("steps_hashes", end='Let\'s think step by step and output the final answer after "####"'),
    wrapper("reason_boxed", start=r"Please reason step by step, and put your final answer within \boxed{}."),
    wrapper("reason_boxed_last", end=r"Please reason step by step, and put your final answer within \boxed{}"),
    wrapper("boxed", end=r"Put your final answer within \boxed{}"),
    wrapper("please_boxed", end=r"Please put your final answer within \boxed{}"),
    wrapper("boxed_in", end=r"Put your final answer in \boxed{}"),
    wrapper("boxed_inside", end=r"Put your final answer inside \boxed{}"),
    wrapper("boxed_answer", end=r"Put your answer in \boxed{}"),
    wrapper("boxed_only", end=r"Make sure to put the answer (and only answer) inside \boxed{}"),
    wrapper("boxed_latex", end=r"Present the answer in LaTeX format: \boxed{Your answer}"),
    wrapper("own_line_answer", end='Remember to put your answer on its own line after "Answer:"'),
    wrapper("final_answer_only", end="Give only the final answer"),
    wrapper("reply_answer_only", end="Respond with only the final answer"),
    wrapper("steps_chinese", end="请一步步思考"),
    wrapper("reason_chinese", end="请逐步推理"),
    wrapper("reason_boxed_chinese", end=r"请逐步推理，并将最终答案放在 \boxed{} 中"),
    wrapper("solve_boxed_chinese", end=r"请通过逐步推理来解答问题，并把最终答案放置于\boxed{}中"),
)
APPROVED = Wrappers(BUILT_IN)
