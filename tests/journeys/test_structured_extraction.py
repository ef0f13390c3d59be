"""The example of docs/openai-graders.md from its files: validated, then run on samples from right to no JSON at all."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from flywheel.samples.extraction import rows
from tests import cast
from tests.cast import Person

ITEM = {
    "university": "Rice University",
    "programming_languages": ["Go", "Python", "Rust"],
    "city": "Austin",
    "state": "TX",
}


@pytest.fixture
def contributor(transactional_db: None) -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def graders(contributor: Person, live_server: Any) -> Any:
    base = f"{live_server.url}/openai/v1"
    return openai.OpenAI(base_url=base, api_key=contributor.secret, max_retries=0).fine_tuning.alpha.graders


def test_the_grader_is_valid_as_it_lies_in_its_file(graders: Any):
    given = json.loads((Path(rows.FOLDER) / "grader.json").read_text())

    assert graders.validate(grader=given).grader.to_dict()["calculate_output"] == given["calculate_output"]


@pytest.mark.parametrize(
    ("said", "reward", "languages"),
    [
        ({}, 1.0, 1.0),
        ({"programming_languages": ["rust", "go", "python"]}, 1.0, 1.0),
        ({"programming_languages": ["Go", "Python"]}, 0.92, 0.8),  # precision 1, recall 2/3
        ({"programming_languages": ["Go", "Python", "Rust", "C", "Java", "R"]}, 0.866667, 0.666667),  # 1/2 and 1
        ({"programming_languages": []}, 0.6, 0.0),
        ({"city": "Houston"}, 0.8, 1.0),
        ({"university": "Rice"}, 0.8, 1.0),
        ({"university": "Rice Univ."}, 0.888, 1.0),
        ({"university": "", "city": "", "state": "", "programming_languages": ["C"]}, 0.0, 0.0),
    ],
)
def test_a_sample_earns_what_is_right_of_it(graders: Any, said: dict[str, Any], reward: float, languages: float):
    found = graders.run(grader=rows.grader(), model_sample=json.dumps({**ITEM, **said}), item=ITEM)

    assert found.reward == pytest.approx(reward, abs=1e-6)
    assert found.sub_rewards["languages"] == pytest.approx(languages, abs=1e-6)


def test_a_missing_field_costs_its_share_and_is_flagged(graders: Any):
    sample = {name: value for name, value in ITEM.items() if name != "city"}

    found = graders.run(grader=rows.grader(), model_sample=json.dumps(sample), item=ITEM)

    assert (found.reward, found.metadata.errors.invalid_variable_error) == (0.8, True)


@pytest.mark.parametrize("sample", ["Rice University; Go, Python, Rust; Austin, TX", "", '{"university": "Rice'])
def test_a_sample_that_is_no_json_earns_nothing_and_is_flagged(graders: Any, sample: str):
    found = graders.run(grader=rows.grader(), model_sample=sample, item=ITEM)

    assert (found.reward, found.metadata.errors.sample_parse_error) == (0.0, True)


def test_a_row_without_the_fields_is_told_from_a_wrong_sample(graders: Any):
    found = graders.run(grader=rows.grader(), model_sample=json.dumps(ITEM), item={"city": "Austin"})

    assert (found.reward, found.metadata.errors.invalid_variable_error) == (0.0, True)
