"""A wrong answer as a row: the grader that its right answer suggests, and where it came from."""

from typing import Any

import pytest

from tasks.formats import sent_back


@pytest.mark.parametrize("reference", [85, 8.5, -3, "85", "1,234.5", " −3 "])
def test_a_number_is_compared_as_a_number(reference: Any):
    assert sent_back.with_grader({"prompt": "?", "reference": reference})["grader"] == {"type": "number"}


@pytest.mark.parametrize("reference", ["Paris", "3 apples", "v2", ["a", "b"], True])
def test_everything_else_is_compared_as_a_whole(reference: Any):
    assert sent_back.with_grader({"prompt": "?", "reference": reference})["grader"] == {"type": "exact"}


def test_a_grader_that_is_named_stays():
    row = {"prompt": "?", "reference": 4, "grader": {"type": "string_check"}}

    assert sent_back.with_grader(row) == row


def test_a_row_with_neither_is_left_without():
    assert "grader" not in sent_back.with_grader({"prompt": "?"})


def test_the_name_that_was_asked_is_told_where_it_is_not_the_versions():
    told = {"source": "program", "version": "shared/v3", "answer": "75", "licence": "MIT", "score": None}

    moved = sent_back.metadata(**told, asked_as="champion", feedback="")
    fixed = sent_back.metadata(**told, asked_as="shared/v3", feedback="no")

    assert moved == {
        "source": "program", "model_version": "shared/v3", "answered": "75", "licence": "MIT", "asked_as": "champion",
    }  # fmt: skip
    assert ("asked_as" in fixed, fixed["feedback"]) == (False, "no")


def test_a_score_of_nothing_is_a_score():
    told = sent_back.metadata(
        source="program", version="a/v1", asked_as="a/v1", answer="", licence="MIT", score=0.0, feedback=""
    )

    assert told["score"] == 0.0
