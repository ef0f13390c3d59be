import pytest

from tasks import proof
from tasks.graders import registry
from tasks.graders.outcome import scored, ungradable
from tasks.proof import DecoyKind, DecoyOutcome, ProofOutcome
from tasks.types import Outcome

NUMBER = {"type": "number"}
PROMPT = "Tom has 3 apples and buys 4. How many?"


def like(operation="like"):
    return {
        "type": "string_check",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.reference }}",
        "operation": operation,
    }


def decoys(found):
    return {decoy.kind: decoy.outcome for decoy in found.decoys}


def test_a_sound_row_is_proved_against_all_six_decoys():
    found = proof.prove(NUMBER, {"reference": 7}, None, PROMPT, ["8", "9"])

    assert (found.outcome, found.code, found.gold) == (ProofOutcome.PROVED, "proved", "7")
    assert decoys(found) == dict.fromkeys(DecoyKind, DecoyOutcome.REFUSED)


def test_a_gold_that_does_not_earn_full_score_rejects_the_row_with_the_reason():
    found = proof.prove(NUMBER, {"reference": 7}, "It is 8", PROMPT)

    assert (found.outcome, found.code) == (ProofOutcome.REJECTED, "gold_failed")
    assert found.reason == "The gold answer earns 0.00, not full score: Expected 7, read 8."


def test_a_gold_above_the_threshold_but_below_full_score_rejects_the_row():
    config = {"type": "set_match", "pass_threshold": 0.5}

    assert proof.prove(config, {"reference": ["a", "b"]}, "a", PROMPT).code == "gold_failed"


def test_a_gold_that_cannot_be_graded_rejects_the_row():
    found = proof.prove(NUMBER, {"reference": "many"}, "7", PROMPT)

    assert (found.outcome, found.code) == (ProofOutcome.REJECTED, "gold_ungradable")
    assert found.gold_grade.outcome is Outcome.UNGRADABLE


@pytest.mark.parametrize("flag", ["model_grader_parse_error", "model_grader_refusal_error", "sandbox_error"])
def test_a_gold_that_a_judge_or_this_machine_failed_on_decides_nothing(monkeypatch, flag):
    monkeypatch.setattr(registry, "grade_many", lambda config, answers: [ungradable("No verdict.", flag)])

    found = proof.prove(NUMBER, {"reference": 7}, None, PROMPT)

    assert (found.outcome, found.code) == (ProofOutcome.UNPROVED, proof.UNAVAILABLE)
    assert found.reason == "Nothing is decided, because the grader could not do its work: No verdict."


def _judge_of(monkeypatch, gold_score):
    """Numbers are judged by a model that gives the gold so much."""
    monkeypatch.setattr("tasks.graders.number.ASKS_A_MODEL", True, raising=False)
    graded = registry.grade_many

    def grade_many(config, answers):
        made = zip(answers, graded(config, answers), strict=True)
        return [scored(gold_score, 0.6, None, "Fair.") if grade.correct else grade for _, grade in made]

    monkeypatch.setattr(registry, "grade_many", grade_many)


def test_a_judge_must_take_the_gold_for_correct_but_need_not_give_the_top_of_its_scale(monkeypatch):
    _judge_of(monkeypatch, 0.75)

    assert proof.prove(NUMBER, {"reference": 7}, None, PROMPT, ["8"]).outcome is ProofOutcome.PROVED


def test_a_gold_that_a_judge_takes_for_wrong_rejects_the_row(monkeypatch):
    _judge_of(monkeypatch, 0.5)

    found = proof.prove(NUMBER, {"reference": 7}, None, PROMPT, ["8"])

    assert (found.code, found.reason) == (
        proof.GOLD_FAILED,
        "The gold answer earns 0.50, too little to be correct: Fair.",
    )


def test_a_row_without_a_gold_is_unproved():
    found = proof.prove(like("ne"), {"reference": "x"}, None, PROMPT)

    assert (found.outcome, found.code, found.decoys) == (ProofOutcome.UNPROVED, "no_gold", ())


def test_a_decoy_that_passes_sends_the_row_to_a_person():
    found = proof.prove({**NUMBER, "absolute_tolerance": 100}, {"reference": 7}, None, PROMPT, ["8"])

    assert (found.outcome, found.code) == (ProofOutcome.UNPROVED, "decoy_passed")
    assert decoys(found)[DecoyKind.OTHER_GOLD] is DecoyOutcome.PASSED
    assert "another row's answer" in found.reason


def test_another_rows_equal_gold_is_skipped():
    found = proof.prove(NUMBER, {"reference": 7}, None, PROMPT, ["7", "7.0"])

    assert decoys(found)[DecoyKind.OTHER_GOLD] is DecoyOutcome.SKIPPED
    assert found.outcome is ProofOutcome.PROVED


def test_a_prompt_that_ends_in_the_answer_is_skipped():
    found = proof.prove(NUMBER, {"reference": 4}, None, "What is 2 + 2, if not 4?", ["8"])

    assert decoys(found)[DecoyKind.ECHO] is DecoyOutcome.SKIPPED


def test_a_prompt_that_merely_holds_the_answer_must_not_pass():
    found = proof.prove(like(), {"reference": "yes"}, None, "Is it yes or no? Decide.", ["no"])

    assert decoys(found)[DecoyKind.ECHO] is DecoyOutcome.PASSED


def test_the_flattering_sentence_is_skipped_where_it_is_the_answer():
    found = proof.prove(like(), {"reference": "correct"}, None, "True?", ["wrong"])

    assert decoys(found)[DecoyKind.FLATTERY] is DecoyOutcome.SKIPPED


def test_a_containment_grader_is_caught_by_listing_a_closed_set_of_answers():
    found = proof.prove(like(), {"reference": "yes"}, None, "Decide.", ["no", "yes"])

    assert decoys(found)[DecoyKind.EVERY_CANDIDATE] is DecoyOutcome.PASSED


def test_a_containment_grader_on_open_answers_is_not_held_against():
    found = proof.prove(like(), {"reference": "Paris"}, None, "The capital of France?", ["Rome", "Oslo"])

    assert found.outcome is ProofOutcome.PROVED


def test_an_empty_reply_that_passes_is_found():
    config = {"type": "multi", "graders": {"no": like("eq")}, "calculate_output": "1 - no"}

    found = proof.prove(config, {"reference": "no"}, "yes", PROMPT)

    assert decoys(found)[DecoyKind.EMPTY] is DecoyOutcome.PASSED


def test_the_over_long_answer_is_wrong_and_stays_within_the_limit():
    found = proof.prove(like("eq"), {"reference": "7"}, None, PROMPT, ["123"], output_limit=50)

    over_long = found.decoys[-1]
    assert over_long.kind is DecoyKind.OVER_LONG
    assert over_long.completion == " ".join(["123"] * 12)


def test_without_neighbours_the_decoys_that_need_them_are_not_made():
    found = proof.prove(like("eq"), {"reference": "7"}, None, PROMPT)

    assert decoys(found)[DecoyKind.OTHER_GOLD] is DecoyOutcome.NOT_MADE
    assert decoys(found)[DecoyKind.EVERY_CANDIDATE] is DecoyOutcome.NOT_MADE


def test_a_multiple_choice_reply_that_lists_every_letter_is_refused():
    item = {"reference": "D", "choices": ["a", "b", "c", "d"]}

    found = proof.prove({"type": "choice", "choices": "{{ item.choices }}"}, item, None, "Which?", ["A", "B"])

    assert decoys(found)[DecoyKind.EVERY_CANDIDATE] is DecoyOutcome.REFUSED


def test_a_multi_is_tried_with_every_candidate_although_its_children_make_no_list_of_their_own():
    config = {"type": "multi", "graders": {"a": NUMBER, "b": like("like")}, "calculate_output": "max(a, b)"}

    found = proof.prove(config, {"reference": 7}, None, PROMPT, ["8", "9"])
    lax = proof.prove(config, {"reference": 7}, None, PROMPT, ["8", "7", "9"])

    assert decoys(found)[DecoyKind.EVERY_CANDIDATE] is DecoyOutcome.REFUSED
    assert decoys(lax)[DecoyKind.EVERY_CANDIDATE] is DecoyOutcome.PASSED


def tallied(proofs):
    return proof.tally(cell for found in proofs for cell in proof.cells_of(found))


def wide(reference):
    return proof.prove({**NUMBER, "absolute_tolerance": 1}, {"reference": reference}, None, "How many?", ["8"])


def test_the_tally_is_a_matrix_of_false_accepts_and_false_rejects():
    proofs = [
        wide(7),
        wide(100),
        proof.prove(NUMBER, {"reference": 1}, "2", PROMPT),
        proof.prove(like("ne"), {"reference": ""}, None, ""),
    ]

    counts = tallied(proofs)

    assert counts["gold"] == {"earned": 2, "failed": 1, "ungradable": 0, "absent": 1, "not_sampled": 0}
    assert counts["other_gold"] == {"refused": 1, "passed": 1, "skipped": 0, "not_made": 0, "ungradable": 0}


@pytest.mark.parametrize(("passing", "refused"), [(0, False), (5, False), (6, True)])
def test_a_decoy_that_passes_on_more_than_5_percent_refuses_the_grader(passing, refused):
    counts = tallied([wide(7)] * passing + [wide(100)] * (100 - passing))

    assert (proof.refusal(counts) is not None) is refused


def test_a_refusal_names_the_decoy_and_what_to_do():
    found = proof.refusal(tallied([wide(7)] * 10))

    assert found.kind in (DecoyKind.OTHER_GOLD, DecoyKind.EVERY_CANDIDATE, DecoyKind.OVER_LONG)
    assert found.sentence == (
        "The grader accepts another row's answer on 10 of 10 rows: change the grader to a stricter one."
    )


def test_an_upload_without_a_single_gold_refuses_nothing():
    assert proof.refusal(proof.tally(())) is None


def multi(**graders):
    return {"type": "multi", "graders": graders, "calculate_output": " * ".join(graders)}


def test_a_decoy_that_every_child_takes_for_the_answer_coincides():
    config = multi(value=NUMBER, said=like())

    assert decoys(proof.prove(config, {"reference": 7}, None, PROMPT + " 7", ["8"]))[DecoyKind.ECHO] == "skipped"


def test_a_decoy_that_one_child_does_not_take_for_the_answer_is_no_coincidence():
    config = multi(value={**NUMBER, "absolute_tolerance": 1}, said=like())

    assert decoys(proof.prove(config, {"reference": 7}, None, PROMPT + " 7 or 8", ["9"]))[DecoyKind.ECHO] == "passed"


def test_the_usual_rule_decides_for_children_without_one():
    config = multi(said=like(), long={"type": "regex", "pattern": ".{3}"})

    found = proof.prove(config, {"reference": "cat"}, "cat", "Spell cat backwards", ["dog, cat"])

    assert decoys(found)[DecoyKind.ECHO] == "passed"
    assert decoys(found)[DecoyKind.OTHER_GOLD] == "skipped"


def test_a_pattern_without_a_reference_coincides_where_the_decoy_ends_in_the_gold():
    found = proof.prove({"type": "regex", "pattern": "tea"}, {}, "I like tea.", "Say it: I like tea", ["green tea"])

    assert decoys(found)[DecoyKind.ECHO] == "skipped"
    assert decoys(found)[DecoyKind.OTHER_GOLD] == "passed"
