r"""math: the last \boxed{} of the reply, else its stated final answer, equals the reference symbolically (math-verify).

What takes time or could hang runs in killable workers (comparing.py). Numbers and words are decided here, where the
workers would come to the same result. What is read and what counts as equal: docs/graders.md.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from tasks.graders import comparing, final_answer, templates
from tasks.graders.comparing import Answer, Question, Verdict
from tasks.graders.notation import Unreadable, Written, written
from tasks.graders.outcome import AuthorFault, CheckMany, ModelFault, of_fault, scored, ungradable, wrong
from tasks.graders.reasoning import without_reasoning
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {"type": "math", "reference": "{{ item.reference }}"},
    "item": {"reference": r"\frac{\sqrt{3}}{2}"},
    "completion": r"The height is $\sqrt{1 - \frac14}$, that is $\boxed{\sqrt{3}/2}$.",
}

_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_INTERVAL = re.compile(r"\\infty|\\cup|[\[\]]")  # a reference with one of these is no point (1, 3)
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_WORKED_OUT = re.compile(
    rf"(?:[A-Za-z]\s?=\s?)?-?\s?(?:{_NUMBER}(?:\s?\\times\s?10\^\{{-?\d+\}})?|\d+\s?/\s?\d+"
    r"|\d*\s?\\[dt]?frac\s?(?:\{-?\d+\}|\d)\s?(?:\{\d+\}|\d))"
)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="math", tag_field="type"):
    reference: str | int | float = "{{ item.reference }}"
    name: str = ""
    accept: Literal["boxed_or_stated", "boxed"] = "boxed_or_stated"  # boxed: a reply without \boxed{} has no answer
    decimals: int = 6  # places to which decimals are compared with what is no integer; 1 to 12
    worked_out: bool = False  # a reference that is a number wants a number: 2+2 and 2^{10} are no answers then
    seconds: float = 5.0  # for reading and comparing one reply; above 0, at most 60
    pass_threshold: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 60:
            raise ValueError("`seconds` must be above 0 and at most 60")
        if not 1 <= self.decimals <= 12:
            raise ValueError("`decimals` must lie between 1 and 12")


def compile_many(config: Config) -> CheckMany:
    if not (isinstance(config.reference, str) and "{{" in config.reference):
        _reference(config, {})

    def check_many(replies: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Grade]:
        """What needs a worker goes there in one batch, after everything else was decided here."""
        looked = [_look(config, completion, item) for completion, item in replies]
        pending = [found for found in looked if isinstance(found, _Pending)]
        answers = iter(comparing.compare([found.question for found in pending], config.seconds))
        return [_grade(config, found, next(answers)) if isinstance(found, _Pending) else found for found in looked]

    return check_many


class _Pending(NamedTuple):
    question: Question
    read: str  # the answer as the reply states it


def _look(config: Config, completion: str, item: Mapping[str, Any]) -> Grade | _Pending:
    """The grade where it needs no algebra, otherwise the question for a worker."""
    try:
        reference = _reference(config, item, completion)
        answer, read = _answer(config, reference, completion)
    except (AuthorFault, ModelFault) as fault:
        return of_fault(fault)
    pending = _Pending(_question(reference, answer, config.decimals), read)
    decided = _quick(reference, answer, config.decimals)
    return pending if decided is None else _grade(config, pending, Answer(decided))


def _reference(config: Config, item: Mapping[str, Any], completion: str = "") -> Written:
    text = _reference_text(config, item, completion)
    try:
        return written(text)
    except Unreadable as fault:
        raise AuthorFault("bad_reference", f"The reference cannot be read: {fault}.") from None


def _reference_text(config: Config, item: Mapping[str, Any], completion: str = "") -> str:
    reference = config.reference
    value = templates.parse(reference).value(completion, item) if isinstance(reference, str) else reference
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise AuthorFault("bad_reference", f"The reference is no formula: {templates.as_text(value)[:80]}.")
    if isinstance(value, int) and value.bit_length() > 6000:  # longer than MAX_CHARACTERS, and slow to print
        raise AuthorFault("bad_reference", "The reference is an integer of more than 1,800 digits.")
    text = str(value)
    if "boxed" in text and (boxed := final_answer.read(text, only_boxed=True)).text is not None:
        return boxed.text
    if not _balanced(text):
        raise AuthorFault("bad_reference", f"The braces of the reference '{text[:80]}' do not match.")
    return text


def _balanced(text: str) -> bool:
    depth = 0
    for brace in _BRACES.finditer(text):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth < 0:
            return False
    return depth == 0


def _answer(config: Config, reference: Written, completion: str) -> tuple[Written, str]:
    statement = final_answer.read(completion, only_boxed=config.accept == "boxed")
    if statement.text is None:
        raise ModelFault("sample_parse_error", statement.problem)
    try:
        answer = written(statement.text)
    except Unreadable as fault:
        raise ModelFault(fault.flag, f"{fault}.") from None
    if config.worked_out and _WORKED_OUT.fullmatch(reference.latex) and not _WORKED_OUT.fullmatch(answer.latex):
        raise ModelFault("not_worked_out", f"'{statement.text[:60]}' is no number: the answer has to be worked out.")
    return answer, statement.text


def _question(reference: Written, answer: Written, decimals: int) -> Question:
    """A percent sign on one side only may mean the number or its hundredth: 50% is read as 50 and as 0.5."""
    references: tuple[str, ...] = (reference.latex,)
    answers: tuple[str, ...] = (answer.latex,)
    if answer.percent and not reference.percent:
        answers = _readings(answer.latex)
    elif reference.percent and not answer.percent:
        references = _readings(reference.latex)
    relations = bool(_INTERVAL.search(reference.latex))
    return Question(references, answers, decimals, relations, reference.plain is not None)


def _readings(latex: str) -> tuple[str, ...]:
    return latex, rf"\frac{{{latex}}}{{100}}"


def _quick(reference: Written, answer: Written, decimals: int) -> Verdict | None:
    """The verdict on words and plain numbers; None where it takes algebra. A test compares it with the workers'."""
    if reference.words or answer.words:
        return Verdict.EQUAL if reference.folded == answer.folded else Verdict.DIFFERENT
    if reference.plain is None or answer.plain is None or reference.percent != answer.percent:
        return None
    if reference.plain == answer.plain:
        return Verdict.EQUAL
    whole = reference.plain == reference.plain.to_integral_value()
    return Verdict.DIFFERENT if whole or decimals >= 6 else None  # plain numbers have at most 6 decimals


def _grade(config: Config, pending: _Pending, answer: Answer) -> Grade:
    read, wanted = pending.read, pending.question.references[0][:60]
    shown = read[:60]
    match answer.verdict:
        case Verdict.EQUAL:
            grade = scored(1.0, config.pass_threshold, read, "Matches the reference.")
        case Verdict.DIFFERENT:
            grade = scored(0.0, config.pass_threshold, read, f"Expected {wanted}, read {shown}.")
        case Verdict.UNREADABLE:
            grade = wrong(read, f"'{shown}' cannot be read as a formula.", "sample_parse_error")
        case Verdict.TIMEOUT:
            reason = f"Comparing '{shown}' with the reference took longer than {config.seconds:g} s."
            grade = wrong(read, reason, "math_timeout")
        case Verdict.TOO_LARGE:
            grade = wrong(
                read, f"Comparing '{shown}' with the reference takes more memory than it may.", "math_too_large"
            )
        case Verdict.CRASHED:
            grade = wrong(read, f"'{shown}' ends the process that compares it.", "math_crash")
        case Verdict.UNUSABLE:
            grade = ungradable(f"The reference '{wanted}' cannot be used: {answer.detail}.", "bad_reference")
        case Verdict.LOST:
            grade = ungradable(f"The answer could not be compared: {answer.detail}", "sandbox_error")
    return msgspec.structs.replace(grade, seconds=answer.seconds)


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    try:
        return rf"\boxed{{{_reference_text(config, item)}}}"
    except (AuthorFault, ModelFault):
        return None


def reference_problem(config: Config, item: Mapping[str, Any]) -> str | None:
    """What shows without algebra; whether the reference is a formula is seen when its gold is graded."""
    _reference(config, item)
    return None


def coincides(config: Config, item: Mapping[str, Any], completion: str) -> bool:
    """Whether a decoy states the right answer by accident: to twelve decimals, without help from the rounding."""
    exact = msgspec.structs.replace(config, decimals=12)
    found = _look(exact, without_reasoning(completion), item)
    if isinstance(found, Grade):
        return found.correct
    return comparing.compare([found.question], config.seconds)[0].verdict is Verdict.EQUAL


def every_candidate(config: Config, item: Mapping[str, Any], others: Sequence[str]) -> str | None:
    """Every answer of the dataset in a box of its own, the right one among them and never last."""
    if (own := gold(config, item)) is None:
        return None
    stated = (final_answer.read(other).text for other in others)
    candidates = dict.fromkeys([own, *(rf"\boxed{{{text}}}" for text in stated if text is not None)])
    return ", ".join(candidates) if len(candidates) > 1 else None


def unavailable(config: Config) -> str | None:
    return comparing.unavailable()
