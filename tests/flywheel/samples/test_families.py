from random import Random

import pytest

from flywheel.samples.families import FAMILIES, side
from tasks.graders import registry

FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.domain)


def _questions(family, count=300):
    random = Random(1)
    return [family.ask(random) for _ in range(count)]


@FAMILY
def test_the_gold_answer_earns_full_score(family):
    for question in _questions(family):
        assert registry.grade(family.grader, question.gold, {"reference": question.reference}).correct


@FAMILY
def test_the_sloppy_answer_is_wrong(family):
    for question in _questions(family):
        assert not registry.grade(family.grader, question.flawed, {"reference": question.reference}).correct


@FAMILY
def test_there_are_tens_of_thousands_of_prompts(family):
    """By the birthday bound: 4,000 draws from 20,000 prompts would leave about 3,625 different ones."""
    assert len({question.prompt for question in _questions(family, 4000)}) > 3625


@FAMILY
def test_the_same_seed_asks_the_same_questions(family):
    assert _questions(family, 20) == _questions(family, 20)


def test_every_domain_has_one_family():
    assert len({family.domain for family in FAMILIES}) == len(FAMILIES)


def test_every_grader_kind_of_the_catalogue_is_shown():
    assert {family.grader["type"] for family in FAMILIES} == {
        "number",
        "string_check",
        "choice",
        "set_match",
        "json_match",
    }


def test_the_sides_of_all_prompts_are_about_equally_large():
    counts = [0] * 8
    for number in range(8000):
        counts[side(f"prompt {number}", 8)] += 1

    assert min(counts) > 850
