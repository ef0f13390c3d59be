import numpy as np
import pytest

from tasks.dedup import grams


def hashes(text: str, length: int) -> set[int]:
    return set(grams.of(grams.read([text]), length)[0].tolist())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("add 12.5 and x_1, please!", ["add", "12", "5", "and", "x", "1", "please"]),
        ("a2b", ["a", "2", "b"]),
        ("求二加3", ["求", "二", "加", "3"]),
        ("naïve जोड़ो", ["naïve", "जोड़ो"]),
        ("...", []),
        ("", []),
    ],
)
def test_tokens_are_runs_of_letters_or_digits_and_single_characters_of_scripts_without_blanks(text, words):
    assert grams.words(text) == words


def test_what_stands_between_tokens_does_not_change_a_gram():
    assert hashes("one, two; (three) 4", 4) == hashes("one two  three -4-", 4)


def test_where_one_token_ends_changes_a_gram():
    assert hashes("one two", 2) != hashes("on etwo", 2)
    assert hashes("1 23", 2) != hashes("12 3", 2)


def test_a_gram_is_the_same_wherever_it_stands_and_whatever_stands_beside_it():
    alone = hashes("one two three", 3)

    assert alone < hashes("zero one two three four", 3)
    assert alone < hashes("零 one two three ∧ four", 3)


def test_no_gram_reaches_from_one_text_into_the_next():
    found, first = grams.of(grams.read(["one two", "three", "", "four five six"]), 3)

    assert (len(found), first.tolist()) == (1, [3])


def test_a_gram_is_the_same_in_every_process_and_version():
    assert hashes("one two", 2) == {6038882822638885664}


def test_a_span_is_counted_within_its_text():
    tokens = grams.read(["零 one", "zero, one; two!"])

    assert tokens.span(3, 4) == (6, 14)


def test_blocks_hold_every_text_once_and_a_text_longer_than_a_block_alone():
    texts = ["a" * 100_000, "b" * 400_000, "c" * 100_000, "d" * 100_000, "e" * 100_000]

    assert [list(block) for block in grams.blocks(texts)] == [[0], [1], [2, 3], [4]]


def test_sorted_hashes_find_what_they_hold_and_nothing_else():
    known = np.unique(np.random.default_rng(1).integers(0, 2**64, 1000, dtype=np.uint64))
    asked = np.concatenate([known[::3], known[::3] + np.uint64(1), [np.uint64(2**64 - 1)]])

    positions, found = grams.Sorted(known).find(asked)

    assert positions.tolist() == list(range(334))
    assert found.tolist() == list(range(0, 1000, 3))
