"""From the few numbers that a run on a file is asked for to a RunSpec, and back: what "auto" has become.

A file's run is said in epochs and multiples, as the public fine-tuning APIs say it. Steps = epochs · ⌈rows / prompts a
step⌉. Everything that is not asked for is the preset's.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from tasks.errors import Invalid
from trainer import presets
from trainer.presets import Resolved
from trainer.runspec import RunSpec

FEW = 100  # rows below which the few-shot preset decides
MOST_EPOCHS, LARGEST_GROUP, MOST_STEPS = 50, 64, 100_000
MOST_VALIDATED = 1000  # rows of a validation file that are asked at each measurement: all of most files
EFFORTS: Mapping[str, float] = {"low": 0.5, "medium": 1.0, "default": 1.0, "high": 2.0}  # × room for an answer


class Asked(msgspec.Struct, frozen=True):
    """None: auto. Multiples are of the preset's number."""

    epochs: int | None = None
    prompts_per_step: int | None = None
    rate_multiple: float | None = None  # of the learning rate
    answers_multiple: float | None = None  # of the answers to each prompt
    measure_every: int | None = None  # steps
    validation_answers: int | None = None  # to each validation prompt
    effort: str | None = None  # EFFORTS


def resolve(asked: Asked, *, rows: int, validation: int, parameters: int, seed: int) -> tuple[Resolved, Asked]:
    """The run's settings, and the same numbers with nothing left to decide."""
    preset = "few-shot" if rows < FEW else "expert"
    usual = presets.resolve(preset, rows=rows, parameters=parameters, validation=validation).spec
    batch = min(asked.prompts_per_step or usual.prompts_per_step, rows)
    each = -(-rows // batch)
    epochs = asked.epochs or max(1, min(MOST_EPOCHS, round(usual.steps / each)))
    if epochs * each > MOST_STEPS:
        sentence = f"{epochs} epochs of {each:,} batches are more than {MOST_STEPS:,} steps: ask for fewer epochs."
        raise Invalid("too_many_steps", sentence, "epochs")
    every = min(asked.measure_every or usual.measure_every, epochs * each)
    effort = asked.effort or "default"
    overrides: dict[str, Any] = {
        "seed": seed,
        "steps": epochs * each,
        "prompts_per_step": batch,
        "learning_rate": usual.learning_rate * (asked.rate_multiple or 1.0),
        "group_size": max(2, min(LARGEST_GROUP, round(usual.group_size * (asked.answers_multiple or 1.0)))),
        "measure_every": every,
        "save_every": every,  # each validation has a checkpoint that can be used
        "validation_prompts": min(validation, MOST_VALIDATED),
        "validation_answers": asked.validation_answers or usual.validation_answers,
        "max_completion_tokens": max(1, round(usual.max_completion_tokens * EFFORTS[effort])),
    }
    if asked.epochs is not None:
        overrides["patience"] = 0  # who names the epochs gets them
    resolved = presets.resolve(preset, rows=rows, parameters=parameters, validation=validation, overrides=overrides)
    return resolved, _told(asked, resolved.spec, epochs, effort)


def _told(asked: Asked, spec: RunSpec, epochs: int, effort: str) -> Asked:
    return Asked(
        epochs=epochs,
        prompts_per_step=spec.prompts_per_step,
        rate_multiple=asked.rate_multiple or 1.0,
        answers_multiple=asked.answers_multiple or 1.0,
        measure_every=spec.measure_every,
        validation_answers=spec.validation_answers,
        effort=effort,
    )


def read_back(spec: Mapping[str, Any], rows: int) -> Asked:
    """The same numbers of a run that was not asked for in them. Multiples are not known then."""
    batch = int(spec.get("prompts_per_step") or 1)
    each = -(-max(rows, 1) // batch)
    return Asked(
        epochs=max(1, round(int(spec.get("steps") or 0) / each)),
        prompts_per_step=batch,
        measure_every=spec.get("measure_every"),
        validation_answers=spec.get("validation_answers"),
    )
