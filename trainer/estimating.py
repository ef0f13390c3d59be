"""How long a run will take and how many tokens it will draw, said before it starts.

Where runs of like models have ended on this installation their measured pace is used (see trainer/services/pace.py);
without one, the figures below, measured on two CPU cores.
"""

from dataclasses import dataclass

from trainer.runspec import RunSpec

START_SECONDS = 12.0  # importing torch and TRL, loading
STEP_SECONDS = 0.08  # of every update and every round of sampling, whatever the model
FLOP_A_SECOND = 30e9
PROMPT_TOKENS = 24.0
ANSWER_SHARE = 0.25  # of the token limit that an answer takes on average
DRAWN_AGAIN = 1.4  # completions drawn for one that is learned from, where groups without spread are replaced
MEASURE_PASSES = 3.0  # forward passes over a probe completion: drawn, scored by the policy and by the initial policy


@dataclass(frozen=True, slots=True)
class Pace:
    """What a run of this model and data takes, measured on earlier ones or assumed."""

    seconds_start: float = START_SECONDS
    seconds_per_token: float | None = None  # of a step, per token that it drew; None: by FLOP_A_SECOND
    prompt_tokens: float = PROMPT_TOKENS
    answer_tokens: float | None = None  # None: ANSWER_SHARE of the limit
    drawn_again: float = DRAWN_AGAIN
    seconds_measurement: float | None = None
    runs: int = 0  # how many it was measured on


@dataclass(frozen=True, slots=True)
class Forecast:
    seconds: float
    tokens: int  # prompt and answer tokens drawn for training
    runs: int  # earlier runs that it rests on


def forecast(spec: RunSpec, *, parameters: int, pace: Pace = Pace()) -> Forecast:
    """Wall seconds and tokens of the whole run. Without earlier runs honest to a factor of two only."""
    answer = pace.answer_tokens or max(4.0, ANSWER_SHARE * spec.max_completion_tokens)
    again = pace.drawn_again if spec.refill_rounds else 1.0
    tokens_a_step = spec.prompts_per_step * spec.group_size * again * (pace.prompt_tokens + answer)
    step = pace.seconds_per_token * tokens_a_step if pace.seconds_per_token else _step(spec, parameters, answer, again)
    measurements = 1 + spec.steps // spec.measure_every if spec.steps else 0
    measuring = pace.seconds_measurement or _measurement(spec, parameters, answer)
    seconds = pace.seconds_start + spec.steps * step + measurements * measuring
    return Forecast(seconds=seconds, tokens=int(spec.steps * tokens_a_step), runs=pace.runs)


def _step(spec: RunSpec, parameters: int, answer_tokens: float, again: float) -> float:
    """2 FLOP a weight and token for drawing, 6 for learning."""
    completions, flop_a_token = spec.prompts_per_step * spec.group_size, 2.0 * parameters
    drawing = completions * again * flop_a_token * answer_tokens
    learning = completions * spec.updates_per_step * 3 * flop_a_token * (PROMPT_TOKENS + answer_tokens)
    return STEP_SECONDS * (1 + spec.updates_per_step) + (drawing + learning) / FLOP_A_SECOND


def _measurement(spec: RunSpec, parameters: int, answer_tokens: float) -> float:
    drawn = spec.probe_prompts + spec.validation_prompts * spec.validation_answers
    work = drawn * MEASURE_PASSES * 2.0 * parameters * (PROMPT_TOKENS + answer_tokens)
    return 2 * STEP_SECONDS + work / FLOP_A_SECOND
