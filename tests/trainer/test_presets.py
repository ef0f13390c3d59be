import msgspec
import pytest

from tasks.errors import Invalid
from trainer import presets
from trainer.presets import PRESETS
from trainer.runspec import RunSpec

TINY, LARGE, HUGE = 467_584, 500_000_000, 8_000_000_000


def resolve(preset, **given):
    return presets.resolve(preset, **given).spec


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("parameters", [TINY, LARGE, HUGE])
@pytest.mark.parametrize("rows", [1, 10, 99, 400, 20_000])
def test_every_preset_resolves_to_a_spec_that_the_engine_reads(preset, parameters, rows):
    spec = resolve(preset, rows=rows, parameters=parameters)

    assert msgspec.json.decode(msgspec.json.encode(spec), type=RunSpec) == spec


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_gives_its_reasons(preset):
    assert len(PRESETS[preset].__doc__.split()) > 30


def test_a_few_rows_train_for_a_fixed_number_of_steps():
    assert resolve("few-shot", rows=12, parameters=TINY).steps == resolve("few-shot", rows=90, parameters=TINY).steps


def test_a_few_rows_are_all_used_for_training():
    assert resolve("few-shot", rows=40, parameters=TINY).validation_prompts == 0


def test_the_flywheel_never_shows_a_prompt_twice():
    spec = resolve("flywheel", rows=500, parameters=TINY)

    assert spec.steps * spec.prompts_per_step <= 500


def test_an_expert_sees_its_rows_at_most_twice():
    spec = resolve("expert", rows=800, parameters=TINY)

    assert spec.steps * spec.prompts_per_step <= 1600


@pytest.mark.parametrize(
    ("parameters", "rate"), [(TINY, presets.TINY_RATE), (LARGE, presets.FULL_RATE), (HUGE, presets.LORA_RATE)]
)
def test_the_learning_rate_follows_from_the_size_of_the_model(parameters, rate):
    assert resolve("flywheel", rows=5000, parameters=parameters).learning_rate == rate


def test_asking_for_lora_brings_its_learning_rate():
    spec = resolve("flywheel", rows=5000, parameters=LARGE, overrides={"lora_rank": 8})

    assert spec.learning_rate == presets.LORA_RATE


def test_a_number_that_the_caller_gives_stands():
    assert resolve("expert", rows=400, parameters=TINY, overrides={"learning_rate": 0}).learning_rate == 0


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(Invalid, match="few-shot, expert, flywheel"):
        resolve("turbo", rows=10, parameters=TINY)


def test_an_unknown_knob_is_refused_by_its_name():
    with pytest.raises(Invalid, match="warp"):
        resolve("expert", rows=10, parameters=TINY, overrides={"warp": 9})


def test_a_number_out_of_range_names_its_knob():
    with pytest.raises(Invalid) as caught:
        resolve("expert", rows=10, parameters=TINY, overrides={"group_size": 1})

    assert caught.value.param == "group_size"


def test_no_rows_are_refused():
    with pytest.raises(Invalid, match="approve some"):
        resolve("expert", rows=0, parameters=TINY)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_number_that_a_preset_decides_has_a_reason(preset):
    resolved = presets.resolve(preset, rows=400, parameters=TINY, validation=36)

    assert all(len(why.split()) > 2 for why in resolved.reasons.values())


def test_auto_leaves_the_knob_to_the_preset():
    assert resolve("expert", rows=400, parameters=TINY, overrides={"steps": "auto"}) == resolve(
        "expert", rows=400, parameters=TINY
    )


def test_a_knob_that_the_caller_decides_needs_no_reason_of_ours():
    resolved = presets.resolve("expert", rows=400, parameters=TINY, overrides={"steps": 7})

    assert "steps" not in resolved.reasons


def test_an_unknown_knob_is_refused_even_when_it_is_left_to_the_preset():
    with pytest.raises(Invalid, match="warp"):
        resolve("expert", rows=10, parameters=TINY, overrides={"warp": "auto"})


def test_a_validation_file_lets_a_few_shot_run_end_early():
    assert resolve("few-shot", rows=36, parameters=TINY, validation=36).patience > 0


def test_without_a_validation_file_a_few_shot_run_has_a_fixed_end():
    assert resolve("few-shot", rows=36, parameters=TINY, validation=0).patience == 0
