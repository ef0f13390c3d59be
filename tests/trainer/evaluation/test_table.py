"""Scores from anybody's CSV: what is read, and the sentence for what cannot be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import Invalid
from trainer.evaluation.scoring import SuiteScores
from trainer.evaluation.table import read_suites

HEADER = "suite,item,cluster,side,sample,score,error\n"
Written = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(text: str) -> Path:
        path = tmp_path / "scores.csv"
        path.write_text(text)
        return path

    return write


def means(suite: SuiteScores, side: str) -> list[float]:
    return list(suite.sides[side].mean_n("score", 0.0))


def test_answers_are_grouped_by_suite_item_and_side(written: Written):
    path = written(
        HEADER
        + "b,1,,champion,0,0.5,0\nb,1,,candidate,0,1,0\n"
        + "a,1,,champion,0,0,0\na,1,,champion,1,1,0\na,1,,candidate,0,1,0\na,1,,candidate,1,1,0\n"
    )

    first, second = read_suites(path)

    assert (first.suite, first.n, first.answers_per_item, second.suite) == ("a", 1, 2, "b")
    assert (means(first, "champion"), means(first, "candidate")) == ([0.5], [1.0])
    assert means(second, "champion") == [0.5]


def test_columns_come_in_any_order_and_others_are_left_alone(written: Written):
    path = written("score,side,model,item,suite\n1,candidate,x,7,a\n0.25,champion,y,7,a\n")

    (suite,) = read_suites(path)

    assert (suite.keys, suite.clusters) == (("a/7",), ("a/7",))
    assert (means(suite, "candidate"), means(suite, "champion")) == ([1.0], [0.25])


def test_without_sample_numbers_answers_count_in_the_order_of_their_rows(written: Written):
    path = written("suite,item,side,score\na,1,champion,1\na,2,champion,0\na,1,champion,0\na,2,champion,0\n")

    (suite,) = read_suites(path)

    assert (suite.answers_per_item, means(suite, "champion")) == (2, [0.5, 0.0])


def test_an_answer_that_one_side_lacks_is_an_error(written: Written):
    path = written(HEADER + "a,1,,champion,0,1,0\na,1,,champion,1,1,0\na,1,,candidate,0,1,0\n")

    (suite,) = read_suites(path)

    assert (suite.sides["champion"].errors, suite.sides["candidate"].errors) == (0, 1)


@pytest.mark.parametrize("row", ["a,1,,champion,0,,1", "a,1,,champion,0,0.7,yes"])
def test_what_is_marked_as_error_is_one_whatever_its_score(written: Written, row: str):
    (suite,) = read_suites(written(f"{HEADER}{row}\n"))

    assert suite.sides["champion"].errors == 1


def test_without_an_error_column_a_score_that_is_missing_is_an_error(written: Written):
    (suite,) = read_suites(written("suite,item,side,score\na,1,champion,\na,2,champion,1\n"))

    assert list(suite.sides["champion"].errors_n) == [1, 0]


def test_items_of_two_suites_are_two_items_though_they_share_a_name(written: Written):
    path = written("suite,item,side,score\na,1,champion,1\nb,1,champion,0\n")

    assert [suite.keys for suite in read_suites(path)] == [("a/1",), ("b/1",)]


def test_a_cluster_is_kept_and_may_span_suites(written: Written):
    path = written("suite,item,cluster,side,score\na,1,f,champion,1\na,2,,champion,1\nb,9,f,champion,1\n")

    assert [suite.clusters for suite in read_suites(path)] == [("f", "a/2"), ("f",)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("suite,item,score\na,1,1\n", "has no column side"),
        (HEADER, "has a header and no answer"),
        ("", "is not a CSV file"),
        (HEADER + "a,1,,champion,0\n", "is not a CSV file"),
        (HEADER + "a,1,,champion,0,1,0\na,1,,winner,0,1,0\n", "Line 3 has side “winner”"),
        (HEADER + "a,1,,champion,0,much,0\n", "Line 2 has a score that is no number"),
        (HEADER + "a,1,,champion,0,1.2,0\na,1,,champion,1,-1,0\n", "Line 2 has a score outside 0 to 1"),
        (HEADER + "a,1,,champion,0,nan,0\n", "Line 2 has a score outside 0 to 1"),
        (HEADER + "a,1,,champion,0,,0\n", "Line 2 has neither a score nor an error"),
        (HEADER + "a,1,,champion,0,1,maybe\n", "Line 2 has error “maybe”"),
        (HEADER + "a,1,,champion,0,1,0\na,1,,champion,0,1,0\n", "Line 3 repeats an answer"),
        (HEADER + "a,1,x,champion,0,1,0\na,1,y,candidate,0,1,0\n", "Line 3 puts an item into another cluster"),
        (HEADER + ",1,,champion,0,1,0\n", "Line 2 names no suite"),
        (HEADER + "a,1,,champion,0,1,0\na,,,champion,0,1,0\n", "Line 3 names no item"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_with_its_line(written: Written, text: str, sentence: str):
    with pytest.raises(Invalid) as refused:
        read_suites(written(text))

    assert sentence in refused.value.sentence


def test_further_lines_with_the_same_fault_are_counted(written: Written):
    with pytest.raises(Invalid, match=r"\(1 more lines likewise\)"):
        read_suites(written(HEADER + "a,1,,champion,0,2,0\na,2,,champion,0,3,0\n"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(Invalid, match="There is no file"):
        read_suites(tmp_path / "none.csv")


def test_a_large_table_gives_what_its_numbers_give(written: Written):
    """Means against numpy on the same shuffled answers."""
    rng = np.random.default_rng(4)
    score = rng.integers(0, 5, (300, 3, 2)) / 4
    rows = [
        f"s,{item},,{side},{sample},{score[item, sample, at]},0"
        for item in range(300)
        for sample in range(3)
        for at, side in enumerate(("champion", "candidate"))
    ]
    rng.shuffle(rows)

    (suite,) = read_suites(written(HEADER + "\n".join(rows) + "\n"))

    found = dict(zip(suite.keys, suite.difference_n("score"), strict=True))
    expected = score[:, :, 1].mean(axis=1) - score[:, :, 0].mean(axis=1)
    assert [found[f"s/{item}"] for item in range(300)] == pytest.approx(expected)
