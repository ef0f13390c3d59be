import json
from collections import Counter, defaultdict

import pytest

from flywheel.samples.datasets import write_datasets
from flywheel.samples.families import FAMILIES
from tasks.graders import registry
from trainer.services.suites import FEWEST


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return write_datasets(tmp_path_factory.mktemp("first"), seed=3)


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    return write_datasets(tmp_path_factory.mktemp("second"), seed=3, batch=2)


def _rows(sample):
    for line in sample.path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def _prompts(samples):
    by_domain = defaultdict(set)
    for sample in samples:
        by_domain[sample.domain] |= {row["prompt"] for row in _rows(sample) if "prompt" in row}
    return by_domain


def test_two_contributors_of_two_teams_upload(first):
    assert {(sample.contributor, sample.team) for sample in first} == {("ada", "analytical"), ("grace", "harbour")}


def test_a_tenth_of_every_domain_that_is_trained_on_is_more_than_three_hundred_prompts(first):
    by_domain = _prompts(first)

    assert all(len(by_domain[family.domain]) >= 3800 for family in FAMILIES)


def test_the_domain_that_is_not_trained_on_is_too_small_for_a_suite(first):
    assert len(_prompts(first)["fractions"]) * 0.1 < FEWEST


def test_a_second_batch_repeats_no_prompt_of_the_first(first, second):
    before = _prompts(first)

    assert all(not prompts & before[domain] for domain, prompts in _prompts(second).items())


def test_the_same_seed_writes_the_same_bytes(first, tmp_path):
    again = write_datasets(tmp_path, seed=3)

    assert [s.path.read_bytes() for s in again] == [s.path.read_bytes() for s in first]


def test_the_good_rows_prove_with_the_graders_of_their_datasets(first):
    for sample in first:
        rows = [row for row in _rows(sample) if {"gold", "reference", "prompt"} <= row.keys() and "grader" not in row]
        grades = registry.grade_many(sample.grader, [(row["gold"], {"reference": row["reference"]}) for row in rows])
        assert sum(grade.correct for grade in grades) >= 0.99 * len(rows)


def test_some_lines_are_no_json(first):
    lines = sum(len(sample.path.read_text().splitlines()) for sample in first)

    assert sum(1 for sample in first for _ in _rows(sample)) < lines


@pytest.mark.parametrize("missing", ["prompt", "reference"])
def test_some_rows_lack_what_they_need(first, missing):
    assert any(missing not in row for sample in first for row in _rows(sample))


def test_some_rows_name_a_grader_that_there_is_not(first):
    assert any(row.get("grader") == {"type": "oracle"} for sample in first for row in _rows(sample))


def test_some_rows_come_twice(first):
    counts = Counter(json.dumps(row) for sample in first for row in _rows(sample))

    assert sum(count > 1 for count in counts.values()) > 200


def test_a_few_prompts_have_two_answers(first):
    answers = defaultdict(set)
    for sample in first:
        for row in _rows(sample):
            if "prompt" in row and "reference" in row:
                answers[row["prompt"]].add(json.dumps(row["reference"]))

    assert 5 <= sum(len(several) > 1 for several in answers.values()) <= 30


def test_one_contributor_owns_so_much_that_a_cap_of_six_tenths_binds(first):
    owned = Counter()
    for sample in first:
        owned[sample.contributor] += len({row["prompt"] for row in _rows(sample) if "prompt" in row})

    assert owned["ada"] / owned.total() > 0.62


def test_a_batch_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(ValueError, match="batches 1 to 4"):
        write_datasets(tmp_path, seed=3, batch=5)
