"""Presets: from the size of the data and of the model to a RunSpec, each with its reasons beside its numbers.

A caller's own numbers stand; a knob that is left out or set to "auto" is decided here, and `resolve` says why.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tasks.errors import Invalid
from trainer.runspec import RunSpec

AUTO = "auto"
TINY = 20_000_000  # parameters: the local base and its like, trained on CPU in minutes
LORA_FROM = 2_000_000_000  # parameters: above, optimiser states of full fine-tuning no longer fit one accelerator
LORA_RANK = 32
TINY_RATE, FULL_RATE, LORA_RATE = 3e-4, 1e-6, 1e-5


@dataclass(frozen=True, slots=True)
class Choice:
    """A knob's value and why it is that."""

    value: Any
    why: str


Choices = dict[str, Choice]


def few_shot(rows: int, parameters: int, validation: int) -> Choices:
    """10 to 100 rows: all rows train, a fixed number of steps, a light tie to the start.

    With so little there is often no validation split to stop on. Repeating 36 prompts for 53 epochs won nearly
    everything it would ever win on held-out prompts within 20 steps, and lost diversity afterwards; hence few steps,
    and with a validation file an end as soon as it stops improving.
    """
    return {
        "steps": Choice(30, "of 36 prompts repeated 53 times nearly all that was ever won was won in 20 steps"),
        "prompts_per_step": Choice(min(rows, 16), "every step sees about half of so few prompts"),
        "updates_per_step": Choice(1, "reusing completions of prompts that come again anyway would memorise them"),
        "beta": Choice(0.01, "a light tie to the start for a model that sees the same prompts over and over"),
        "validation_prompts": Choice(min(validation, 96), f"{validation} rows were named for validation"),
        "save_every": Choice(10, "few steps, each worth keeping"),
        "measure_every": Choice(10, "few steps, each worth watching"),
        "patience": Choice(2 if validation else 0, "early stopping needs a validation file"),
    }


def expert(rows: int, parameters: int, validation: int) -> Choices:
    """A private dataset of one domain: two passes, at most 150 steps, a light tie to the start.

    Single-domain training over-optimises: what is not in the data is free to decay, so the passes are few, the
    validation split is read often and ends the run, and beta 0.01 keeps the expert a relative of the shared model.
    """
    prompts = _prompts(parameters)
    return {
        "steps": Choice(_between(30, 2 * rows // prompts, 150), "two passes over the data, 30 to 150 steps"),
        "prompts_per_step": Choice(prompts, _PROMPTS_WHY),
        "beta": Choice(0.01, "keeps an expert near the model that everybody shares"),
        "save_every": Choice(10, "an early end should find a checkpoint close by"),
        "measure_every": Choice(10, "single-domain training over-optimises: validation is read often"),
        "patience": Choice(3 if validation else 0, "ends the run after three measurements without a better one"),
    }


def flywheel(rows: int, parameters: int, validation: int) -> Choices:
    """The shared model on a mixture of domains: at most one pass, no KL penalty, many prompts a step.

    A prompt seen once cannot be memorised, a mixture holds itself in balance, and KL is measured exactly instead of
    being paid for. Small models stop after 60 steps: by then the local base has won nearly all that its headroom holds
    (34 → 81 to 88 % sampled pass rate on three seeds).
    """
    prompts = _prompts(parameters)
    most = 60 if parameters < TINY else 1000
    return {
        "steps": Choice(_between(1, rows // prompts, most), f"one pass over the mixture, at most {most} steps"),
        "prompts_per_step": Choice(prompts, _PROMPTS_WHY),
        "patience": Choice(0, "a mixture seen once does not over-train; alarms watch the rest"),
        "prefer_latest": Choice(
            True, "a few validation rows err by more than the last steps win (3 to 6 points, measured)"
        ),
    }


Preset = Callable[[int, int, int], Choices]
PRESETS: Mapping[str, Preset] = {"few-shot": few_shot, "expert": expert, "flywheel": flywheel}


@dataclass(frozen=True, slots=True)
class Resolved:
    spec: RunSpec
    reasons: Mapping[str, str]  # by knob, of those that were decided here


def resolve(
    preset: str, *, rows: int, parameters: int, validation: int = 0, overrides: Mapping[str, Any] | None = None
) -> Resolved:
    """The preset's numbers for this much data and so many weights, with the caller's own numbers in their place.

    `validation` counts the rows that may validate. Raises Invalid with the knob's name.
    """
    if preset not in PRESETS:
        raise Invalid("unknown_preset", f"There is no preset {preset}: take one of {', '.join(PRESETS)}.", "preset")
    if rows < 1:
        raise Invalid("no_rows", "There are no rows to train on: approve some first.", "rows")
    given = {name: value for name, value in (overrides or {}).items() if value != AUTO}
    _require_known(overrides or {})
    chosen = _by_size(parameters) | PRESETS[preset](rows, parameters, validation)
    if given.get("lora_rank") and parameters >= TINY:
        chosen["learning_rate"] = Choice(LORA_RATE, "LoRA bears ten times the rate of full fine-tuning")
    decided = {name: choice for name, choice in chosen.items() if name not in given}
    settings = {"preset": preset, **{name: choice.value for name, choice in decided.items()}, **given}
    return Resolved(_converted(settings), {name: choice.why for name, choice in decided.items()})


def _converted(settings: Mapping[str, Any]) -> RunSpec:
    try:
        return msgspec.convert(settings, RunSpec)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `$")
        field = path.strip("`.") or None
        raise Invalid("bad_override", f"{field or 'The overrides'}: {sentence}.", field) from None


def _require_known(overrides: Mapping[str, Any]) -> None:
    """Also for knobs set to "auto", which never reach the conversion."""
    known = {field.name for field in msgspec.structs.fields(RunSpec)}
    for name in overrides:
        if name not in known:
            raise Invalid("bad_override", f"There is no knob {name}: see docs/training.md for those there are.", name)


def _by_size(parameters: int) -> Choices:
    """What the size of the model decides: small ones bear large steps, large ones think in long answers."""
    if parameters < TINY:
        return {
            "learning_rate": Choice(TINY_RATE, "a tiny model bears large steps; at 1e-3 whole domains are unlearned"),
            "max_completion_tokens": Choice(48, "a tiny model answers in a few tokens"),
            "lora_rank": Choice(0, "full fine-tuning of so few weights costs little"),
            "group_size": Choice(4, "more prompts a step teach more than more answers to each (measured, 128 a step)"),
            "updates_per_step": Choice(2, "a second update on the same completions saves half of them (measured)"),
            "negative_weight": Choice(0.5, "steadier where completions are used twice (measured)"),
            "skip_floor": Choice(0.1, "domains that no longer show spread are drawn less (measured)"),
        }
    large = parameters >= LORA_FROM
    return {
        "learning_rate": Choice(LORA_RATE if large else FULL_RATE, "the field's constant rate for this size"),
        "max_completion_tokens": Choice(1024, "room for an answer that shows its working"),
        "lora_rank": Choice(LORA_RANK if large else 0, "moments of full fine-tuning fit below two billion weights"),
        "group_size": Choice(8, "the field's standard size of a group"),
        "updates_per_step": Choice(1, "on-policy: one update for each batch of completions"),
        "negative_weight": Choice(1.0, "as published"),
        "skip_floor": Choice(0.3, "domains without spread are drawn less, none is forgotten"),
    }


_PROMPTS_WHY = "128 completions a step for tiny models, 512 for real ones: smaller steps are noisy"


def _prompts(parameters: int) -> int:
    return 32 if parameters < TINY else 64


def _between(least: int, wished: int, most: int) -> int:
    return max(least, min(wished, most))
