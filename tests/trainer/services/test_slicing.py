"""Slices of an evaluation, down to the fields of structured answers."""

import json

import pytest

from trainer.contract import EvalItem, Score
from trainer.evaluation.scoring import suites_from
from trainer.evaluation.slices import Slice
from trainer.services.slicing import slices_of

GRADER = {"type": "json_match", "fields": {"name": {"kind": "text"}, "tags": {"kind": "set"}}}
REFERENCE = {"name": "Ada", "tags": ["a", "b"]}
ITEMS = 30


def item(number: int, *, grader: dict | None = None) -> EvalItem:
    return EvalItem(
        key=str(number), suite="records", cluster="", messages=[], item={"reference": REFERENCE},
        grader=grader or GRADER, domain="records",
    )  # fmt: skip


def score(number: int, side: str, said: dict, value: float) -> Score:
    return Score("records", str(number), "", side, 0, "incorrect", value, 5, False, json.dumps(said), "")


@pytest.fixture
def found() -> dict[tuple[str, str], Slice]:
    """The champion knows half of the tags, the candidate all of them and one too many; both know the name."""
    items = [item(number) for number in range(ITEMS)]
    scores = [
        line
        for number in range(ITEMS)
        for line in (
            score(number, "champion", {"name": "Ada", "tags": ["a"]}, 0.83),
            score(number, "candidate", {"name": "Ada", "tags": ["a", "b", "c"]}, 0.9),
        )
    ]
    suites = suites_from(scores, items=items, answers_per_item=1, sources={str(n): "mine" for n in range(ITEMS)})
    return {(one.label, one.value): one for one in slices_of(suites, items, scores, alpha=0.025)}


def test_precision_and_recall_of_every_field_are_told_apart(found: dict[tuple[str, str], Slice]):
    precision, recall = found["field", "tags.precision"], found["field", "tags.recall"]

    assert (precision.champion, precision.candidate) == pytest.approx((1.0, 2 / 3))
    assert (recall.champion, recall.candidate) == pytest.approx((0.5, 1.0))
    assert (precision.changed, recall.changed, found["field", "name"].changed) == (True, True, False)


def test_items_are_sliced_by_dataset_grader_and_difficulty(found: dict[tuple[str, str], Slice]):
    assert {("dataset", "mine"), ("grader", "json_match"), ("difficulty for the champion", "never")} <= set(found)
    assert found["dataset", "mine"].difference == pytest.approx(0.07)


def test_what_has_no_fields_has_no_slices_of_them():
    items = [item(number, grader={"type": "number"}) for number in range(ITEMS)]
    scores = [score(n, side, {}, 0.0) for n in range(ITEMS) for side in ("champion", "candidate")]

    found = slices_of(suites_from(scores, items=items, answers_per_item=1), items, scores, alpha=0.025)

    assert "field" not in {one.label for one in found}


def test_without_both_sides_there_is_nothing_to_slice():
    items = [item(0)]
    scores = [score(0, "candidate", {}, 0.0)]

    assert slices_of(suites_from(scores, items=items, answers_per_item=1), items, scores, alpha=0.025) == []
