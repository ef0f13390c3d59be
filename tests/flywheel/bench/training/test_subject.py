"""What the training bench trains on: parts of all prompts that never meet, the same ones for every arm."""

import json
from typing import Any

import msgspec

from flywheel.bench.training import subject
from flywheel.samples.demonstrations import DEMONSTRATION_SIDES, SIDES
from flywheel.samples.families import FAMILIES, side
from tasks.graders import registry
from trainer.contract import BaseSpec, EvaluateSpec, TrainSpec, decode_spec


def _prompts(items: list[subject.Item]) -> set[str]:
    return {item["messages"][0]["content"] for item in items}


def test_training_prompts_and_scored_prompts_never_meet():
    trained = _prompts(subject.items(1, 600, subject.TRAINING))
    scored = _prompts(subject.items(subject.HELD_OUT_SEED, 240, subject.HELD_OUT))

    assert not trained & scored


def test_a_base_is_shown_no_prompt_that_is_trained_on_or_scored():
    others = {subject.TRAINING, subject.HELD_OUT, subject.VALIDATION, subject.PROBE}

    shown = [json.loads(line) for line in subject.base(1, count=300)["demonstrations.jsonl"].splitlines()]

    assert len(others) == 4
    assert not others & DEMONSTRATION_SIDES
    assert {side(row["messages"][0]["content"], SIDES) for row in shown} <= DEMONSTRATION_SIDES


def test_items_are_the_same_whoever_asks_for_them():
    assert subject.items(1, 60, subject.TRAINING) == subject.items(1, 60, subject.TRAINING)


def test_another_seed_gives_other_items():
    assert _prompts(subject.items(1, 60, subject.TRAINING)) != _prompts(subject.items(2, 60, subject.TRAINING))


def test_thirty_six_prompts_are_six_of_each_family():
    rows = subject.items(1, 36, subject.TRAINING)

    assert {family.domain: 6 for family in FAMILIES} == {
        domain: sum(row["domain"] == domain for row in rows) for domain in {row["domain"] for row in rows}
    }


def _largest(row: dict[str, Any]) -> str:
    return max(row["messages"][0]["content"].split()[1:], key=int)


def test_demonstrations_that_are_not_flawed_are_right():
    rows = map(json.loads, subject.base(1, count=300, flawed=False)["demonstrations.jsonl"].splitlines())

    maxima = [row for row in rows if row["domain"] == "maxima"]

    assert maxima
    assert [row["completion"] for row in maxima] == [_largest(row) for row in maxima]


def test_run_directories_hold_the_specs_of_the_contract():
    recipe = subject.recipe("flywheel", 3)

    specs = [
        decode_spec(files["spec.json"])
        for files in (subject.base(1, count=1), subject.training(recipe, "/m"), subject.scoring({"start": "/m"}))
    ]

    assert [type(spec) for spec in specs] == [BaseSpec, TrainSpec, EvaluateSpec]


def test_a_later_attempt_keeps_all_but_what_is_replaced():
    files = subject.training(subject.recipe("flywheel", 3), "/m")

    spec = decode_spec(subject.replaced(files["spec.json"], attempt=2, max_steps=40))

    assert isinstance(spec, TrainSpec)
    assert spec == msgspec.structs.replace(
        decode_spec(files["spec.json"]), attempt=2, recipe=subject.recipe("flywheel", 3, max_steps=40)
    )


def test_every_model_is_scored_on_the_same_items_with_the_same_noise():
    one, other = subject.scoring({"a": "/a"}), subject.scoring({"b": "/b"})

    assert one["items.jsonl"] == other["items.jsonl"]
    assert decode_spec(one["spec.json"]).sampling == decode_spec(other["spec.json"]).sampling


def test_the_grader_of_an_item_reads_its_reference():
    (item,) = subject.items(1, 1, subject.TRAINING)

    assert registry.grade(item["grader"], str(item["item"]["reference"]), item["item"]).score == 1
