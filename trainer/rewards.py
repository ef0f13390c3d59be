"""From completions to rewards and advantages: plain numbers, one list entry per rollout.

A reward is the grader's score as it is. A rollout that could not be graded has no reward (None): it is left out of its
group's mean and gets no advantage, because a silent zero would punish the model for somebody else's fault.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tasks.graders import registry
from tasks.types import Grade, Outcome
from trainer.contract import Grading

ERROR_BUDGET = 0.01  # share of rollouts that may be ungradable before a run stops
BROKEN_SHARE, BROKEN_FROM = 0.95, 64  # of answers that a grader breaks over, and from how many on: it measures nothing
FORGIVEN_ERRORS = 2  # a single hiccup in the first step is no reason to stop
# Share of an evaluation's answers: above what any gate policy allows (policy.error_budget), no gate could use it.
EVALUATION_ERROR_BUDGET = 0.1


def reward(grade: Grade) -> float | None:
    return None if grade.outcome is Outcome.UNGRADABLE else grade.score


def coins(seed: int, count: int) -> list[float | None]:
    """Heads or tails in place of grades, for a control run; the same seed tosses the same."""
    toss = random.Random(f"coins/{seed}")
    return [float(toss.random() < 0.5) for _ in range(count)]


def grade_rollouts(
    completions: Sequence[str],
    items: Sequence[Mapping[str, Any]],
    graders: Sequence[Mapping[str, Any]],
    *,
    replacement: Mapping[str, Any] | None = None,
) -> list[Grade]:
    """Grade each completion with its task's grader, or with the run's own where it names one."""
    return registry.grade_each(
        [
            (replacement or grader, completion, item)
            for completion, item, grader in zip(completions, items, graders, strict=True)
        ]
    )


_OF_THE_GRADER = frozenset(
    {"python_grader_runtime_error", "invalid_variable_error", "model_grader_parse_error", "formula_parse_error"}
)
_OF_OURS = frozenset(
    {"python_grader_server_error", "model_grader_server_error", "sandbox_error", "sandbox_unavailable"}
)


def earning_nothing(grade: Grade) -> Grade:
    """A grader that broke over this answer (its program raised, a judge gave no number) earns it 0, marked by its
    flags. What we could not do, such as starting the sandbox, stays ungradable."""
    flags = set(grade.errors)
    if grade.outcome is not Outcome.UNGRADABLE or not flags & _OF_THE_GRADER or flags & _OF_OURS:
        return grade
    return msgspec.structs.replace(grade, outcome=Outcome.INCORRECT, score=0.0)


def graded(grades: Sequence[Grade]) -> Grading:
    """What the graders made of some answers, for a step's metrics. Parts are means over the answers that have them."""
    parts: dict[str, list[float]] = {}
    errors: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for grade in grades:
        errors.update(set(grade.errors))
        tokens.update(grade.usage)
        if reward(grade) is not None:
            for name, score in grade.sub_scores.items():
                parts.setdefault(name, []).append(score)
    return Grading(
        answers=len(grades),
        parts={name: sum(scores) / len(scores) for name, scores in sorted(parts.items())},
        errors=dict(sorted(errors.items())),
        seconds=sum(grade.seconds for grade in grades) / len(grades) if grades else 0.0,
        tokens=dict(tokens),
    )


def fault(grader: Mapping[str, Any], grade: Grade) -> str:
    """Why a completion could not be graded: which kind of grader, its flags, its sentence."""
    flags = ", ".join(grade.errors) or "no flag"
    return f"The {grader.get('type', 'unknown')} grader ({flags}): {grade.reason}"


def advantages(rewards_g: Sequence[float | None]) -> list[float]:
    """Advantages of one group: reward minus the mean of its graded rollouts, not divided by their deviation.

    Dividing would weigh a group by how rarely its rollouts differ (Dr. GRPO); an ungraded rollout gets 0.
    """
    graded = [reward for reward in rewards_g if reward is not None]
    mean = sum(graded) / len(graded) if graded else 0.0
    return [0.0 if reward is None else reward - mean for reward in rewards_g]


def mean_by_domain(rewards: Sequence[float | None], domains: Sequence[str]) -> dict[str, float]:
    by_domain: dict[str, list[float]] = {}
    for value, domain in zip(rewards, domains, strict=True):
        if value is not None:
            by_domain.setdefault(domain, []).append(value)
    return {domain: sum(values) / len(values) for domain, values in sorted(by_domain.items())}


@dataclass(slots=True)
class ErrorBudget:
    """Counts the grading faults of a run, through all its attempts."""

    graded: int = 0
    errors: int = 0

    def count(self, rewards: Sequence[float | None]) -> None:
        self.graded += len(rewards)
        self.errors += sum(value is None for value in rewards)

    @property
    def share(self) -> float:
        return self.errors / self.graded if self.graded else 0.0

    @property
    def exceeded(self) -> bool:
        return self.errors > FORGIVEN_ERRORS and self.share > ERROR_BUDGET
