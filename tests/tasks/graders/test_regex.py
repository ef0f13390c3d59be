import pytest

from tasks import proof
from tasks.errors import Invalid
from tasks.graders import registry
from tasks.types import Outcome

DATE = r"\b(\d{4}-\d{2}-\d{2})\b"


def grade(completion, pattern=DATE, item=None, **fields):
    return registry.grade({"type": "regex", "pattern": pattern, **fields}, completion, item or {})


@pytest.mark.parametrize(
    ("pattern", "mode", "completion", "correct"),
    [
        (DATE, "search", "They landed on 1969-07-20.", True),
        (DATE, "search", "They landed in 1969.", False),
        (DATE, "full", "1969-07-20", True),
        (DATE, "full", " 1969-07-20\n", True),
        (DATE, "full", "on 1969-07-20", False),
        ("a|ab", "full", "ab", True),
        (r"\p{Greek}+", "full", "λόγος", True),
        ("(?i)paris", "search", "PARIS", True),
        ("paris", "search", "PARIS", False),
        ("^b$", "search", "a\nb\nc", False),
        ("(?m)^b$", "search", "a\nb\nc", True),
        ("a.c", "search", "a\nc", False),
    ],
)
def test_search_finds_and_full_covers(pattern, mode, completion, correct):
    assert grade(completion, pattern, mode=mode).correct is correct


def test_case_can_be_ignored():
    assert grade("PARIS", "paris", case_sensitive=False).correct


@pytest.mark.parametrize("completion", ["<think>1969-07-20</think>July", "<think>1969-07-20", "1969-07-20</think>"])
def test_an_answer_only_in_the_reasoning_does_not_count(completion):
    assert not grade(completion).correct


def test_an_empty_reply_is_incorrect_even_where_the_pattern_matches_nothing():
    assert grade("", "x*").outcome is Outcome.INCORRECT


def test_the_last_match_must_read_as_the_reference():
    item = {"reference": "1969-07-20"}

    right = grade("1969-07-16? No, 1969-07-20.", item=item, reference="{{ item.reference }}")
    wrong = grade("1969-07-20? No, 1969-07-16.", item=item, reference="{{ item.reference }}")

    assert (right.correct, right.read) == (True, "1969-07-20")
    assert (wrong.correct, wrong.reason) == (False, "Expected '1969-07-20', read '1969-07-16'.")


@pytest.mark.parametrize(
    ("pattern", "group", "correct"),
    [
        (r"(\w+) and (\w+)", None, True),
        (r"(\w+) and (\w+)", 1, True),
        (r"(\w+) and (\w+)", 2, False),
        (r"(\w+) and (\w+)", 0, False),
        (r"\w+ and (?P<first>\w+)", "first", False),
        (r"(?P<first>\w+) and \w+", "first", True),
        (r"\w+", None, False),
        (r"(x)?salt", None, False),
    ],
)
def test_the_group_says_what_is_compared(pattern, group, correct):
    assert grade("Salt and pepper", pattern, reference="salt", group=group).correct is correct


def test_the_pattern_may_come_from_the_item():
    item = {"pattern": "^yes"}

    assert grade("yes, it is", "{{ item.pattern }}", item).correct
    assert not grade("it is, yes", "{{ item.pattern }}", item).correct


def test_a_variable_inside_of_a_pattern_stands_for_its_text():
    item = {"word": "C++ (1985)"}

    assert grade("It is C++ (1985).", r"is {{ item.word }}\.", item).correct
    assert not grade("It is CC 1985.", r"is {{ item.word }}\.", item).correct


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"pattern": ""}, "`pattern` is empty"),
        ({"pattern": "a(?=b)"}, r"invalid perl operator: \(\?=\): RE2's syntax has no look-around"),
        ({"pattern": r"(a)\1"}, "invalid escape sequence"),
        ({"pattern": "("}, r"missing \)"),
        ({"pattern": "a{1001}"}, "repetition above 1,000"),
        ({"pattern": "(((a{30}){30}){30}){30}"}, "cannot be used"),
        ({"pattern": r"(\pL \pL){5}(\pL{9})"}, "more than 10,000 steps"),
        ({"pattern": "(a)", "reference": "a", "group": 2}, "no group 2"),
        ({"pattern": "(a)", "reference": "a", "group": "word"}, "no group word"),
        ({"pattern": "(a)", "group": 1}, "`group` needs a `reference`"),
        ({"pattern": "{{ sample.output_text }}"}, "must not come from the reply"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused_before_any_row(fields, sentence):
    with pytest.raises(Invalid, match=sentence) as refused:
        registry.parse({"type": "regex", **fields})

    assert refused.value.code == "bad_grader"


@pytest.mark.parametrize("pattern", ["(", "a(?!b)", "", None, 5, r"(\pL \pL){5}(\pL{9})", "\udc00("])
def test_an_items_pattern_that_cannot_work_is_the_authors_fault(pattern):
    config = {"type": "regex", "pattern": "{{ item.pattern }}"}
    found = registry.grade(config, "x", {"pattern": pattern})

    assert found.outcome is Outcome.UNGRADABLE
    assert registry.reference_problem(config, {"pattern": pattern}) == found.reason


@pytest.mark.parametrize("item", [{}, {"reference": None}, {"reference": ""}, {"reference": ["a"]}])
def test_a_reference_that_says_nothing_is_the_authors_fault(item):
    assert grade("1969-07-20", item=item, reference="{{ item.reference }}").outcome is Outcome.UNGRADABLE


def test_the_gold_is_the_example_or_a_reference_that_matches():
    assert registry.gold({"type": "regex", "pattern": "a+", "example": "{{ item.good }}"}, {"good": "aa"}) == "aa"
    assert registry.gold({"type": "regex", "pattern": DATE, "reference": "1969-07-20"}, {}) == "1969-07-20"


def test_no_gold_follows_from_a_pattern_alone():
    assert registry.gold({"type": "regex", "pattern": "a+"}, {}) is None
    assert registry.gold({"type": "regex", "pattern": "Answer: (a+)", "reference": "a"}, {}) is None


def prove(config, gold, item=None, prompt="When was the landing?", neighbours=("1961-04-12",)):
    return proof.prove({"type": "regex", **config}, item or {}, gold, prompt, neighbours)


def test_a_row_with_a_reference_is_proved():
    config = {"pattern": DATE, "reference": "{{ item.reference }}"}

    assert prove(config, None, {"reference": "1969-07-20"}).outcome is proof.ProofOutcome.PROVED


def test_a_pattern_of_the_answer_itself_is_proved():
    assert prove({"pattern": r"^(On )?1969-07-20\.?$"}, "1969-07-20").outcome is proof.ProofOutcome.PROVED


@pytest.mark.parametrize("pattern", [".*", "(?s).*", r"\w", "x*", r"[\s\S]"])
def test_a_pattern_that_matches_everything_is_refused_by_proof(pattern):
    found = prove({"pattern": pattern}, "1969-07-20")

    assert (found.outcome, found.code) == (proof.ProofOutcome.UNPROVED, "decoy_passed")


def test_a_pattern_that_only_knows_the_form_is_refused_by_proof():
    found = prove({"pattern": DATE}, "1969-07-20")

    assert found.code == "decoy_passed"


def test_a_decoy_that_reads_as_the_reference_is_skipped():
    config = {"pattern": DATE, "reference": "1969-07-20"}

    found = prove(config, "It was 1969-07-20", neighbours=["They say 1969-07-20"])

    assert found.outcome is proof.ProofOutcome.PROVED


@pytest.mark.parametrize(
    ("pattern", "completion"),
    [
        ("(a+)+$", "a" * 30 + "b"),
        ("(a+)+$", "a" * 99_000 + "b"),
        ("(a|a)*b", "a" * 100_000),
        ("(x+x+)+y", "x" * 100_000),
        ("((a{0,100}){0,10})*b", "a" * 100_000),
        ("(?:[ab]*a[ab]{900}c)", "ab" * 50_000),
        ("(.*)(.*)(.*)(.*)(.*)!", "é" * 100_000),
    ],
)
@pytest.mark.timeout(20)
def test_no_pattern_takes_longer_than_the_text_is_long(pattern, completion):
    assert grade(completion, pattern).outcome is Outcome.INCORRECT


@pytest.mark.timeout(20)
def test_a_search_for_the_last_match_ends_where_every_match_looks_to_the_end():
    found = grade("x" * 100_000, "(x*y|x)", reference="y")

    assert found.errors == ("too_long",)


def test_a_reply_beyond_the_limit_is_incorrect_with_its_flag():
    found = grade("1969-07-20" * 20_000)

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("too_long",))


@pytest.mark.parametrize("completion", ["\ud800", "a\ud800b", "\0"])
def test_signs_that_are_no_text_are_graded(completion):
    assert grade(completion, "^(a.b|\\x00|\\?)$").outcome in (Outcome.CORRECT, Outcome.INCORRECT)


@pytest.mark.parametrize("completion", ["5", "5 ", "It is 5.", "4 or 5"])
def test_the_last_match_that_holds_something_decides(completion):
    assert grade(completion, r"(\d*)", reference="5").correct
