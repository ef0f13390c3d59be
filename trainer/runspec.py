"""RunSpec: what a training run does, resolved. Every knob says its unit, its range and what zero does.

Presets are functions from the data's and the model's size to a RunSpec, with the reasons beside the numbers. A spec
that leaves here holds numbers only: whoever prints it prints what will happen.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tasks.errors import Invalid


class RunSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of one GRPO run. A step samples prompts_per_step × group_size completions and updates once."""

    preset: str = "flywheel"
    seed: int = 0
    steps: Annotated[int, Meta(ge=0, le=100_000)] = 100  # optimiser updates; 0 returns the starting weights
    prompts_per_step: Annotated[int, Meta(ge=1, le=4096)] = 16  # groups a step
    group_size: Annotated[int, Meta(ge=2, le=64)] = (
        8  # completions a prompt (G); the advantage is relative to their mean
    )
    learning_rate: Annotated[float, Meta(ge=0, le=1)] = 3e-4  # constant; 0 trains nothing and must never be promoted
    beta: Annotated[float, Meta(ge=0, le=10)] = (
        0.0  # weight of the KL penalty; 0 switches it off (KL is still measured)
    )
    epsilon_low: Annotated[float, Meta(gt=0, lt=1)] = 0.2  # ratio clip below 1
    epsilon_high: Annotated[float, Meta(gt=0, lt=10)] = 0.272  # ratio clip above 1 (DAPO's clip-higher)
    temperature: Annotated[float, Meta(gt=0, le=4)] = 1.0
    max_completion_tokens: Annotated[int, Meta(ge=1, le=131_072)] = 48
    lora_rank: Annotated[int, Meta(ge=0, le=1024)] = 0  # 0: full fine-tuning
    save_every: Annotated[int, Meta(ge=1)] = 20  # steps between checkpoints
    measure_every: Annotated[int, Meta(ge=1)] = 20  # steps between KL probe and validation
    validation_answers: Annotated[int, Meta(ge=1, le=64)] = 2  # answers per validation prompt
    validation_prompts: Annotated[int, Meta(ge=0)] = 96  # 0: no validation during the run
    probe_prompts: Annotated[int, Meta(ge=1)] = 128  # prompts of the fixed KL probe set
    max_minutes: Annotated[float, Meta(ge=0)] = 0  # wall time; 0: no limit


TINY = 20_000_000  # parameters: the local base and its like, trained on CPU in minutes
LORA_FROM = 2_000_000_000  # parameters: above, optimiser states of full fine-tuning no longer fit one accelerator
LORA_RANK = 32


def few_shot(rows: int, parameters: int) -> dict[str, Any]:
    """10 to 100 rows: all rows train, a fixed number of steps, a light tie to the start.

    With so little there is no validation split to stop on. Repeating 36 prompts for 53 epochs won nearly everything it
    would ever win on held-out prompts within 20 steps, and lost diversity afterwards; hence 30 steps and no more.
    beta 0.01 holds a model that sees the same prompts over and over near what it could do before.
    """
    return {
        "steps": 30,
        "prompts_per_step": min(rows, 16),
        "beta": 0.01,
        "validation_prompts": 0,
        "save_every": 10,
        "measure_every": 10,
    }


def expert(rows: int, parameters: int) -> dict[str, Any]:
    """A private dataset of one domain: two passes, at most 150 steps, a light tie to the start.

    Single-domain training over-optimises: what is not in the data is free to decay, so the passes are few, the
    validation split is read often, and beta 0.01 keeps the expert a relative of the shared model.
    """
    prompts = _prompts(parameters)
    return {
        "steps": _between(30, 2 * rows // prompts, 150),
        "prompts_per_step": prompts,
        "beta": 0.01,
        "save_every": 10,
        "measure_every": 10,
    }


def flywheel(rows: int, parameters: int) -> dict[str, Any]:
    """The shared model on a mixture of domains: at most one pass, no KL penalty, many prompts a step.

    A prompt seen once cannot be memorised, a mixture holds itself in balance, and KL is measured exactly instead of
    being paid for. Small models stop after 60 steps: by then the local base has won nearly all that its headroom holds
    (34 → 81 to 88 % sampled pass rate on three seeds).
    """
    prompts = _prompts(parameters)
    return {
        "steps": _between(1, rows // prompts, 60 if parameters < TINY else 1000),
        "prompts_per_step": prompts,
    }


PRESETS: Mapping[str, Callable[[int, int], dict[str, Any]]] = {
    "few-shot": few_shot,
    "expert": expert,
    "flywheel": flywheel,
}


def resolve(preset: str, *, rows: int, parameters: int, overrides: Mapping[str, Any] | None = None) -> RunSpec:
    """The preset's numbers for this many rows and weights, with the caller's own numbers in their place."""
    if preset not in PRESETS:
        raise Invalid("unknown_preset", f"There is no preset {preset}: take one of {', '.join(PRESETS)}.", "preset")
    if rows < 1:
        raise Invalid("no_rows", "There are no rows to train on: approve some first.", "rows")
    settings: dict[str, Any] = {"preset": preset, **_by_size(parameters), **PRESETS[preset](rows, parameters)}
    changes = dict(overrides or {})
    if changes.get("lora_rank") and "learning_rate" not in changes and parameters >= TINY:
        changes["learning_rate"] = LORA_RATE
    try:
        return msgspec.convert(settings | changes, RunSpec)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `$")
        field = path.strip("`.") or None
        raise Invalid("bad_override", f"{field or 'The overrides'}: {sentence}.", field) from None


TINY_RATE, FULL_RATE, LORA_RATE = 2e-4, 1e-6, 1e-5


def _by_size(parameters: int) -> dict[str, Any]:
    """What the size of the model decides: small ones bear large steps, large ones think in long answers."""
    if parameters < TINY:
        return {"learning_rate": TINY_RATE, "max_completion_tokens": 48, "lora_rank": 0}
    if parameters < LORA_FROM:
        return {"learning_rate": FULL_RATE, "max_completion_tokens": 1024, "lora_rank": 0}
    return {"learning_rate": LORA_RATE, "max_completion_tokens": 1024, "lora_rank": LORA_RANK}


def _prompts(parameters: int) -> int:
    return 16 if parameters < TINY else 64


def _between(least: int, wished: int, most: int) -> int:
    return max(least, min(wished, most))


# Measured on two CPU cores with the local base (467,584 parameters): 0.5 s for a step of 128 completions of 7 tokens
# behind prompts of 16, which is 9 GFLOP at 6 FLOP per weight and token for learning and 2 for sampling.
START_SECONDS = 12.0  # importing torch and TRL, loading, first measurement
STEP_SECONDS = 0.2  # of every step, whatever the model
FLOP_A_SECOND = 30e9
PROMPT_TOKENS = 24
ANSWER_SHARE = 0.25  # of the token limit that an answer takes on average
MEASURE_PASSES = 3.0  # forward passes over a probe completion: drawn, scored by the policy and by the initial policy


def estimate_seconds(spec: RunSpec, *, parameters: int, seconds_per_step: float | None = None) -> float:
    """Wall seconds of the run on two idle CPU cores; on other machines say how long a step of theirs takes.

    Honest to a factor of two: how long the answers will be is only known once the model has learned to give them.
    """
    answer_tokens = max(4.0, ANSWER_SHARE * spec.max_completion_tokens)
    flop_a_token = 2.0 * parameters
    if seconds_per_step is None:
        completions = spec.prompts_per_step * spec.group_size
        work = completions * flop_a_token * (answer_tokens + 3 * (PROMPT_TOKENS + answer_tokens))
        seconds_per_step = STEP_SECONDS + work / FLOP_A_SECOND
    measurements = 1 + spec.steps // spec.measure_every
    drawn = spec.probe_prompts + spec.validation_prompts * spec.validation_answers
    measuring = STEP_SECONDS + drawn * MEASURE_PASSES * flop_a_token * (PROMPT_TOKENS + answer_tokens) / FLOP_A_SECOND
    return START_SECONDS + spec.steps * seconds_per_step + measurements * measuring
