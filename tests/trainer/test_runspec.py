import pytest

from trainer.runspec import knobs


@pytest.mark.parametrize("knob", list(knobs()), ids=lambda knob: knob.name)
def test_every_knob_says_its_unit_and_what_zero_does(knob):
    assert knob.unit
    assert knob.zero


@pytest.mark.parametrize("knob", list(knobs()), ids=lambda knob: knob.name)
def test_every_knob_says_in_a_sentence_what_it_does(knob):
    assert knob.says.endswith(".")


@pytest.mark.parametrize("knob", [knob for knob in knobs() if knob.kind in ("int", "float")], ids=lambda k: k.name)
def test_every_number_has_a_range(knob):
    assert knob.limits
