"""How fast earlier runs of this installation went: what an estimate rests on before a run starts."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from django.db.models import Q

from trainer.estimating import Pace
from trainer.models import TrainingRun
from trainer.runspec import RunSpec
from trainer.services import usage
from trainer.states import RunState

NEWEST = 5
MAGNITUDE = 10**0.5  # half an order of magnitude of parameters, either way
LEAST_STEPS = 3  # of a run that can tell a pace: the first steps compile, allocate and warm up

Step = Mapping[str, Any]


def of(spec: RunSpec, parameters: int) -> Pace:
    """The median of the newest five runs with about as many parameters, of this preset or this length of answers."""
    paces = [measured for run in _alike(spec, parameters)[:NEWEST] if (measured := of_run(run)) is not None]
    if not paces:
        return Pace()
    return Pace(
        seconds_start=_median(paces, lambda pace: pace.seconds_start) or 0.0,
        seconds_per_token=_median(paces, lambda pace: pace.seconds_per_token),
        prompt_tokens=_median(paces, lambda pace: pace.prompt_tokens) or 0.0,
        answer_tokens=_median(paces, lambda pace: pace.answer_tokens),
        drawn_again=_median(paces, lambda pace: pace.drawn_again) or 1.0,
        seconds_measurement=_median(paces, lambda pace: pace.seconds_measurement),
        runs=len(paces),
    )


def _alike(spec: RunSpec, parameters: int) -> Any:
    like = Q(spec__preset=spec.preset) | Q(spec__max_completion_tokens=spec.max_completion_tokens)
    return TrainingRun.objects.filter(
        like,
        state=RunState.SUCCEEDED,
        step__gte=LEAST_STEPS,
        start__parameters__gte=int(parameters / MAGNITUDE),
        start__parameters__lte=int(parameters * MAGNITUDE),
    ).order_by("-finished_at")


def of_run(run: TrainingRun) -> Pace | None:
    """Of the steps that count. What the engine's time holds beside them is its start: loading, saving, publishing."""
    spec, steps = run.spec, list(run.metrics.values_list("data", flat=True))
    timed = [step for step in steps if step.get("seconds_step") and step.get("tokens_seen")]
    if len(timed) < LEAST_STEPS:
        return None
    tokens, learning = timed[-1]["tokens_seen"], sum(step["seconds_step"] for step in timed)
    drawn = [step["groups_drawn"] for step in timed if step.get("groups_drawn")]
    again = fmean(drawn) / spec["prompts_per_step"] if drawn else 1.0
    completions = len(timed) * spec["prompts_per_step"] * spec["group_size"] * again
    answer = _mean(timed, "completion_tokens_mean") or 0.0
    measuring = [step["seconds_measuring"] for step in steps if step.get("seconds_measuring")]
    wall, starts = usage.seconds_of("run", run.pk), max(1, usage.attempts_of("run", run.pk))
    return Pace(
        seconds_start=max(0.0, wall - learning - sum(measuring)) / starts,
        seconds_per_token=learning / tokens,
        prompt_tokens=max(0.0, tokens / completions - answer),
        answer_tokens=answer or None,
        drawn_again=again,
        seconds_measurement=fmean(measuring) if measuring else None,
        runs=1,
    )


def _mean(steps: Sequence[Step], name: str) -> float | None:
    values = [step[name] for step in steps if step.get(name) is not None]
    return fmean(values) if values else None


def _median(paces: Sequence[Pace], value: Callable[[Pace], float | None]) -> float | None:
    known = [found for pace in paces if (found := value(pace)) is not None]
    return median(known) if known else None
