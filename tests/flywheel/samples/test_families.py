from random import Random

import pytest

from flywheel.samples.families import FAMILIES, FRACTIONS, side
from tasks.graders import registry
from tasks.types import Outcome

FAMILY = pytest.mark.parametrize("family", [*FAMILIES, FRACTIONS], ids=lambda family: family.domain)


def _questions(family, count=300):
    random = Random(1)
    return [family.ask(random) for _ in range(count)]


@FAMILY
def test_the_gold_answer_earns_full_score(family):
    answers = [(question.gold, {"reference": question.reference}) for question in _questions(family)]

    assert all(grade.correct for grade in registry.grade_many(family.grader, answers))


@FAMILY
def test_the_sloppy_answer_is_wrong(family):
    answers = [(question.flawed, {"reference": question.reference}) for question in _questions(family)]

    assert {grade.outcome for grade in registry.grade_many(family.grader, answers)} == {Outcome.INCORRECT}


@FAMILY
def test_there_are_tens_of_thousands_of_prompts(family):
    """By the birthday bound: 4,000 draws from 20,000 prompts would leave about 3,625 different ones."""
    assert len({question.prompt for question in _questions(family, 4000)}) > 3625


@FAMILY
def test_the_same_seed_asks_the_same_questions(family):
    assert _questions(family, 20) == _questions(family, 20)


def test_every_domain_has_one_family():
    assert len({family.domain for family in FAMILIES}) == len(FAMILIES)


def test_the_samples_show_seven_kinds_of_grader():
    assert {family.grader["type"] for family in (*FAMILIES, FRACTIONS)} == {
        "number",
        "string_check",
        "choice",
        "set_match",
        "json_match",
        "python",
        "math",
    }


def test_the_sides_of_all_prompts_are_about_equally_large():
    counts = [0] * 8
    for number in range(8000):
        counts[side(f"prompt {number}", 8)] += 1

    assert min(counts) > 850
