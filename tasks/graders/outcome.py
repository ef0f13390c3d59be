"""How a finding becomes a Grade. Fault decides: the model's is incorrect, the author's or ours is ungradable."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.text import excerpt
from tasks.types import Grade, Outcome

# What a grader module compiles its Config to: (completion without its reasoning, item) -> Grade
Check = Callable[[str, Mapping[str, Any]], Grade]
# or, for graders that answer for many at once: one Grade for each, in order
CheckMany = Callable[[Sequence[tuple[str, Mapping[str, Any]]]], Sequence[Grade]]

_NO_SUB_SCORES: Mapping[str, float] = {}


class ModelFault(Exception):
    """The completion is not what the grader needs: incorrect, score 0, with a flag."""

    def __init__(self, flag: str, reason: str) -> None:
        super().__init__(reason)
        self.flag = flag
        self.reason = reason


class AuthorFault(Exception):
    """The item or the grader's configuration is not what grading needs: ungradable, with a flag."""

    def __init__(self, flag: str, reason: str) -> None:
        super().__init__(reason)
        self.flag = flag
        self.reason = reason


def scored(
    score: float,
    threshold: float,
    read: str | None,
    reason: str,
    sub_scores: Mapping[str, float] = _NO_SUB_SCORES,
    errors: tuple[str, ...] = (),
) -> Grade:
    """Correct means score ≥ threshold; the rounding takes the last bits of a weighted mean out of the comparison."""
    score = round(score, 12) + 0.0  # no negative zero
    outcome = Outcome.CORRECT if score >= threshold else Outcome.INCORRECT
    return Grade(outcome, score, None if read is None else excerpt(read), reason, sub_scores, errors)


def wrong(read: str | None, reason: str, *errors: str) -> Grade:
    return Grade(Outcome.INCORRECT, 0.0, None if read is None else excerpt(read), reason, errors=errors)


def ungradable(reason: str, *errors: str) -> Grade:
    return Grade(Outcome.UNGRADABLE, 0.0, None, reason, errors=errors)


def of_fault(fault: ModelFault | AuthorFault) -> Grade:
    return (
        wrong(None, fault.reason, fault.flag) if isinstance(fault, ModelFault) else ungradable(fault.reason, fault.flag)
    )
