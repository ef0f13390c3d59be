"""RunSpec: what a training run does, resolved. Every knob says its unit, its range and what zero does."""

from typing import Annotated

import msgspec
from msgspec import Meta


class RunSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Resolved configuration of one GRPO run. A step samples prompts_per_step × group_size completions and updates once."""

    preset: str = "flywheel"
    seed: int = 0
    steps: Annotated[int, Meta(ge=0, le=100_000)] = 100  # optimiser updates; 0 returns the starting weights
    prompts_per_step: Annotated[int, Meta(ge=1, le=4096)] = 16  # groups a step
    group_size: Annotated[int, Meta(ge=2, le=64)] = 8  # completions a prompt (G); the advantage is relative to their mean
    learning_rate: Annotated[float, Meta(ge=0, le=1)] = 3e-4  # constant; 0 trains nothing and must never be promoted
    beta: Annotated[float, Meta(ge=0, le=10)] = 0.0  # weight of the KL penalty; 0 switches it off (KL is still measured)
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
