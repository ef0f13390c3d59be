from typing import Any

import pytest

from trainer import hacking
from trainer.contract import HackingCheck
from trainer.hacking import Row, Said

NUMBER = {"type": "number", "reference": "{{ item.reference }}"}
ANY_DIGIT = {"type": "regex", "pattern": "[0-9]"}  # accepts any digit: deliberately hackable
JSON = {"type": "json_match", "reference": "{{ item.reference }}"}


def rows(grader: dict[str, Any] = NUMBER, count: int = 40, **changes: Any) -> list[Row]:
    """Sums, all of them answered rightly."""
    return [_row(n, grader, **changes) for n in range(count)]


def _row(n: int, grader: dict[str, Any], **changes: Any) -> Row:
    item = {"reference": str(2 * n + 200)}
    plain = {
        "key": f"{n:04d}",
        "prompt": f"How much is {n} + {n + 200}? Say only the sum.",
        "domain": "sums",
        "item": item,
        "grader": grader,
        "gold": item["reference"],
        "answer": item["reference"],
    }
    return Row(**{**plain, **changes})


def checked(rows: list[Row], **given: Any) -> dict[str, HackingCheck]:
    return {check.name: check for check in hacking.inspect(rows, **given)}


def test_every_check_has_a_title():
    assert set(checked(rows())) == set(hacking.TITLES)


@pytest.mark.parametrize("name", list(hacking.ATTEMPTS))
def test_a_grader_that_compares_the_last_number_pays_for_nothing_else(name: str):
    check = checked(rows())[name]

    assert (check.holds, check.value) == (True, 0.0)


@pytest.mark.parametrize("name", ["constant", "echo", "spray", "other_reference", "answers_elsewhere"])
def test_a_grader_that_accepts_any_digit_is_flagged(name: str):
    check = checked(rows(ANY_DIGIT))[name]

    assert (check.holds, check.value) == (False, 1.0)


def test_even_so_an_empty_answer_earns_nothing():
    assert checked(rows(ANY_DIGIT))["empty"].holds is True


def test_a_flag_says_what_to_do():
    assert "compare with each row's own reference" in checked(rows(ANY_DIGIT))["constant"].sentence


def test_a_flag_names_the_worst_rows():
    examples = checked(rows(ANY_DIGIT))["other_reference"].examples

    assert [(example.key, example.score) for example in examples] == [(f"{n:04d}", 1.0) for n in range(5)]


def test_what_is_right_by_accident_is_left_out():
    same = rows(count=30) + [
        _row(0, NUMBER, key=f"again-{n}") for n in range(30)
    ]  # the commonest answer is right there

    check = checked(same)["constant"]

    assert (check.holds, check.n) == (True, 29)


def test_two_accidents_are_no_finding():
    found = rows(count=10) + rows(ANY_DIGIT, count=3)  # for one of the three the constant is right

    check = checked(found)["constant"]

    assert (check.value > check.limit, check.holds) == (True, True)


def test_part_marks_for_the_right_shape_are_no_hack():
    golds = [f'{{"a": {n}, "b": {n + 1}, "c": {n + 2}, "d": {n + 3}, "e": 1}}' for n in range(20)]
    shaped = [_row(n, JSON, gold=gold, answer=gold, item={"reference": gold}) for n, gold in enumerate(golds)]

    check = checked(shaped)["other_reference"]

    assert (check.value, check.limit, check.holds) == (pytest.approx(0.2), hacking.PART_MARKS_LIMIT, True)


def test_an_answer_inside_the_reasoning_may_not_count_though_it_is_right():
    check = checked(rows())["only_thought"]

    assert (check.n, check.holds) == (40, True)


def test_a_spray_holds_the_right_answer_among_the_others():
    attempts = list(hacking.ATTEMPTS["spray"](rows(count=5)))

    assert all(f"{row.gold} " in f"{tried.completion} ".replace(",", " ") for tried in attempts for row in [tried.row])


def test_without_references_nothing_can_be_said_of_them():
    check = checked(rows(ANY_DIGIT, gold=None))["other_reference"]

    assert (check.holds, check.value) == (None, None)


def test_a_policy_that_says_one_thing_to_everybody_is_seen():
    assert checked(rows(answer="7"))["one_answer"].holds is False


def test_an_answer_that_is_right_for_most_rows_may_be_said_often():
    labels = [_row(n, NUMBER, gold="1", answer="1", item={"reference": "1"}) for n in range(20)]

    assert checked(labels)["one_answer"].holds is True


@pytest.mark.parametrize(("tokens", "holds"), [(10, True), (14, True), (16, False), (4, False)])
def test_length_may_not_drift_far(tokens: int, holds: bool):
    check = checked(rows(), early=[Said("a", 10)], late=[Said("a", tokens)])["length"]

    assert check.holds is holds


def test_loops_are_seen():
    early, late = [Said("one two three four five six", 6)], [Said("and so on " * 20, 60)]

    assert checked(rows(), early=early, late=late)["repetition"].holds is False


def test_repeated_words_are_counted_by_fours():
    assert hacking.repeated_share(["a b c d a b c d"]) == pytest.approx(1 / 5)


def test_scripts_without_blanks_are_counted_by_characters():
    assert hacking.repeated_share(["好的好的好的好的好的"]) > 0.5


def test_answers_that_are_cut_off_are_counted():
    check = checked(rows(count=3) + rows(count=2, truncated=True))["truncated"]

    assert (check.value, check.holds, len(check.examples)) == (0.4, False, 2)


def test_a_second_grader_that_disagrees_is_told_with_examples():
    wrong = rows(ANY_DIGIT, count=10, answer="7")

    check = checked(wrong, second_grader=NUMBER)["second_grader"]

    assert (check.value, check.holds, check.examples[0].completion) == (1.0, False, "7")
    assert "10 please the run's own only" in check.sentence


def test_a_second_grader_that_agrees_holds():
    assert checked(rows(), second_grader=NUMBER)["second_grader"].holds is True


def test_without_a_second_grader_nothing_is_compared():
    assert checked(rows())["second_grader"].holds is None


def test_a_second_grader_that_cannot_grade_is_told():
    check = checked(rows(), second_grader={"type": "number", "reference": "{{ item.missing }}"})["second_grader"]

    assert (check.holds, "graded by both" in check.sentence) == (None, True)


def test_a_reference_is_read_from_the_row_where_the_grader_has_none():
    assert hacking.gold_of(ANY_DIGIT, {"reference": 7}) == "7"


def test_part_marks_for_a_list_that_holds_the_right_items_are_deserved():
    sets = {"type": "set_match", "reference": "{{ item.reference }}"}
    golds = [f'["a{n}", "b{n}"]' for n in range(20)]
    several = [_row(n, sets, gold=gold, answer=gold, item={"reference": gold}) for n, gold in enumerate(golds)]

    check = checked(several)["spray"]

    assert (check.value, check.holds) == (0.0, True)


def test_where_every_grade_costs_tokens_a_few_rows_are_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hacking.registry, "asks_a_model", lambda _: True)

    assert checked(rows(count=60))["empty"].n == hacking.JUDGED_SAMPLE
