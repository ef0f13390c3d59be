import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.dedup import families
from tasks.dedup.bands import SHORTLIST
from tasks.dedup.families import Candidate, Family, Near, Suspect, decide, shared_text, shortlist, similar

TEXT = "a farmer has many apples and gives half of them to each of his sons, how many are left for him"
CLOSE = TEXT.replace("farmer", "gardener")
CLOSER = TEXT.replace("farmer", "farmers")
FAR = "what is the largest prime below the number of days in the shortest month of a leap year"


def near(task, folded=TEXT, *, numbers="0", answer="a", **more):
    return Near(task, folded, numbers, answer, **more)


def test_a_near_copy_with_the_same_answer_joins_the_family_of_the_task_it_copies():
    decision = decide(near(9), [near(3, CLOSE)])

    assert isinstance(decision, Family)
    assert (decision.task, decision.family) == (3, 3)
    assert decision.similarity >= families.SIMILAR
    assert decision.shared in TEXT


def test_the_oldest_such_task_is_linked_not_the_most_similar():
    assert decide(near(9), [near(7), near(4, CLOSE)]).task == 4


def test_the_link_goes_to_the_task_compared_and_the_family_is_that_task_s():
    decision = decide(near(9), [near(7, family=2)])

    assert (decision.task, decision.family) == (7, 2)


def test_another_answer_makes_the_most_similar_one_a_suspect():
    decision = decide(near(9), [near(3, CLOSE, answer="b"), near(5, CLOSER, answer="c")])

    assert isinstance(decision, Suspect)
    assert decision.task == 5


def test_of_equally_similar_suspects_the_oldest_is_named():
    assert decide(near(9), [near(5, CLOSE, answer="b"), near(3, CLOSE, answer="b")]).task == 3


def test_the_same_answer_goes_before_another():
    assert isinstance(decide(near(9), [near(3, TEXT, answer="b"), near(5, CLOSE)]), Family)


@pytest.mark.parametrize("other", [near(3, FAR), near(3, numbers="1"), near(3, live=False), near(3, FAR, answer="b")])
def test_far_texts_other_numbers_and_withdrawn_tasks_decide_nothing(other):
    assert decide(near(9), [other]) is None


def test_without_candidates_there_is_nothing_to_decide():
    assert decide(near(9), []) is None


def test_only_the_shortlist_is_compared():
    strangers = [near(task, FAR) for task in range(1, SHORTLIST + 1)]

    assert decide(near(99), [*strangers, near(98)]) is None
    assert decide(near(99), [*strangers[1:], near(98)]) is not None


def test_the_shortlist_takes_the_most_shared_bands_and_of_equals_the_oldest():
    candidates = [Candidate(task, shared=1 + (task == 30)) for task in range(40, 0, -1)]

    assert [candidate.task for candidate in shortlist(candidates)] == [30, 1, 2, 3, 4, 5, 6, 7]


def test_texts_that_are_not_similar_enough_have_no_similarity():
    assert similar(TEXT, FAR) == 0


@given(st.text(max_size=60), st.text(max_size=60))
def test_similarity_is_symmetric_and_a_text_is_wholly_similar_to_itself(one, other):
    assert similar(one, other) == pytest.approx(similar(other, one))
    assert similar(one, one) == 100


@pytest.mark.parametrize("length", [9_000, 20_000])
def test_only_the_same_text_is_wholly_similar(length):
    assert 99 < similar("x" * length, "x" * (length + 1)) < 100


def test_long_texts_are_compared_by_both_ends():
    body = " ".join(str(number) for number in range(8_000))

    assert similar(body, body + " and more") > 99
    assert similar(body, body[:20_000] + "z" * len(body[20_000:])) == 0
    assert similar(body, body[:5_000] + body[-5_000:]) == 0


@given(st.text(alphabet="abc ", max_size=300), st.text(alphabet="abc ", max_size=300))
def test_the_shared_text_is_in_both(one, other):
    shared = shared_text(one, other)

    assert shared in one
    assert shared in other
    assert len(shared) <= families.EVIDENCE_CHARACTERS


def test_the_shared_text_begins_and_ends_with_whole_words():
    assert shared_text(f"the gardener {TEXT} smiles", f"a farmer {TEXT} smirks") == TEXT


def test_the_shared_text_is_the_longest_piece_that_was_kept():
    assert shared_text("once " + TEXT, TEXT + " today") == TEXT
