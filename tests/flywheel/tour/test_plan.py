import pytest

from flywheel.samples.families import FAMILIES
from flywheel.tour import plan

DOMAINS = [family.domain for family in FAMILIES]


def test_every_domain_that_the_base_was_shown_has_the_same_weight():
    weights = plan.recipe(DOMAINS)["weights"]

    assert set(weights) == set(DOMAINS)
    assert len(set(weights.values())) == 1


def test_a_domain_that_the_base_was_not_shown_is_left_out():
    assert "fractions" not in plan.recipe([*DOMAINS, "fractions"])["weights"]


def test_a_domain_that_could_not_be_uploaded_has_no_weight():
    weights = plan.recipe([domain for domain in DOMAINS if domain != "shuffles"])["weights"]

    assert "shuffles" not in weights
    assert sum(weights.values()) == pytest.approx(1)
