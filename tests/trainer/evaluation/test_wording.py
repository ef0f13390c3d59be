"""Numbers in sentences: true minus signs, no minus zero."""

from trainer.evaluation.points import pp


def test_a_fall_carries_a_true_minus_sign():
    assert pp(-0.031) == "−3.1"


def test_nothing_is_not_minus_nothing():
    assert pp(-0.00001) == "0.0"


def test_a_bound_just_below_zero_keeps_its_sign():
    assert pp(-0.0002) == "−0.02"
