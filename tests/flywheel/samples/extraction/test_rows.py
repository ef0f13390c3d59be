import json
from pathlib import Path

import jsonschema
import pytest

from flywheel.samples.extraction import rows
from tasks.graders import registry

FIELDS = ("university", "programming_languages", "city", "state")


def right(row: dict) -> str:
    return json.dumps({name: row[name] for name in FIELDS})


def test_the_same_seed_gives_the_same_rows():
    assert list(rows.rows(20, seed=7)) == list(rows.rows(20, seed=7))
    assert list(rows.rows(20, seed=7)) != list(rows.rows(20, seed=8))


def test_every_field_stands_in_the_text():
    for row in rows.rows(200):
        text = row["messages"][0]["content"]

        assert all(wanted in text for wanted in (row["university"], row["city"], row["state"]))
        assert all(language in text for language in row["programming_languages"])


def test_a_text_names_places_and_languages_that_are_not_asked_for():
    tempting = [row for row in rows.rows(200) if "Declined an offer" in row["messages"][0]["content"]]

    assert tempting


def test_the_right_object_earns_full_score_and_has_the_shape_asked_for():
    schema = rows.response_format()["json_schema"]["schema"]
    for row in rows.rows(50):
        jsonschema.validate(json.loads(right(row)), schema)

        assert registry.grade(rows.grader(), right(row), row).score == 1


@pytest.mark.parametrize("reply", ["", "[]", "{}", "university, city, state", '{"city": "Austin"}'])
def test_what_is_no_profile_earns_next_to_nothing(reply: str):
    for row in rows.rows(50):
        assert registry.grade(rows.grader(), reply, row).score <= 0.2


def test_no_gold_is_made_of_one_field_alone():
    row = next(rows.rows(1))

    assert registry.gold(rows.grader(), row) is None


def test_a_file_holds_a_row_a_line(tmp_path: Path):
    rows.write(tmp_path / "train.jsonl", 12)

    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(rows.rows(12))
