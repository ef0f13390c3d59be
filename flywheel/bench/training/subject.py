"""What every arm trains on and is scored on: the tour's families, in parts of all prompts that never meet.

A prompt's side is a property of its text (flywheel.samples.families.side): the base learns from sides 0 to 3, training
draws from 4, every score from 5, the engine's own validation and probe from 6 and 7.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import msgspec

from flywheel.bench.table import FAST
from flywheel.samples.demonstrations import COUNT, SIDES, demonstrations
from flywheel.samples.families import FAMILIES, side
from trainer import presets
from trainer.contract import BaseSpec, EvaluateSpec, ModelRef, Sampling, TrainSpec, encode
from trainer.runspec import RunSpec

TRAINING, HELD_OUT, VALIDATION, PROBE = 4, 5, 6, 7  # sides
PARAMETERS = 467_584  # of the base
BASE_STEPS = 20 if FAST else BaseSpec().steps
ROWS = 4_000  # training prompts: more than any arm draws
VALIDATED, PROBED = 96, 128
SCORED_ITEMS = 48 if FAST else 240
SCORED_ANSWERS = 4
HELD_OUT_SEED = 99  # the same items for every arm and every seed

Item = dict[str, Any]


def items(seed: int, count: int, of_side: int) -> list[Item]:
    """Different prompts of one side, the families in turn: lines of train.jsonl and its like."""
    random, seen, made = Random(f"bench/{of_side}/{seed}"), set[str](), list[Item]()
    while len(made) < count:
        family = FAMILIES[len(made) % len(FAMILIES)]
        question = family.ask(random)
        if side(question.prompt, SIDES) != of_side or question.prompt in seen:
            continue
        seen.add(question.prompt)
        made.append(
            {
                "key": hashlib.sha256(question.prompt.encode()).hexdigest()[:32],
                "messages": [{"role": "user", "content": question.prompt}],
                "item": {"reference": question.reference},
                "grader": dict(family.grader),
                "domain": family.domain,
            }
        )
    return made


def lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def base(seed: int, *, steps: int = BASE_STEPS, count: int = COUNT, flawed: bool = True) -> dict[str, bytes]:
    """A run directory that builds the base of a seed; `flawed`: from demonstrations that are wrong on purpose."""
    families = FAMILIES if flawed else [replace(family, flawed_share=0.0) for family in FAMILIES]
    return {
        "spec.json": encode(BaseSpec(seed=seed, steps=steps)),
        "demonstrations.jsonl": lines(demonstrations(seed, count, families=families)),
    }


def recipe(preset: str, seed: int, *, rows: int = ROWS, validation: int = VALIDATED, **overrides: Any) -> RunSpec:
    """What the preset makes of this base and so many rows."""
    resolved = presets.resolve(
        preset, rows=rows, parameters=PARAMETERS, validation=validation, overrides={"seed": seed, **overrides}
    )
    return resolved.spec


def training(
    recipe: RunSpec,
    model: str,
    *,
    rows: Sequence[Item] | None = None,
    validation: int = VALIDATED,
    grader: dict[str, Any] | None = None,
) -> dict[str, bytes]:
    """A run directory that trains the model at the path `model`."""
    spec = TrainSpec(run="bench", model=ModelRef(model, ""), recipe=recipe, grader=grader)
    return {
        "spec.json": encode(spec),
        "train.jsonl": lines(items(recipe.seed, ROWS, TRAINING) if rows is None else rows),
        "validation.jsonl": lines(items(recipe.seed, validation, VALIDATION)),
        "probe.jsonl": lines(items(recipe.seed, PROBED, PROBE)),
    }


def scoring(models: Mapping[str, str], *, answers: int = SCORED_ANSWERS, count: int = SCORED_ITEMS) -> dict[str, bytes]:
    """A run directory that scores models (name → path) on the held-out items, all with the same noise."""
    drawn_as = Sampling(answers_per_item=answers, seed=1)
    sides = {name: ModelRef(path, "") for name, path in models.items()}
    held_out = items(HELD_OUT_SEED, count, HELD_OUT)
    return {
        "spec.json": encode(EvaluateSpec(evaluation="bench", sides=sides, sampling=drawn_as)),
        "items.jsonl": lines({**item, "suite": "held-out", "cluster": ""} for item in held_out),
    }


def unlimited(recipe: RunSpec) -> dict[str, Any]:
    """Overrides of a run that only trains: nothing measured, dropped, replaced or passed over."""
    return {
        "refill_rounds": 0,
        "rest_steps": 0,
        "skip_floor": 1.0,
        "negative_weight": 1.0,
        "updates_per_step": 1,
        "validation_prompts": 0,
        "measure_every": recipe.steps,
        "save_every": recipe.steps,
    }


def replaced(spec: bytes, **fields: Any) -> bytes:
    """A spec.json with other values: of the spec itself, or of its recipe."""
    known = msgspec.json.decode(spec, type=TrainSpec)
    own = {name: value for name, value in fields.items() if name in TrainSpec.__struct_fields__}
    of_recipe = {name: value for name, value in fields.items() if name not in own}
    return encode(msgspec.structs.replace(known, recipe=msgspec.structs.replace(known.recipe, **of_recipe), **own))
