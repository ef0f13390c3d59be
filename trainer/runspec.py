"""RunSpec: what a training run does, resolved. Every knob says its unit, its range and what zero does.

Whoever prints a spec prints what will happen: trainer/presets.py has resolved every "auto" of the caller. Only what the
machine decides stays "auto" until the engine sees the machine; result.json says what it chose.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta


def _knob(unit: str, says: str, zero: str, **limits: Any) -> Meta:
    """`zero` says what 0 does (or that it is not allowed); `limits` are msgspec's ge, gt, le, lt."""
    return Meta(description=says, extra={"unit": unit, "zero": zero}, **limits)


NOT_ALLOWED = "not allowed"


class RunSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of one GRPO run. A step draws groups of completions, grades them and updates the policy."""

    preset: Annotated[str, _knob("name", "The preset that the other numbers come from.", "–")] = "flywheel"
    seed: Annotated[
        int, _knob("–", "Order of prompts, and the noise that completions are drawn with.", "a seed", ge=0)
    ] = 0
    steps: Annotated[
        int, _knob("steps", "How far the run goes.", "the starting weights are returned", ge=0, le=100_000)
    ] = 100
    prompts_per_step: Annotated[int, _knob("groups", "Groups that a step learns from.", NOT_ALLOWED, ge=1, le=4096)] = (
        16
    )
    group_size: Annotated[
        int,
        _knob(
            "completions",
            "Answers to each prompt (G); advantages are relative to their mean.",
            NOT_ALLOWED,
            ge=2,
            le=64,
        ),
    ] = 8
    updates_per_step: Annotated[
        int,
        _knob(
            "updates",
            "Optimiser updates on each step's completions; after the first the ratio clip binds.",
            NOT_ALLOWED,
            ge=1,
            le=8,
        ),
    ] = 1
    learning_rate: Annotated[
        float,
        _knob(
            "–", "AdamW's, constant after the warm-up.", "trains nothing; such a version is never promoted", ge=0, le=1
        ),
    ] = 3e-4
    warmup_steps: Annotated[
        int, _knob("steps", "The learning rate rises over them.", "the full rate at once", ge=0, le=10_000)
    ] = 0
    beta: Annotated[
        float,
        _knob("–", "Weight of the KL penalty in the loss.", "no penalty; KL is measured all the same", ge=0, le=10),
    ] = 0.0
    epsilon_low: Annotated[float, _knob("–", "Ratio clip below 1.", NOT_ALLOWED, gt=0, lt=1)] = 0.2
    epsilon_high: Annotated[float, _knob("–", "Ratio clip above 1 (DAPO's clip-higher).", NOT_ALLOWED, gt=0, lt=10)] = (
        0.272
    )
    negative_weight: Annotated[
        float,
        _knob(
            "–",
            "Factor on negative advantages; below 1 good answers pull more than bad ones push (asymmetric REINFORCE).",
            "learns from better than average answers only",
            ge=0,
            le=1,
        ),
    ] = 1.0
    temperature: Annotated[
        float,
        _knob("–", "Of the completions that are trained on. Measurements are drawn at 1.", NOT_ALLOWED, gt=0, le=4),
    ] = 1.0
    max_completion_tokens: Annotated[
        int, _knob("tokens", "Where an answer is cut off.", NOT_ALLOWED, ge=1, le=131_072)
    ] = 48
    lora_rank: Annotated[int, _knob("–", "Rank of LoRA on all linear layers.", "full fine-tuning", ge=0, le=1024)] = 0

    refill_rounds: Annotated[
        int,
        _knob(
            "rounds",
            "How often a step draws again for groups whose answers all earned the same (DAPO's dynamic sampling).",
            "such groups are dropped, not replaced",
            ge=0,
            le=20,
        ),
    ] = 3
    rest_above: Annotated[
        float,
        _knob(
            "share",
            "A prompt rests when at least this share of its last group was right.",
            "every prompt rests after its turn",
            ge=0,
            le=1,
        ),
    ] = 0.875
    rest_steps: Annotated[
        int, _knob("steps", "How long such a prompt rests.", "prompts never rest", ge=0, le=10_000)
    ] = 50
    skip_floor: Annotated[
        float,
        _knob(
            "share",
            "Least chance to be drawn of a prompt whose domain rarely shows spread; 1 passes over none.",
            "a domain without spread may be passed over for good",
            ge=0,
            le=1,
        ),
    ] = 1.0

    save_every: Annotated[int, _knob("steps", "Between checkpoints.", NOT_ALLOWED, ge=1)] = 20
    measure_every: Annotated[
        int, _knob("steps", "Between measurements: probe KL and validation.", NOT_ALLOWED, ge=1)
    ] = 20
    validation_prompts: Annotated[
        int, _knob("prompts", "Of the validation split.", "no validation: the last weights are kept", ge=0)
    ] = 96
    validation_answers: Annotated[int, _knob("answers", "To each validation prompt.", NOT_ALLOWED, ge=1, le=64)] = 2
    probe_prompts: Annotated[int, _knob("prompts", "Of the fixed set on which KL is measured.", NOT_ALLOWED, ge=1)] = 96

    patience: Annotated[
        int,
        _knob(
            "measurements",
            "Without a better validation reward before the run ends early.",
            "the run never ends early",
            ge=0,
            le=1000,
        ),
    ] = 0
    keep_best: Annotated[
        int,
        _knob("checkpoints", "Kept by validation reward, beside the newest two.", "only the newest two", ge=0, le=20),
    ] = 3
    prefer_latest: Annotated[
        bool,
        _knob(
            "yes or no",
            "Of checkpoints that validation cannot tell from the best, within one standard error, the latest is kept.",
            "–",
        ),
    ] = False
    rollbacks: Annotated[
        int,
        _knob(
            "times",
            "The run goes back to its last healthy checkpoint, at half the learning rate, before it stops.",
            "an alarm that asks for a stop ends the run",
            ge=0,
            le=5,
        ),
    ] = 1
    guard: Annotated[
        bool, _knob("yes or no", "Whether alarms may roll back or stop the run. They are recorded in any case.", "–")
    ] = True

    random_rewards: Annotated[
        bool,
        _knob(
            "yes or no",
            "A control run: a coin, seeded, in place of every grade that is trained on. Measurements keep the graders; "
            "what rises all the same does not measure what was taught. Such a version never becomes champion.",
            "–",
        ),
    ] = False

    max_steps: Annotated[int, _knob("steps", "Budget: the run pauses there.", "no limit", ge=0)] = 0
    max_minutes: Annotated[
        float, _knob("minutes", "Budget of wall time: the run pauses when it is spent.", "no limit", ge=0)
    ] = 0
    max_tokens: Annotated[
        int,
        _knob("tokens", "Budget of prompt and answer tokens drawn: the run pauses when it is spent.", "no limit", ge=0),
    ] = 0

    precision: Annotated[
        str,
        Meta(
            pattern="^(auto|float32|bfloat16)$",
            description="Of the forward and backward pass; weights and moments stay in float32.",
            extra={"unit": "auto, float32 or bfloat16", "zero": "–"},
        ),
    ] = "auto"
    gradient_checkpointing: Annotated[
        str,
        Meta(
            pattern="^(auto|on|off)$",
            description="Compute activations twice to store fewer. auto: from 100 million parameters on.",
            extra={"unit": "auto, on or off", "zero": "–"},
        ),
    ] = "auto"
    vllm: Annotated[
        str,
        Meta(
            pattern="^(off|colocate|server)$",
            description="Who draws answers: the engine, vLLM in its processes, or the server of ENGINE_VLLM_SERVER.",
            extra={"unit": "off, colocate or server", "zero": "–"},
        ),
    ] = "off"


@dataclass(frozen=True, slots=True)
class Knob:
    """A row of the table of knobs."""

    name: str
    kind: str
    default: Any
    unit: str
    says: str
    zero: str
    limits: str


def knobs() -> Iterator[Knob]:
    """Every knob in order, as the documentation and the forms show it."""
    hints = get_type_hints(RunSpec, include_extras=True)
    for field in msgspec.structs.fields(RunSpec):
        kind, meta = get_args(hints[field.name])
        yield Knob(
            name=field.name,
            kind=kind.__name__,
            default=field.default,
            unit=meta.extra["unit"],
            says=meta.description,
            zero=meta.extra["zero"],
            limits=_limits(meta),
        )


def _limits(meta: Meta) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return ", ".join(
        f"{sign} {getattr(meta, name):,}" for name, sign in signs.items() if getattr(meta, name) is not None
    )
