"""Numbers, states and sentences are said the same way on every page."""

import pytest

from flywheel.pages.templatetags import portal
from tasks.states import ProofState, TaskState, UploadState
from trainer.states import EvaluationState, RunState, Verdict


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0, "0 s"), (59.4, "59 s"), (92, "1 min 32 s"), (720, "12 min"), (3725, "1 h 2 min")],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds, said):
    assert portal.duration(seconds) == said


@pytest.mark.parametrize(("difference", "said"), [(0.031, "+3.1 pp"), (-0.02, "−2.0 pp"), (0, "+0.0 pp"), (None, "–")])
def test_a_difference_is_said_in_percentage_points_with_its_sign(difference, said):
    assert portal.points(difference) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [(1.0, "100 %"), (0.996, "99.6 %"), (0.9999999999, "99.9 %"), (0.857, "85.7 %"), (0.8579, "85.7 %"), (None, "–")],
)
def test_a_similarity_is_rounded_down_so_that_only_equal_texts_are_wholly_alike(share, said):
    assert portal.likeness(share) == said


@pytest.mark.parametrize(
    "state",
    [s.value for kind in (TaskState, UploadState, ProofState, RunState, EvaluationState, Verdict) for s in kind],
)
def test_every_state_has_a_sign_of_its_own_kind(state):
    assert state.lower() in portal.TONES


def test_backticks_become_code_and_nothing_else_gets_through():
    assert portal.coded("Give `a<b` & go.") == "Give <code>a&lt;b</code> &amp; go."


def test_a_lone_backtick_stays_a_backtick():
    assert portal.coded("one ` only") == "one ` only"


def test_a_badge_escapes_what_it_is_given():
    assert "<script>" not in portal.badge("<script>")
