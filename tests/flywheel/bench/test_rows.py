"""The ingest bench's corpus: what its answer key says of a row is so."""

import json
from collections import Counter
from pathlib import Path

import pytest

from flywheel.bench import rows
from flywheel.bench.questions import DIGITS, Question
from flywheel.bench.rows import Corpus, Kind, Truth

ELDERS = Corpus(seed=1, size=3000)
CORPUS = Corpus(seed=2, size=3000, planted=0.5, elders=ELDERS, held_out=200)


@pytest.fixture(scope="module")
def planted() -> list[tuple[Question, Truth]]:
    return [(question, truth) for question, truth in CORPUS.rows() if truth.kind is not Kind.CLEAN]


def _of(planted: list[tuple[Question, Truth]], *kinds: Kind) -> list[tuple[Question, Question, Truth]]:
    """(original, copy, truth) of every planted row of these kinds."""
    return [(CORPUS.at(truth.original), copy, truth) for copy, truth in planted if truth.kind in kinds]


def test_a_row_is_the_same_whoever_asks_for_it():
    assert list(Corpus(seed=7, size=30, planted=0.5).rows())[20:] == [
        Corpus(seed=7, size=30, planted=0.5).row(number) for number in range(20, 30)
    ]


def test_another_seed_gives_other_rows():
    assert not {question.prompt for question, _ in ELDERS.rows()} & {
        question.prompt for question, _ in Corpus(seed=3, size=3000).rows()
    }


def test_half_of_the_rows_are_planted_and_every_kind_is_there(planted: list[tuple[Question, Truth]]):
    assert 0.45 < len(planted) / CORPUS.size < 0.55
    assert set(Counter(truth.kind for _, truth in planted)) == set(Kind) - {Kind.CLEAN}


def test_originals_are_clean_and_earlier(planted: list[tuple[Question, Truth]]):
    positions = [(truth.original, ELDERS.size + truth.row) for _, truth in planted if truth.original is not None]

    assert all(original < row for original, row in positions)
    assert all(
        original < ELDERS.size or CORPUS.row(original - ELDERS.size)[1].kind is Kind.CLEAN for original, _ in positions
    )


def test_edits_keep_the_numbers(planted: list[tuple[Question, Truth]]):
    for original, copy, _ in _of(planted, Kind.EDITED):
        assert DIGITS.findall(original.prompt) == DIGITS.findall(copy.prompt)


def test_changed_numbers_are_other_numbers(planted: list[tuple[Question, Truth]]):
    for original, copy, _ in _of(planted, Kind.NUMBERS):
        assert sorted(DIGITS.findall(original.prompt)) != sorted(DIGITS.findall(copy.prompt))


def test_turned_numbers_are_the_same_numbers(planted: list[tuple[Question, Truth]]):
    for original, copy, _ in _of(planted, Kind.TURNED):
        assert sorted(DIGITS.findall(original.prompt)) == sorted(DIGITS.findall(copy.prompt))
        assert original.prompt != copy.prompt


def test_a_conflict_has_the_same_prompt_and_another_answer(planted: list[tuple[Question, Truth]]):
    for original, copy, _ in _of(planted, Kind.CONFLICT):
        assert original.prompt == copy.prompt
        assert original.reference != copy.reference


def test_a_contained_item_stands_in_its_row_word_for_word(planted: list[tuple[Question, Truth]]):
    for copy, truth in planted:
        if truth.kind in (Kind.CONTAINED, Kind.HELD_OUT):
            assert rows.held_out(truth.item).prompt in copy.prompt


def test_the_key_says_whether_the_answers_agree(planted: list[tuple[Question, Truth]]):
    for original, copy, truth in _of(
        planted, *(set(Kind) - {Kind.CLEAN, Kind.HELD_OUT, Kind.CONTAINED, Kind.REWORDED})
    ):
        assert truth.same_answer == (original.reference == copy.reference)


def test_clean_rows_are_not_alike():
    shingles = [rows.shingles(question.prompt, 5) for question, _ in Corpus(seed=4, size=400).rows()]

    alike = [
        len(one & other) / len(one | other) for n, one in enumerate(shingles) for other in shingles[n + 1 : n + 100]
    ]

    assert sum(likeness > 0.5 for likeness in alike) / len(alike) < 0.01


def test_jaccard_of_a_text_with_itself_is_one_and_with_a_stranger_nothing():
    one, other = Question("maths", "abcdefgh", "1"), Question("maths", "ijklmnop", "1")

    assert rows.jaccard(one, one) == 1
    assert rows.jaccard(one, other) == 0


def test_what_is_written_is_what_is_made(tmp_path: Path):
    size = rows.write(CORPUS, tmp_path / "rows.jsonl", tmp_path / "truth.jsonl")

    text = (tmp_path / "rows.jsonl").read_text()
    assert size == len(text.encode())
    assert [json.loads(line) for line in text.splitlines()] == [rows.as_row(question) for question, _ in CORPUS.rows()]
    assert list(rows.read_truth(tmp_path / "truth.jsonl")) == [
        truth for _, truth in CORPUS.rows() if truth.kind is not Kind.CLEAN
    ]
