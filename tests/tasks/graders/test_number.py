from decimal import Decimal

import pytest

from tasks.graders import number, registry
from tasks.types import Outcome


def grade(completion, reference, **fields):
    return registry.grade({"type": "number", "reference": reference, **fields}, completion, {})


def test_a_number_inside_a_longer_number_is_not_a_match():
    assert number.grade("The answer is 25", Decimal(5)).outcome is Outcome.INCORRECT


def test_the_last_number_wins():
    assert number.grade("First 3, then 4, so 7", Decimal(7)).correct
    assert not number.grade("7 comes from 3 and 4", Decimal(7)).correct


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ("1,234.50", 1234.5),
        ("1{,}234", 1234),
        ("1'000'000", 1_000_000),
        ("1\u202f234", 1234),
        ("1,2,3", 3),
        ("−5", -5),
        ("–5", -5),
        ("- 5", 5),
        ("3-5", 5),
        ("x=-5", -5),
        ("+7", 7),
        ("it is 25.", 25),
        (".5", 0.5),
        ("Rs.500", 500),
        ("-$1,000", -1000),
        ("$-5", -5),
        ("€ costs 3", 3),
        ("1e3", 1000),
        ("2.5 × 10^3", 2500),
        ("2.5 \\times 10^{-3}", 0.0025),
        ("3/4", 0.75),
        ("-3/4", -0.75),
        ("12/05/2024", 2024),
        ("50%", 50),
        ("10\\%", 10),
        ("5km", 5),
        ("\\boxed{42}", 42),
        ("**42**", 42),
        ("答案是25", 25),
        ("٢٥", 25),
    ],
)
def test_numbers_are_read_as_people_write_them(completion, value):
    assert grade(completion, value).correct


@pytest.mark.parametrize("completion", ["", "none", "H2O", "v1a2", "5/0", "1e999999999", "∞", "NaN"])
def test_what_is_no_number_is_the_models_fault(completion):
    assert grade(completion, 2).outcome is Outcome.INCORRECT


def test_a_fraction_is_one_number_and_not_its_denominator():
    assert not grade("3/4", 4).correct


def test_a_number_beyond_the_tolerance_is_incorrect_and_says_what_was_expected():
    found = grade("It is 6", 5)

    assert (found.outcome, found.score, found.read) == (Outcome.INCORRECT, 0, "6")
    assert found.reason == "Expected 5, read 6."


def test_the_absolute_tolerance_includes_its_edge():
    assert grade("5.01", 5, absolute_tolerance=0.01).correct
    assert not grade("5.0101", 5, absolute_tolerance=0.01).correct


def test_the_relative_tolerance_is_a_share_of_the_reference():
    assert grade("-99", -100, relative_tolerance=0.01).correct
    assert not grade("-98.9", -100, relative_tolerance=0.01).correct


def test_numbers_that_binary_fractions_cannot_hold_are_equal():
    assert grade("0.30", "0.3").correct
    assert grade("0.1", 0.1).correct


def test_percent_can_be_read_as_a_fraction_on_both_sides():
    assert grade("0.5", "50%", percent="as_fraction").correct
    assert grade("50 %", 0.5, percent="as_fraction").correct


def test_units_are_converted_to_the_references():
    fields = {"units": {"km": 1, "m": 0.001}}

    assert grade("1500 m", 1.5, **fields).correct
    assert grade("1.5", "1500 m", **fields).correct
    assert not grade("1500 km", 1.5, **fields).correct


def test_a_required_unit_must_be_there():
    fields = {"units": {"km": 1}, "unit_required": True}

    assert grade("1.5 km", 1.5, **fields).correct
    assert not grade("1.5", 1.5, **fields).correct
    assert not grade("1.5 miles", 1.5, **fields).correct


@pytest.mark.parametrize("reference", ["abc", "", None, True, [1], {"a": 1}, "3 or 4"])
def test_a_reference_that_is_not_one_number_is_the_authors_fault(reference):
    found = registry.grade({"type": "number"}, "5", {"reference": reference})

    assert found.outcome is Outcome.UNGRADABLE
    assert found.errors == ("bad_reference",)


@pytest.mark.parametrize(
    "completion",
    ["9" * 5000, "1," * 50_000, "9 " * 50_000, "-" * 100_000, "1,234" * 20_000, "1/" * 50_000, "." * 100_000],
)
@pytest.mark.timeout(20)
def test_hostile_replies_are_graded_in_no_time(completion):
    found = grade(completion, 5)

    assert found.outcome is Outcome.INCORRECT


def test_a_reference_of_five_thousand_digits_is_refused_when_the_grader_is_read():
    assert grade("5", "9" * 5000).errors == ("bad_grader",)


def test_a_long_reply_is_read_to_the_same_number_as_a_short_one():
    padding = "word " * 2000

    assert grade(f"{padding}2.5 × 10^3{' word' * 38}", 2500).correct
    assert grade(f"4 {padding}", 4).correct


def test_the_gold_carries_the_required_unit():
    config = {"type": "number", "units": {"km": 1, "m": 0.001}, "unit_required": True}

    gold = registry.gold(config, {"reference": 1.5})

    assert gold == "1.5 km"
    assert registry.grade(config, gold, {"reference": 1.5}).correct


def test_an_exact_coincidence_is_told_from_a_pass_by_tolerance():
    config = registry.parse({"type": "number", "absolute_tolerance": 10})

    assert number.coincides(config, {"reference": 5}, "it is 5.0")
    assert not number.coincides(config, {"reference": 5}, "it is 6")


@pytest.mark.parametrize("completion", ["version 5.0.1", "5²", "5⁻¹", "5½", "0x5", "10.5.0.5"])
def test_what_goes_on_is_not_a_plain_number(completion):
    found = registry.grade({"type": "number", "reference": 5}, completion, {})

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("sample_parse_error",))


@pytest.mark.parametrize(("completion", "reference"), [("0x10", 0), ("10⁵", 10), ("192.168.0.1", 192.168)])
def test_the_beginning_of_something_else_is_never_the_answer(completion, reference):
    assert not registry.grade({"type": "number", "reference": reference}, completion, {}).correct


@pytest.mark.parametrize("completion", ["5 m²", "5m", "5.", "5... or so", "x² = 5", "5th", "٥", "５"])
def test_units_and_punctuation_behind_a_number_do_not_change_it(completion):
    assert registry.grade({"type": "number", "reference": 5}, completion, {}).correct


@pytest.mark.parametrize("completion", ["50%", "50 %", r"50\%", "50％", "50 percent", "50 per cent", "0.5"])
def test_a_share_may_be_written_in_every_usual_way(completion):
    assert registry.grade({"type": "number", "percent": "as_fraction", "reference": 0.5}, completion, {}).correct


@pytest.mark.parametrize(
    ("completion", "read"),
    [("3-5", "5"), ("4 or 5", "5"), ("2020-01-05", "05"), ("12:05", "05"), ("1.234,5", "5"), ("5 000", "000")],
)
def test_the_last_number_counts_whatever_stands_before_it(completion, read):
    assert registry.grade({"type": "number", "reference": 7}, completion, {}).read == read


def test_a_minus_sign_touches_its_number():
    assert registry.grade({"type": "number", "reference": -5}, "x = −5", {}).correct
    assert registry.grade({"type": "number", "reference": 5}, "- 5", {}).correct


# Long replies

LONG = number.SEARCHED


class Counted:
    """The pattern, with how many characters it was let loose on."""

    def __init__(self, pattern):
        self.pattern, self.characters = pattern, 0

    def finditer(self, text, start=0):
        self.characters += len(text) - start
        return self.pattern.finditer(text, start)


@pytest.mark.parametrize("text", ["1,", "1 ", "1", "x", " ", "1\n", "12 x", "x1"], ids=repr)
def test_a_reply_of_two_million_characters_is_not_searched_as_a_whole(monkeypatch, text):
    counted = Counted(number._NUMBER)
    monkeypatch.setattr(number, "_NUMBER", counted)

    grade(text * (2_000_000 // len(text)), 1)

    assert counted.characters <= 2 * (LONG + number.MAX_CHARACTERS)


def test_a_number_at_the_beginning_of_what_is_searched_counts():
    assert grade("42" + "x" * 10 + " y" * (LONG // 2 - 6), 42).outcome is Outcome.CORRECT


def test_a_number_before_what_is_searched_does_not():
    found = grade("42 " + "x" * LONG, 42)

    assert (found.outcome, found.reason) == (
        Outcome.INCORRECT,
        "The reply contains no number in its last 20,000 characters.",
    )


@pytest.mark.parametrize("behind", range(LONG - 12, LONG + 3))
def test_a_number_across_the_place_where_the_search_begins_is_read_whole_or_not_at_all(behind):
    found = grade("no " * 1000 + "1,234,567.5" + "x" * behind, 1)

    assert found.read in (None, "1,234,567.5")


@pytest.mark.parametrize(
    "text",
    [
        "93607 " * 40,
        ", ".join(map(str, range(1000, 1040))),
        "so 2.5 × 10^3 4 ×10^2 7 x 10^5",
        "1 000 000 000 000 000 3/4 50 % 12",
        "the 12. 34. 56. 78. 90. 5.0.1 12, 13",
        "17 18 19 20 21 22 −3 −4 −5 -6.5e3",
        "1, 22, 333, 4,444, 55,555, 666,666",
    ],
)
def test_of_numbers_in_a_row_the_last_is_found_as_if_all_were_searched(monkeypatch, text):
    near = grade(text, 0)
    monkeypatch.setattr(number, "_NEAR", len(text))

    far = grade(text, 0)

    assert near.read is not None
    assert near.read == far.read


def test_a_row_of_numbers_is_not_searched_as_a_whole(monkeypatch):
    counted = Counted(number._NUMBER)
    monkeypatch.setattr(number, "_NUMBER", counted)

    grade("93607 " * 33 + "5", 5)

    assert counted.characters < 2 * number._NEAR


def test_a_reference_that_is_longer_than_what_is_searched_is_the_authors_fault():
    found = registry.grade({"type": "number"}, "8", {"reference": "7 " + "x" * LONG + " 8"})

    assert found.errors == ("bad_reference",)
