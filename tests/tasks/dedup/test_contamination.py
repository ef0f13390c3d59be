import pickle
import re
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dedup import contamination, grams
from tasks.dedup.contamination import HeldOut, Index, Overlap, Verdict
from tasks.dedup.fingerprint import fingerprint
from tasks.types import Message

TRAIN = (
    "A train leaves Ulm at 9 with 240 passengers on board. At every one of its 12 stops a third of the people get off, "
    "and 50 others find a seat. How many of them are still sitting there when it reaches Kiel?"
)
SHELVES = "Dora builds 7 shelves of oak, each 85 cm wide; how much wood has she left over from her plank of 8 metres?"
BAKERY = "一家面包店早上烤了120个面包，上午卖出一半，下午又卖出30个，晚上还剩下多少个面包？"
FRACTIONS = "Add 3/7 and 5/12"
SUITE = (TRAIN, SHELVES, BAKERY, FRACTIONS, "Max 12 34")


def held_out(prompts: Sequence[str]) -> list[HeldOut]:
    found = [fingerprint([Message("user", prompt)]) for prompt in prompts]
    return [HeldOut(100 + i, keys.exact_key, keys.folded) for i, keys in enumerate(found)]


def probe(index: Index, prompts: Sequence[str]) -> list[Overlap | None]:
    found = [fingerprint([Message("user", prompt)]) for prompt in prompts]
    folded = [keys.folded for keys in found]
    return index.probe(folded, [keys.exact_key for keys in found], contamination.bands_of(folded))


def verdict(prompt: str, suite: Sequence[str] = SUITE) -> Verdict | None:
    (found,) = probe(Index.build(held_out(suite)), [prompt])
    return None if found is None else found.verdict


def test_without_suites_nothing_overlaps():
    assert probe(Index.build([]), [TRAIN, ""]) == [None, None]


def test_an_equal_key_is_contaminated_however_short_the_item():
    (found,) = probe(Index.build(held_out(SUITE)), ["max  12 34."])

    assert found == Overlap(104, 1.0, Verdict.CONTAMINATED, "exact", "max 12 34")


@pytest.mark.parametrize("prompt", SUITE[:4])
@pytest.mark.parametrize(
    "dress",
    [
        "Solve the following problem. {} Let's think step by step and put the answer into \\boxed{{}}.",
        "## Question 3\n\n> **{}**",
        "{}\n\nAnswer with one number, e.g. 17.",
    ],
)
def test_an_item_inside_a_longer_prompt_is_contaminated(prompt, dress):
    assert verdict(dress.format(prompt)) is Verdict.CONTAMINATED


@pytest.mark.parametrize(
    "prompt",
    [
        TRAIN.upper(),
        TRAIN.replace(",", " —").replace(".", ";"),
        TRAIN.replace(" ", "\n"),
        f"Hello. {SHELVES.replace(';', '.').replace(',', '')}",
        f"请回答：{BAKERY.replace('，', '。')}",
    ],
)
def test_case_punctuation_and_line_breaks_do_not_hide_an_item(prompt):
    assert verdict(prompt) is Verdict.CONTAMINATED


def test_an_item_under_five_tokens_is_not_looked_for_inside_other_texts():
    assert verdict("Max 12 34 56, please") is None


def test_an_item_of_five_to_seven_tokens_must_be_there_in_one_run():
    assert verdict("Please add 3/7 and 5/12 for me") is Verdict.CONTAMINATED
    assert verdict("Please add 3/7 to what you have, and 5/12") is None


def test_an_item_with_another_number_is_a_sibling():
    assert verdict(TRAIN.replace("240", "250")) is Verdict.SIBLING


def test_an_item_with_another_sign_between_its_numbers_is_a_sibling():
    item = "The pupils of the second class write down what 12 + 7 makes on the board and go home for lunch"

    assert verdict(f"So: {item.replace('+', '*')}", [item]) is Verdict.SIBLING


def test_an_item_without_its_last_sentence_is_for_review():
    (found,) = probe(Index.build(held_out(SUITE)), [f"Read on. {TRAIN[: TRAIN.index(' How many')]} Then a bird comes."])

    assert found is not None
    assert found.verdict is Verdict.REVIEW
    assert 0.5 <= found.share < 0.8


def test_the_first_half_of_an_item_is_not_enough():
    assert verdict(TRAIN[:90]) is None


def test_every_fourth_word_exchanged_leaves_no_trace_for_grams_or_bands():
    other = " ".join(word if i % 4 else "other" for i, word in enumerate(SHELVES.split()))

    assert verdict(other) is None


@pytest.mark.parametrize("prompt", [TRAIN, SHELVES])
def test_an_item_with_one_changed_word_is_contaminated_though_it_has_lost_eight_grams(prompt):
    middle = prompt.split()[len(prompt.split()) // 2]

    assert verdict(prompt.replace(f" {middle} ", " thing ")) is Verdict.CONTAMINATED


def test_a_changed_word_in_a_short_item_is_for_review():
    item = "Which of the planets has the largest number of moons today"

    assert verdict(item.replace("largest", "biggest"), [item]) is Verdict.REVIEW


def test_a_changed_word_hides_where_no_bands_are_given():
    item = "Which of the planets has the largest number of moons today"
    changed = fingerprint([Message("user", item.replace("largest", "biggest"))])

    assert Index.build(held_out([item])).probe([changed.folded], [changed.exact_key]) == [None]


def test_what_is_shared_is_the_longest_run_of_the_tasks_own_text():
    (found,) = probe(Index.build(held_out(SUITE)), [f"Look: {SHELVES.replace(';', ' --')} Good."])

    assert found is not None
    assert found.shared.startswith("dora builds 7 shelves of oak, each 85 cm wide -- how much")
    assert "look" not in found.shared
    assert len(found.shared) <= 200


def test_numbers_in_the_wrapper_do_not_matter():
    assert verdict(f"Question 5 of 30 (2 points). {SHELVES}") is Verdict.CONTAMINATED


# Templates


def templated(ask, count: int, seed: int) -> list[str]:
    random = Random(seed)
    return list({ask(random): None for _ in range(count)})


def _race(random: Random) -> str:
    first, second, third = random.sample(["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana"], 3)
    return f"In a race {first} came in before {second}. Later {third} was seen behind {second}. Who won the race?"


def _word(random: Random) -> str:
    letters = "".join(random.choices("abcdefgh", k=6))
    return f"Write the letters of the following word in their opposite order, please: {letters}"


def _sum(random: Random) -> str:
    a, b, c = (random.randint(1, 9) for _ in range(3))
    one, other = random.choices("+-*", k=2)
    return f"Work out how much {a} {one} ( {b} {other} {c} ) is."


def _apples(random: Random) -> str:
    a, b = random.randint(2, 99), random.randint(2, 99)
    return f"Omar has {a} apples in his kitchen and buys {b} more on the market. How many apples does Omar have now?"


def _odd(random: Random) -> str:
    return f"Is this number odd or even? {random.randint(1000, 99999)}\nA) odd\nB) even\nAnswer with a letter only."


@pytest.mark.parametrize("ask", [_race, _word, _sum, _apples, _odd])
def test_other_questions_of_a_template_are_not_called_contaminated(ask):
    prompts = templated(ask, 600, seed=1)
    suite, others = prompts[::4], [prompt for i, prompt in enumerate(prompts) if i % 4]

    found = probe(Index.build(held_out(suite)), others)

    assert {overlap.verdict for overlap in found if overlap} <= {Verdict.SIBLING}


@pytest.mark.parametrize("ask", [_race, _word, _sum, _apples, _odd])
def test_contained_copies_of_templated_items_are_all_found(ask):
    suite = templated(ask, 200, seed=1)

    found = probe(Index.build(held_out(suite)), [f"Please answer: {prompt.upper()} Think first!" for prompt in suite])

    assert {overlap and overlap.verdict for overlap in found} == {Verdict.CONTAMINATED}


def test_an_expression_that_goes_on_is_another_one():
    suite = [f"Say what this arithmetic makes, as one number only: {a} + {b} =" for a in range(9) for b in range(9)]

    assert verdict("Say what this arithmetic makes, as one number only: 3 + 4 + 2 =", suite) is not Verdict.CONTAMINATED


def test_grams_of_many_items_name_none_of_them():
    items = [f"{TRAIN} {i}{i}" for i in range(200)]

    assert verdict(f"{TRAIN} nothing", items) is None


# Messages


def test_the_question_of_an_item_is_found_under_another_system_message():
    keys = fingerprint([Message("system", "You are a patient teacher of mathematics."), Message("user", SHELVES)])
    index = Index.build([HeldOut(1, keys.exact_key, keys.folded)])

    (found,) = probe(index, [f"Hello. {SHELVES}"])

    assert found is not None
    assert found.verdict is Verdict.CONTAMINATED


def test_a_system_message_in_common_is_no_overlap():
    system = Message("system", "You are a patient teacher of mathematics and answer with one number only, never more.")
    keys = fingerprint([system, Message("user", SHELVES)])
    other = fingerprint([system, Message("user", "What is 3 + 4?")])

    assert Index.build([HeldOut(1, keys.exact_key, keys.folded)]).probe([other.folded], [other.exact_key]) == [None]


def test_where_all_items_ask_the_same_the_message_before_counts():
    ask = Message("user", "How many words does the text above have?")
    items = [fingerprint([Message("system", text), ask]) for text in (TRAIN, SHELVES)]
    index = Index.build([HeldOut(i, keys.exact_key, keys.folded) for i, keys in enumerate(items)])

    assert probe(index, ["Look. How many words does the text above have?"]) == [None]


# The index


def test_an_index_that_travelled_as_bytes_answers_the_same():
    index = Index.build(held_out([*SUITE, *templated(_race, 100, seed=1)]))
    prompts = [*SUITE, f"Hello. {TRAIN}", TRAIN.replace("240", "250"), *templated(_race, 100, seed=2)]

    assert probe(Index.from_bytes(pickle.loads(pickle.dumps(index.to_bytes()))), prompts) == probe(index, prompts)


def test_an_item_of_two_suites_counts_once():
    assert len(Index.build(held_out([TRAIN, SHELVES, TRAIN]))) == 2


def test_the_answer_does_not_depend_on_how_rows_are_chunked(monkeypatch: pytest.MonkeyPatch):
    prompts = [f"Hello. {TRAIN}", "short", "", SHELVES.replace("oak", "ash"), BAKERY * 3, TRAIN[:150]] * 5
    index = Index.build(held_out(SUITE))
    whole = probe(index, prompts)

    monkeypatch.setattr(grams, "BLOCK_CHARACTERS", 300)

    assert probe(index, prompts) == whole
    assert [probe(index, [prompt])[0] for prompt in prompts] == whole


def test_a_templated_item_that_its_numbers_single_out_is_for_review_with_another_word():
    suite = [f"Omar has {a} apples in his kitchen and buys {a + 8} more. How many has he now?" for a in range(101, 199)]

    assert verdict(suite[50].replace("kitchen", "cellar"), suite) is Verdict.REVIEW


# What tells questions of a template apart besides words


def test_another_quoted_word_is_another_question():
    item = "Count how often the letter 'e' stands in this sentence: the rain in these hills falls mainly in the evening"

    assert verdict(item.replace("'e'", "'a'"), [item]) is Verdict.SIBLING


def _board(random: Random) -> str:
    rows = ("".join(random.choices("#.@", k=5)) for _ in range(4))
    return "Find the shortest way out of the maze below, where a # is a wall that nobody can pass:\n" + "\n".join(rows)


def _sorting(random: Random) -> str:
    words = " ".join("".join(random.choices("abcdefghij", k=5)) for _ in range(4))
    return (
        "Your task is to sort the words of the list below by their letters, in descending order. Write the sorted list "
        f"on one line, with a comma between any two of its words: {random.randint(1000, 1040)} {words}"
    )


@pytest.mark.parametrize("ask", [_board, _sorting])
def test_boards_and_lists_of_a_template_are_told_apart(ask):
    prompts = templated(ask, 300, seed=2)

    found = probe(Index.build(held_out(prompts[:80])), prompts[80:])

    assert {overlap.verdict for overlap in found if overlap} <= {Verdict.SIBLING}


@pytest.mark.parametrize("ask", [_board, _sorting])
def test_contained_boards_and_lists_are_all_found_however_many_share_their_words(ask):
    suite = templated(ask, 60, seed=2)

    found = probe(Index.build(held_out(suite)), [f"Solve this. {prompt} Let us think." for prompt in suite])

    assert {overlap and overlap.verdict for overlap in found} == {Verdict.CONTAMINATED}


def test_a_list_that_goes_on_is_another_list():
    suite = [
        f"Add up all numbers of this list, and say what they make: {a} 0 1 0 {b} 1" for a in (0, 1) for b in (0, 1)
    ]

    assert verdict(f"{suite[1]} 1 1 0 1", suite) is Verdict.SIBLING


def test_a_templated_item_that_its_numbers_single_out_together_is_for_review_with_another_word():
    pairs = [(a, b) for a in range(110, 117) for b in range(210, 217)]
    suite = [f"Omar buys {a} pears for {b} cents and eats three. What has he left?" for a, b in pairs]

    assert verdict(suite[9].replace("eats", "throws away"), suite) is Verdict.REVIEW


# Properties

LETTERS = st.text(alphabet="abcdefgh ,.:;\n!?-*#", max_size=80)


@settings(deadline=None, max_examples=60)
@given(before=LETTERS, after=LETTERS, item=st.sampled_from(SUITE[:4]))
def test_a_contained_copy_is_found_whatever_words_and_signs_surround_it(before, after, item):
    assert verdict(f"{before} {item} {after}") is Verdict.CONTAMINATED


@settings(deadline=None, max_examples=60)
@given(data=st.data(), item=st.sampled_from(SUITE[:3]), other=st.integers(300, 999))
def test_an_item_with_any_other_number_is_never_contaminated(data, item, other):
    place = data.draw(st.sampled_from(list(re.finditer(r"\d+", item))))

    assert verdict(f"{item[: place.start()]}{other}{item[place.end() :]}") in (Verdict.SIBLING, None)


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(len(SUITE) + 20)))
def test_the_order_of_items_does_not_matter(order):
    suite = [*SUITE, *templated(_board, 20, seed=3)]
    prompts = [f"Hello. {TRAIN}", TRAIN.replace("240", "250"), f"{suite[-1]} Go!", suite[-2].replace("wall", "fence")]
    verdicts = [verdict(prompt, suite) for prompt in prompts]

    assert [verdict(prompt, [suite[at] for at in order]) for prompt in prompts] == verdicts
