import pytest

from tasks import proof
from tasks.graders import registry
from tasks.types import Outcome


def grade(completion, reference="Mount Everest", **fields):
    return registry.grade({"type": "exact", **fields}, completion, {"reference": reference})


@pytest.mark.parametrize(
    ("completion", "reference"),
    [
        ("Mount Everest", "Mount Everest"),
        (" mount\n everest ", "Mount Everest"),
        ("“No”", '"no"'),
        ("ＡＢＣ", "abc"),
        ("1,234", 1234),
        ("TRUE", True),
        ("x²", "x^2"),
        ("$\\frac{1}{2}$", "\\dfrac{1}{2}"),
        ("<think>Mont Blanc</think>Mount Everest", "Mount Everest"),
    ],
)
def test_texts_that_mean_the_same_are_equal(completion, reference):
    found = grade(completion, reference)

    assert (found.score, found.correct) == (1, True)


@pytest.mark.parametrize(
    "completion",
    ["", " ", "It is Mount Everest.", "Mount", "Mount Everest Mount Everest", "MountEverest", "{{ item.reference }}"],
)
def test_anything_else_is_incorrect(completion):
    assert grade(completion).outcome is Outcome.INCORRECT


@pytest.mark.parametrize(
    "completion", ["<think>Mount Everest</think>", "<think>Mount Everest", "Mount Everest</think>"]
)
def test_an_answer_only_in_the_reasoning_does_not_count(completion):
    assert not grade(completion).correct


def test_a_wrong_reply_is_told_what_was_expected():
    assert grade("K2").reason == "Expected 'Mount Everest'."
    assert grade("K2", ["Mount Everest", "Sagarmatha"]).reason == "Expected 'Mount Everest' or one of 1 more."


def test_case_counts_when_asked():
    assert not grade("mount everest", case_sensitive=True).correct
    assert grade("Mount  Everest", case_sensitive=True).correct


def test_each_of_several_references_is_right():
    assert grade("sagarmatha", ["Mount Everest", "Sagarmatha"]).correct
    assert registry.grade({"type": "exact", "reference": ["a", 2]}, "2", {}).correct


def test_a_field_of_a_json_reply_can_be_compared():
    assert grade('{"peak": "mount everest"}', input="{{ sample.output_json.peak }}").correct
    assert grade("mount everest", input="{{ sample.output_json.peak }}").errors == ("sample_parse_error",)


@pytest.mark.parametrize("reference", [None, "", " \n", [], ["a", ""], [None], {"a": 1}, [["a"]]])
def test_a_reference_that_says_nothing_is_the_authors_fault(reference):
    found = grade("x", reference)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_reference",))
    assert registry.reference_problem({"type": "exact"}, {"reference": reference}) == found.reason


def test_a_missing_reference_is_the_authors_fault():
    found = registry.grade({"type": "exact"}, "x", {})

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("invalid_variable_error",))


def test_the_gold_is_the_first_reference():
    assert registry.gold({"type": "exact"}, {"reference": ["Mount Everest", "Sagarmatha"]}) == "Mount Everest"


def test_no_gold_follows_where_only_a_part_of_the_reply_is_compared():
    config = {"type": "exact", "input": "{{ sample.output_json.peak }}"}

    assert registry.gold(config, {"reference": "K2"}) is None


def test_a_row_is_proved_by_its_reference_and_refuses_the_decoys():
    found = proof.prove({"type": "exact"}, {"reference": "Mount Everest"}, None, "Which peak is highest?", ["K2"])

    assert found.outcome is proof.ProofOutcome.PROVED


def test_another_rows_answer_that_is_one_of_the_references_coincides():
    item = {"reference": ["Mount Everest", "Sagarmatha"]}

    found = proof.prove({"type": "exact"}, item, None, "Which peak is highest?", ["Sagarmatha"])

    assert found.outcome is proof.ProofOutcome.PROVED
    assert found.decoys[2].outcome is proof.DecoyOutcome.SKIPPED


@pytest.mark.parametrize("completion", ["\\text{" * 100_000, "½" * 500_000, "1,000" * 200_000, " \u200b" * 500_000])
@pytest.mark.timeout(20)
def test_hostile_replies_are_graded_in_no_time(completion):
    assert grade(completion).outcome is Outcome.INCORRECT
