"""RunSpec: what a training run does, resolved. Every knob says its unit, its range and what zero does."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tasks.errors import Invalid

TINY = 10_000_000  # parameters; below it a model takes learning rates that would wreck a real one


class RunSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One GRPO run, resolved. A step samples prompts_per_step × group_size completions and updates once."""

    preset: str = "flywheel"
    seed: int = 0
    steps: Annotated[int, Meta(ge=0, le=100_000)] = 100  # optimiser updates; 0 returns the starting weights
    prompts_per_step: Annotated[int, Meta(ge=1, le=4096)] = 16  # groups a step
    group_size: Annotated[int, Meta(ge=2, le=64)] = 8  # completions a prompt (G); advantages are relative to their mean
    learning_rate: Annotated[float, Meta(ge=0, le=1)] = 3e-4  # constant; 0 trains nothing and must never be promoted
    beta: Annotated[float, Meta(ge=0, le=10)] = 0.0  # weight of the KL penalty; 0: none (KL is still measured)
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


@dataclass(frozen=True, slots=True)
class Preset:
    """What a kind of run sets, and why. `passes` over the rows decide the steps, within `most_steps`."""

    reason: str
    passes: float
    least_steps: int
    most_steps: int
    lora_rank: int  # of models that are not tiny
    prompts_per_step: int


PRESETS: Mapping[str, Preset] = {
    "few-shot": Preset(
        reason="10 to 100 rows, every row trains. Most of the gain comes in the first steps and diversity falls after "
        "them, so the number of steps is small and fixed; LoRA keeps the rest of the model as it was.",
        passes=10, least_steps=10, most_steps=40, lora_rank=32, prompts_per_step=16,
    ),
    "expert": Preset(
        reason="Up to 50,000 rows of one team: one pass over the training split, LoRA on all linear layers.",
        passes=1, least_steps=50, most_steps=1000, lora_rank=32, prompts_per_step=64,
    ),
    "flywheel": Preset(
        reason="The shared model's next version: full fine-tuning on a mixture of domains, one pass at most.",
        passes=1, least_steps=20, most_steps=2000, lora_rank=0, prompts_per_step=64,
    ),
}  # fmt: skip


def resolve(preset: str, *, rows: int, parameters: int, overrides: Mapping[str, Any] | None = None) -> RunSpec:
    """Turn a preset into numbers, from the number of training rows and of the model's parameters.

    `overrides` win over what the preset says. Raises Invalid with the knob's name.
    """
    if preset not in PRESETS:
        raise Invalid("unknown_preset", f"A preset is one of {', '.join(PRESETS)}.", "preset")
    chosen, tiny = PRESETS[preset], parameters < TINY
    prompts = int(
        (overrides or {}).get("prompts_per_step") or min(chosen.prompts_per_step, 16 if tiny else 4096, max(rows, 1))
    )
    lora = 0 if tiny else chosen.lora_rank
    passes = math.ceil(rows * chosen.passes / prompts)
    resolved = {
        "preset": preset,
        "steps": min(max(passes, chosen.least_steps), 100 if tiny else chosen.most_steps, chosen.most_steps),
        "prompts_per_step": prompts,
        "learning_rate": 3e-4 if tiny else (1e-5 if lora else 1e-6),
        "lora_rank": lora,
        **(overrides or {}),
    }
    try:
        return msgspec.convert(resolved, RunSpec)
    except msgspec.ValidationError as error:
        raise Invalid("bad_run_spec", f"The settings of the run are not valid: {error}.", "overrides") from error


# Seconds measured on two CPU cores without an accelerator for the 0.5 M-parameter base: start of the engine, and a step
# per completion. Larger models are taken to cost in proportion to their parameters.
START_SECONDS = 15.0
SECONDS_PER_COMPLETION = 0.9 / 128
MEASURED_PARAMETERS = 470_000


def estimate_seconds(spec: RunSpec, *, parameters: int) -> float:
    """An estimate for this kind of machine before anything has run; the run page shows the real rate once it is known."""
    completions = spec.steps * spec.prompts_per_step * spec.group_size
    measured = spec.steps / spec.measure_every * spec.validation_prompts * spec.validation_answers
    scale = max(parameters / MEASURED_PARAMETERS, 0.5)
    return START_SECONDS + (completions + 0.3 * measured) * SECONDS_PER_COMPLETION * scale
