import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.dedup import signature
from tasks.dedup.signature import (
    AGREEING,
    BANDS,
    SKETCH_WORDS,
    STORED_BYTES,
    alike,
    bands,
    packed,
    signatures,
    unpacked,
)

TEXT = "a train leaves the station at noon and travels north at the same speed as the bus that left before it"
CJK = "小明有三个苹果，他给了小红一个苹果，请问小明现在还有几个苹果？"


def shared(one, other, numbers=(7, 7)):
    found = bands([one, other], list(numbers))
    return int((found[0] == found[1]).sum())


def jaccard(one, other):
    first, second = ({text[at : at + 5] for at in range(max(1, len(text) - 4))} for text in (one, other))
    return len(first & second) / len(first | second)


def words(rng, count):
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 8))) for _ in range(3000)]
    return [" ".join(rng.choices(vocabulary, k=rng.randint(20, 60))) for _ in range(count)]


def edited(rng, text, rate):
    changed = []
    for sign in text:
        chance = rng.random() / rate
        changed.append(sign if chance > 1 else "" if chance < 0.3 else rng.choice("etaoin ") + sign * (chance > 0.6))
    return "".join(changed)


def test_equal_texts_with_equal_numbers_share_every_band():
    assert shared(TEXT, TEXT) == BANDS


def test_equal_texts_with_other_numbers_share_none():
    assert shared(TEXT, TEXT, numbers=(7, 8)) == 0


def test_other_texts_share_none():
    assert shared(TEXT, "how many sides does a polygon have if its angles sum to a full turn and a half") == 0


def test_a_changed_word_leaves_bands_to_share():
    assert 0 < shared(TEXT, TEXT.replace("north", "south")) < BANDS


@pytest.mark.parametrize("text", ["", "a", "ab", "abcd", "数", "数学"])
def test_a_text_shorter_than_a_shingle_is_one_shingle(text):
    assert shared(text, text) == BANDS
    assert shared(text, text + "z") == 0


def agreeing(one, other):
    """Minima of 48 in which two texts agree by their sketches, counted digit by digit."""
    first, second = (
        "".join(f"{word:016x}" for word in row[BANDS:].tolist()) for row in signatures([one, other], [7, 7])
    )
    return sum(a == b for a, b in zip(first, second, strict=True))


def test_sketches_are_alike_from_the_stated_number_of_minima_on():
    base = np.zeros((49, SKETCH_WORDS), dtype=np.uint64)
    other = base.copy()
    for differing in range(49):
        for place in range(differing):
            other[differing, place // 16] |= np.uint64(1 + place % 15) << np.uint64(4 * (place % 16))

    assert alike(base, other).tolist() == [48 - differing >= AGREEING for differing in range(49)]


def test_an_edited_text_keeps_a_sketch_alike_and_another_text_has_another():
    edit = TEXT.replace("north", "south")

    assert agreeing(TEXT, edit) >= AGREEING
    assert agreeing(TEXT, "how many sides does a polygon have if its angles sum to a full turn and a half") < AGREEING


@pytest.mark.parametrize(
    "other",
    [
        TEXT.replace(" and", ", and").replace("noon", "noon;"),
        TEXT.replace(" and", " - and"),
        f'"{TEXT}" ...',
        TEXT.replace(" the", ": the!"),
    ],
)
def test_other_punctuation_is_the_same_signature(other):
    found = signatures([TEXT, other], [7, 7])

    assert (found[0] == found[1]).all()


def test_texts_of_punctuation_alone_have_a_signature_too():
    found = signatures(["?!", TEXT, "...", "?! - ,"], [7, 7, 7, 7])

    assert (found[0] == found[2]).all()
    assert (found[0] == found[3]).all()
    assert (found[0] != found[1]).any()


def test_numbers_leave_the_sketch_as_it_is():
    found = signatures([TEXT, TEXT], [7, 8])

    assert (found[0, BANDS:] == found[1, BANDS:]).all()


def test_what_was_stored_is_read_as_it_was():
    found = signatures([TEXT, CJK, ""], [7, 8, 9])

    stored = packed(found)

    assert stored.shape == (3, STORED_BYTES)
    assert (unpacked(stored.tobytes()) == found).all()


def test_the_bands_are_the_same_in_every_process_and_version():
    assert [f"{band:016x}" for band in bands([TEXT], [7])[0, :2]] == ["10aec2c861473444", "91ca1b81cd82faf4"]


def test_chinese_is_cut_into_three_characters():
    assert len(signature._shingles([CJK])[0]) == len(CJK) - 2


def test_an_english_text_with_a_chinese_word_is_cut_into_five():
    text = "translate 苹果 into english please"

    assert len(signature._shingles([text])[0]) == len(text) - 4


@given(st.lists(st.text(max_size=40), max_size=12), st.integers(0, 12))
def test_how_a_sequence_is_cut_into_calls_changes_nothing(texts, cut):
    numbers = [2**64 - 1 - len(text) for text in texts]

    together = bands(texts, numbers)
    apart = [bands(texts[part], numbers[part]) for part in (slice(cut), slice(cut, None))]

    np.testing.assert_array_equal(together, np.concatenate(apart))


def test_blocks_and_long_texts_change_nothing(monkeypatch):
    texts = [TEXT, "b" * 300, "", CJK, TEXT * 3]
    whole = bands(texts, range(5))

    monkeypatch.setattr(signature, "BLOCK_CHARACTERS", 64)

    np.testing.assert_array_equal(bands(texts, range(5)), whole)


def test_no_texts_have_no_bands():
    assert bands([], []).shape == (0, BANDS)


def test_every_text_needs_its_numbers():
    with pytest.raises(ValueError, match="number signatures"):
        bands(["a", "b"], [1])


def test_a_lone_surrogate_is_a_character_like_others():
    assert shared("abc\ud800def", "abc\ud800def") == BANDS


def test_near_copies_are_found_as_often_as_promised():
    rng = random.Random(3)
    texts = words(rng, 1500)
    copies = [edited(rng, text, rng.uniform(0.01, 0.06)) for text in texts]
    likeness = np.array([jaccard(*pair) for pair in zip(texts, copies, strict=True)])

    found = (bands(texts, [1] * 1500) == bands(copies, [1] * 1500)).any(axis=1)

    assert found[likeness >= 0.8].mean() >= 0.995
    assert found[likeness >= 0.7].mean() >= 0.99
    assert (likeness >= 0.7).sum() > 500


def test_strangers_are_hardly_ever_candidates():
    texts = words(random.Random(4), 1000)

    found = bands(texts, [1] * 1000)

    assert len(np.unique(found)) == found.size
