from collections import Counter

from tasks.splits import Member, split_of, together
from tasks.states import Split


def test_the_same_key_and_salt_give_the_same_split():
    assert split_of("abc", "salt") is split_of("abc", "salt")


def test_another_salt_deals_the_prompts_anew():
    keys = [str(n) for n in range(200)]

    assert [split_of(key, "one") for key in keys] != [split_of(key, "two") for key in keys]


def test_a_tenth_is_sealed_and_a_tenth_validates():
    shares = Counter(split_of(str(n), "salt") for n in range(20_000))

    assert abs(shares[Split.SEALED] - 2000) < 150
    assert abs(shares[Split.VALIDATION] - 2000) < 150


def test_tasks_of_one_family_stay_together():
    assert together([Member(1, 1, "a"), Member(2, 1, "b"), Member(3, 3, "c")]) == [[1, 2], [3]]


def test_tasks_with_one_prompt_stay_together():
    assert together([Member(1, 1, "a"), Member(2, 2, "a"), Member(3, 3, "c")]) == [[1, 2], [3]]


def test_a_prompt_ties_two_families():
    members = [Member(1, 1, "a"), Member(2, 1, "b"), Member(5, 5, "b"), Member(6, 5, "z"), Member(7, 7, "y")]

    assert together(reversed(members)) == [[1, 2, 5, 6], [7]]
