from collections import Counter

from tasks.splits import split_of
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
