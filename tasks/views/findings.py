"""What the checks found about one task, as people read it: the other task beside it, texts marked in their places."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from tasks.models import Task, TaskFinding
from tasks.services import tombstones
from tasks.views.found import facts

MOST_CHARACTERS = 6000  # of two prompts that are compared word by word
MOST = 30
BESIDE = frozenset({TaskFinding.Kind.NEAR_DUPLICATE, TaskFinding.Kind.SUSPECT})
# What a reviewer asks first; stored objects do not keep an order.
OF_A_SUSPECT = ("most_frequent_answer", "given", "passed", "answers", "model", "upheld_by", "note")
IN_PLACE = frozenset({TaskFinding.Kind.SECRET, TaskFinding.Kind.PERSONAL})


class Piece(NamedTuple):
    """A stretch of a text. Templates escape it; only the mark around it is ours."""

    text: str
    mark: str  # why it is marked; "": it is not


class Shown(NamedTuple):
    finding: TaskFinding
    label: str
    other: Task | None  # where the viewer may see it
    hidden: bool  # there is one that the viewer may not see
    mine: Sequence[Piece]  # this prompt and the other's, with what they share marked
    theirs: Sequence[Piece]
    facts: Sequence[tuple[str, str]]


def findings_of(task: Task, user: Any) -> list[Shown]:
    found = list(TaskFinding.objects.filter(task=task).order_by("pk")[:MOST])
    others = {one.other for one in found if one.kind in BESIDE and one.other}
    visible = Task.objects.for_user(user).select_related("grader").in_bulk(others)
    tombstones.bury(visible.values(), user)
    return [_shown(one, task, visible) for one in found]


def _shown(finding: TaskFinding, task: Task, visible: Mapping[int, Task]) -> Shown:
    beside = finding.kind in BESIDE and finding.other is not None
    other = visible.get(finding.other) if beside and finding.other else None
    mine, theirs = shared(task.prompt, other.prompt) if other else ([], [])
    told = [] if finding.kind in IN_PLACE else facts(_ordered(finding))
    if other:  # both texts are there, with what they share marked
        told = [(name, text) for name, text in told if name != "shared"]
    return Shown(finding, finding.get_kind_display(), other, beside and other is None, mine, theirs, told)


def _ordered(finding: TaskFinding) -> Any:
    if finding.kind != TaskFinding.Kind.NEVER_SOLVED:
        return finding.evidence
    return {name: finding.evidence[name] for name in OF_A_SUSPECT if name in finding.evidence}


def messages_of(task: Task) -> list[tuple[str, list[Piece]]]:
    """(role, text with what was found in it marked)."""
    spans = _spans(task)
    return [
        (message["role"], marked(message["content"], spans.get(f"messages[{place}].content", ())))
        for place, message in enumerate(task.messages)
    ]


def elsewhere(task: Task) -> list[tuple[str, list[Piece]]]:
    """(field, text) of what was found beside the prompt: in the gold, in the item."""
    found = []
    for field, spans in _spans(task).items():
        text = _text_at(task, field)
        if not field.startswith("messages[") and text is not None:
            found.append((field, marked(text, spans)))
    return found


def _spans(task: Task) -> dict[str, list[tuple[int, int, str]]]:
    """{field: [(start, end, what it looks like)]}."""
    found: dict[str, list[tuple[int, int, str]]] = {}
    for rule, evidence in TaskFinding.objects.filter(task=task, kind__in=IN_PLACE).values_list("rule", "evidence"):
        field, start, end = (evidence.get(name) for name in ("field", "start", "end"))
        if isinstance(field, str) and isinstance(start, int) and isinstance(end, int):
            found.setdefault(field, []).append((start, end, rule.replace("_", " ")))
    return found


def _text_at(task: Task, field: str) -> str | None:
    """A text of the task by its path: gold, item.reference, item.steps[0]."""
    value: Any = {"gold": task.gold, "item": task.item}
    for step in field.replace("[", ".[").split("."):
        if step.startswith("[") and isinstance(value, list) and step[1:-1].isdecimal():
            place = int(step[1:-1])
            value = value[place] if place < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def marked(text: str, spans: Iterable[tuple[int, int, str]]) -> list[Piece]:
    """The text in pieces. Spans that overlap one before them, or lie outside, mark nothing twice."""
    pieces: list[Piece] = []
    at = 0
    for start, end, why in sorted(spans):
        start, end = max(start, at), min(end, len(text))
        if start < end:
            pieces += [Piece(text[at:start], ""), Piece(text[start:end], why)]
            at = end
    return [piece for piece in (*pieces, Piece(text[at:], "")) if piece.text]


def shared(mine: str, theirs: str) -> tuple[list[Piece], list[Piece]]:
    """Two prompts with the words that both have in the same order. Long ones are shown without marks."""
    if len(mine) > MOST_CHARACTERS or len(theirs) > MOST_CHARACTERS:
        return [Piece(mine, "")], [Piece(theirs, "")]
    left, right = _words(mine), _words(theirs)
    blocks = SequenceMatcher(None, _heard(left), _heard(right), autojunk=False).get_matching_blocks()
    return _pieces(left, [(one.a, one.size) for one in blocks]), _pieces(right, [(one.b, one.size) for one in blocks])


def _words(text: str) -> list[str]:
    """Words with the blanks behind them: joined they are the text again."""
    words, word = [], ""
    for character, following in zip(text, [*text[1:], "x"], strict=True) if text else ():
        word += character
        if character.isspace() and not following.isspace():
            words.append(word)
            word = ""
    return [*words, word] if word else words


def _heard(words: Sequence[str]) -> list[str]:
    """As copies are found: blanks and case make no other word."""
    return [word.strip().casefold() for word in words]


def _pieces(words: Sequence[str], blocks: Iterable[tuple[int, int]]) -> list[Piece]:
    pieces: list[Piece] = []
    at = 0
    for start, size in blocks:
        if size:
            pieces += [Piece("".join(words[at:start]), ""), Piece("".join(words[start : start + size]), "shared")]
            at = start + size
    return [piece for piece in (*pieces, Piece("".join(words[at:]), "")) if piece.text]
