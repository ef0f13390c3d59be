import pytest

from tasks.dedup.fingerprint import answer_digest, exact_key, fingerprint
from tasks.types import Message


def user(content, *before):
    return [*(Message(role, text) for role, text in before), Message("user", content)]


def test_the_keys_are_hex_of_fixed_length():
    found = fingerprint(user("What is 2 + 2?"))

    assert (len(found.exact_key), len(found.number_signature), len(found.template)) == (32, 16, 32)


def test_the_key_is_the_same_in_every_process_and_version():
    assert exact_key(user("What is 2 + 2?")) == "c317681c977602f933b4b3074027c2c0"


@pytest.mark.parametrize("content", ["what is 2+2", "What  is\n2 + 2?!", "Ｗhat is 2 + 2 ?"])
def test_case_blanks_and_trailing_signs_do_not_make_another_prompt(content):
    assert exact_key(user(content)) == exact_key(user("What is 2 + 2?"))


@pytest.mark.parametrize("dash", "-‐‑‒–—―−﹣－")
def test_no_dash_makes_another_prompt_or_other_numbers(dash):
    found = fingerprint(user(f"Pages 3{dash}5, at {dash}4 °C {dash} why?"))

    assert found == fingerprint(user("Pages 3-5, at -4 °C - why?"))


@pytest.mark.parametrize("content", ["What is 2 + 3?", "What is 22?", "What is 2 - 2?", "Was ist 2 + 2?"])
def test_other_words_or_numbers_make_another_prompt(content):
    assert exact_key(user(content)) != exact_key(user("What is 2 + 2?"))


def test_where_the_blanks_part_the_digits_counts():
    assert exact_key(user("add 1 23")) != exact_key(user("add 12 3"))


def test_the_system_message_is_part_of_the_prompt():
    assert exact_key(user("Why?", ("system", "Be short."))) != exact_key(user("Why?"))
    assert exact_key(user("Why?", ("system", "Be short."))) != exact_key(user("Why?", ("system", "Be long.")))


def test_developer_is_another_word_for_system():
    assert exact_key(user("Why?", ("system", "Be short."))) == exact_key(user("Why?", ("developer", "Be short.")))


def test_text_cannot_move_between_messages_unnoticed():
    assert exact_key(user("b c", ("system", "a"))) != exact_key(user("c", ("system", "a b")))


def test_the_number_signature_ignores_the_order_of_the_numbers():
    assert fingerprint(user("3 and 12")).number_signature == fingerprint(user("12 before 3")).number_signature


def test_the_template_ignores_which_numbers_stand_there():
    one, other = fingerprint(user("Add 3 and 12.5")), fingerprint(user("Add 40 and 7"))

    assert one.template == other.template
    assert one.exact_key != other.exact_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (42, "42"),
        (42, 42.0),
        ("42", "42.00"),
        ("Paris", "paris "),
        ({"a": 1, "b": 2}, {"b": "2", "a": 1}),
        (1e30, "1e30"),
        (-5, "–5"),
    ],
)
def test_equal_answers_have_the_same_digest(one, other):
    assert answer_digest({"reference": one}) == answer_digest({"reference": other})


@pytest.mark.parametrize(
    ("one", "other"),
    [(42, 43), (True, 1), (True, "true"), (None, "null"), (["a", "b"], ["b", "a"]), ([1], 1), ("a", "ab")],
)
def test_different_answers_have_different_digests(one, other):
    assert answer_digest({"reference": one}) != answer_digest({"reference": other})


def test_what_stands_beside_the_reference_does_not_change_the_answer():
    assert answer_digest({"reference": 5, "source": "book"}) == answer_digest({"reference": 5}, gold="It is 5")


def test_without_a_reference_the_item_is_the_answer_and_without_an_item_the_gold():
    assert answer_digest({"tests": ["a"]}) != answer_digest({"tests": ["b"]})
    assert answer_digest({}, gold="a") != answer_digest({}, gold="b")


def test_an_answer_of_many_digits_is_digested():
    assert len(answer_digest({"reference": "9" * 100_000})) == 32


def test_the_same_letter_among_other_choices_is_another_answer():
    one = answer_digest({"reference": "B", "choices": ["a robin", "a crow"]})

    assert one != answer_digest({"reference": "B", "choices": ["a crow", "a robin"]})
    assert one == answer_digest({"reference": "b", "choices": ["A robin", "A crow"]})
