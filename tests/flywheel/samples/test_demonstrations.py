from collections import Counter
from itertools import islice

import msgspec
import pytest

from flywheel.samples.datasets import questions
from flywheel.samples.demonstrations import demonstrations
from flywheel.samples.families import FAMILIES
from trainer.contract import BaseSpec, Demonstration


@pytest.fixture(scope="module")
def some():
    return list(demonstrations(seed=1, count=5000))


def test_a_demonstration_is_what_the_engine_reads(some):
    assert len(msgspec.convert(some, list[Demonstration])) == 5000


def test_there_are_more_than_the_base_reads():
    spec = BaseSpec()

    assert sum(1 for _ in demonstrations(seed=0)) >= spec.steps * spec.batch_size


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.domain)
def test_the_base_never_sees_the_prompt_of_a_task(some, family):
    shown = {demonstration["messages"][0]["content"] for demonstration in some}

    assert not shown & {question.prompt for question in islice(questions(family, seed=1), 1000)}


def test_the_families_have_equal_parts(some):
    counts = Counter(demonstration["domain"] for demonstration in some)

    assert all(700 < counts[family.domain] < 970 for family in FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.domain)
def test_the_stated_share_is_wrong(family):
    made = list(demonstrations(seed=2, count=2000, families=[family]))

    flawed = sum(_is_flawed(family, demonstration) for demonstration in made) / 2000

    assert flawed == pytest.approx(family.flawed_share, abs=0.04)


def _is_flawed(family, demonstration):
    prompt, completion = demonstration["messages"][0]["content"], demonstration["completion"]
    if family.domain == "records":
        return not completion.startswith("{")
    if family.domain in ("reversals", "shuffles"):
        return completion in prompt
    if family.domain == "choices":
        return completion in ("odd", "even")
    if family.domain == "vowels":
        return completion[0] not in "aeiou"
    return int(completion) != max(map(int, prompt.split()[1:]))


def test_the_same_seed_gives_the_same_demonstrations(some):
    assert list(demonstrations(seed=1, count=5000)) == some


def test_another_seed_gives_others(some):
    assert list(demonstrations(seed=2, count=5000)) != some
