import json

import pytest

from tasks import evidence, proof
from tasks.evidence import Kept, Whole
from tasks.proof import DecoyKind

PROMPT = "Tom has 3 apples and buys 4. How many?"
USUAL = proof.prove({"type": "number"}, {"reference": 7}, None, PROMPT, ["8"])


def whole(kept: Kept) -> Whole:
    return evidence.whole(
        kept.code, kept.reason, None if kept.gold is None else json.loads(kept.gold), json.loads(kept.decoys)
    )


def test_of_a_proof_as_usual_nothing_is_kept_but_the_gold():
    assert evidence.kept(5, USUAL) == (5, "proved", "proved", "", '{"completion":"7"}', "[]", ())


def test_what_is_not_kept_is_given_back():
    found = whole(evidence.kept(5, USUAL))

    assert found.reason == USUAL.reason
    assert found.gold == {
        "read": "7",
        "score": 1.0,
        "errors": [],
        "reason": "Matches the reference.",
        "outcome": "correct",
        "completion": "7",
        "sub_scores": {},
    }
    assert found.decoys == [{"kind": kind.value, "outcome": "refused"} for kind in DecoyKind]


def test_a_grade_that_is_not_as_usual_is_kept():
    found = proof.prove({"type": "json_match"}, {"reference": {"a": ["x"]}}, None, PROMPT, ['{"a": ["y"]}'])

    assert whole(evidence.kept(5, found)).gold["sub_scores"]["a.f1"] == 1


def test_a_decoy_that_was_not_refused_is_kept_with_its_text_and_reason():
    found = proof.prove({"type": "number", "absolute_tolerance": 1}, {"reference": 7}, None, PROMPT, ["8"])

    passed = {one["kind"]: one for one in whole(evidence.kept(5, found)).decoys if one["outcome"] == "passed"}

    assert passed["other_gold"] == {
        "kind": "other_gold",
        "outcome": "passed",
        "excerpt": "8",
        "reason": "Matches the reference.",
    }


@pytest.mark.parametrize(
    "found",
    [
        proof.prove({"type": "number"}, {"reference": 7}, "8", PROMPT),
        proof.untried("7", "It does not start."),
        proof.unavailable("7", "It is down."),
        proof.not_sampled("7"),
    ],
)
def test_of_a_gold_that_earned_nothing_no_decoy_is_made_up(found: proof.Proof):
    shown = whole(evidence.kept(5, found))

    assert (shown.reason, shown.decoys, shown.gold["completion"]) == (found.reason, [], found.gold)
    assert ("score" in shown.gold) == (found.gold_grade is not None)


def test_what_an_older_version_kept_in_full_reads_the_same():
    full = whole(evidence.kept(5, USUAL))

    assert evidence.whole("proved", full.reason, full.gold, full.decoys) == full
