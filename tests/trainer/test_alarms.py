from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import alarms
from trainer.alarms import KINDS, Memory
from trainer.contract import Alarm, Estimate, StepMetrics, encode

CALM: dict[str, Any] = {
    "reward_mean": 0.5,
    "loss": 0.0,
    "entropy": 1.0,
    "gradient_norm": 1.0,
    "clip_share": 0.0,
    "zero_spread_share": 0.2,
    "truncated_share": 0.0,
    "completion_tokens_mean": 20.0,
    "sampler_gap": 0.0,
    "grader_error_share": 0.0,
}
EARNS_MORE = Estimate(0.2, 0.01, 50)
NO_CHANGE = Estimate(0.0, 0.01, 50)


def _step(step: int, **changes: Any) -> StepMetrics:
    return StepMetrics(step=step, total_steps=100, at=0.0, **{**CALM, **changes})


def _after(steps: int = 25, *, change: Estimate | None = None, **changes: Any) -> Memory:
    """What the guard remembers of a run that was calm so long; `change` is how its validation stands to the start."""
    memory = Memory()
    alarms.look(memory, StepMetrics(step=0, total_steps=100, at=0.0, probe_entropy=1.0, kl=_kl(0.0)))
    for step in range(1, steps + 1):
        measured = {"kl": _kl(float(step // 5))} if step % 5 == 0 else {}
        alarms.look(memory, _step(step, **measured, **changes))
    memory.change = change
    return memory


def _kl(mean: float) -> Estimate:
    return Estimate(mean, 0.1, 50)


def _levels(memory: Memory, kind: str, several: Sequence[StepMetrics]) -> list[str]:
    """What was said of `kind`, step by step; "" for nothing."""
    told = [{seen.kind: seen.level for seen in alarms.look(memory, metrics)} for metrics in several]
    return [levels.get(kind, "") for levels in told]


BEYOND = {
    "entropy_low": {"entropy": 0.25},
    "entropy_high": {"entropy": 2.5},
    "gradient_norm": {"gradient_norm": 6.0},
    "kl": {"kl": _kl(9.0)},
    "zero_spread": {"zero_spread_share": 0.99},
    "reward_lost": {"reward_mean": 0.1},
    "clipped": {"clip_share": 0.3},
    "truncated": {"truncated_share": 0.3},
    "length": {"completion_tokens_mean": 35.0},
    "sampler_gap": {"sampler_gap": 0.06},
    "grader_errors": {"grader_error_share": 0.02},
}
FAR_BEYOND = {
    "entropy_low": {"entropy": 0.1},
    "entropy_high": {"entropy": 5.0},
    "gradient_norm": {"gradient_norm": 50.0},
    "zero_spread": {"zero_spread_share": 1.0},
    "reward_lost": {"reward_mean": 0.01},
    "clipped": {"clip_share": 0.5},
    "truncated": {"truncated_share": 0.9},
    "length": {"completion_tokens_mean": 70.0},
    "sampler_gap": {"sampler_gap": 0.2},
}
CHANGES = sorted(kind for kind in FAR_BEYOND if KINDS[kind].change)


def test_a_calm_run_sets_off_nothing():
    memory = _after()

    assert alarms.look(memory, _step(26)) == []


@pytest.mark.parametrize("kind", BEYOND)
def test_a_value_beyond_its_threshold_warns(kind):
    assert _levels(_after(), kind, [_step(26, **BEYOND[kind])]) == ["warn"]


@pytest.mark.parametrize("kind", FAR_BEYOND)
def test_a_value_far_beyond_asks_for_a_stop_in_the_second_step_running(kind):
    step = FAR_BEYOND[kind]

    assert _levels(_after(), kind, [_step(26, **step), _step(27, **step)]) == ["warn", "stop"]


@pytest.mark.parametrize("kind", FAR_BEYOND)
def test_a_calm_step_between_two_far_beyond_begins_the_count_again(kind):
    step = FAR_BEYOND[kind]

    assert _levels(_after(), kind, [_step(26, **step), _step(27), _step(28, **step)]) == ["warn", "", "warn"]


@pytest.mark.parametrize("kind", sorted(BEYOND.keys() - {"zero_spread"}))
def test_what_is_not_far_beyond_never_asks_for_a_stop(kind):
    steps = [_step(at, **BEYOND[kind]) for at in range(26, 32)]

    assert "stop" not in _levels(_after(), kind, steps)


@pytest.mark.parametrize("kind", CHANGES)
def test_mere_change_is_forgiven_to_a_run_that_earns_more(kind):
    steps = [_step(at, **FAR_BEYOND[kind]) for at in range(26, 32)]

    assert "stop" not in _levels(_after(change=EARNS_MORE), kind, steps)


@pytest.mark.parametrize("kind", sorted(FAR_BEYOND.keys() - set(CHANGES)))
def test_what_is_no_mere_change_is_never_forgiven(kind):
    steps = [_step(at, **FAR_BEYOND[kind]) for at in (26, 27)]

    assert _levels(_after(change=EARNS_MORE), kind, steps)[-1] == "stop"


@pytest.mark.parametrize("kind", sorted(BEYOND.keys() - {"kl"}))
def test_a_warning_that_goes_on_is_told_once(kind):
    steps = [_step(at, **BEYOND[kind]) for at in (26, 27)]

    assert _levels(_after(change=EARNS_MORE), kind, steps)[0] == "warn"
    assert _levels(_after(change=EARNS_MORE), kind, steps)[1] in ("", "stop")


def test_a_warning_is_told_again_once_it_had_ended():
    steps = [_step(26, clip_share=0.3), _step(27), _step(28, clip_share=0.3)]

    assert _levels(_after(), "clipped", steps) == ["warn", "", "warn"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
def test_a_number_that_is_not_finite_asks_for_a_stop_at_once(name, number):
    assert _levels(_after(change=EARNS_MORE), "not_finite", [_step(26, **{name: number})]) == ["stop"]


def test_a_divergence_that_is_not_finite_asks_for_a_stop_at_once():
    assert _levels(_after(), "not_finite", [_step(26, kl=_kl(float("nan")))]) == ["stop"]


def test_an_alarm_about_nan_can_be_read_back():
    (seen, *_) = alarms.look(_after(), _step(26, loss=float("nan")))
    line = Alarm(26, 0.0, seen.kind, seen.level, seen.value, seen.threshold, "stopped", seen.sentence)

    assert msgspec.json.decode(encode(line), type=Alarm) == line


def test_validation_below_the_start_by_over_two_standard_errors_asks_for_a_stop_at_once():
    fallen = _step(30, validation_reward=Estimate(0.4, 0.02, 50), validation_change=Estimate(-0.1, 0.04, 50))

    assert _levels(_after(), "below_start", [fallen]) == ["stop"]


def test_validation_below_the_start_within_two_standard_errors_says_nothing():
    about = _step(30, validation_reward=Estimate(0.4, 0.02, 50), validation_change=Estimate(-0.1, 0.06, 50))

    assert _levels(_after(), "below_start", [about]) == [""]


def test_one_prompt_alone_cannot_stop_a_run():
    one = _step(30, validation_reward=Estimate(0.0, 0.0, 1), validation_change=Estimate(-1.0, 0.0, 1))

    assert _levels(_after(), "below_start", [one]) == [""]


def test_validation_far_below_its_best_asks_for_a_stop_although_the_run_earns_more_than_at_its_start():
    still_above = _step(30, validation_reward=Estimate(0.6, 0.02, 50), validation_change=EARNS_MORE)

    seen = alarms.look(_after(), still_above, change_from_best=Estimate(-0.2, 0.03, 50))

    assert [(one.kind, one.level) for one in seen] == [("below_best", "stop")]


def test_a_small_drop_below_the_best_is_not_worth_going_back_for():
    fine = _step(30, validation_reward=Estimate(0.6, 0.02, 50), validation_change=EARNS_MORE)

    assert alarms.look(_after(), fine, change_from_best=Estimate(-0.04, 0.001, 50)) == []


def _learning_its_prompts(memory: Memory, steps: int) -> list[str]:
    measured = [
        _step(
            25 + at, reward_mean=0.5 + 0.01 * at, validation_reward=Estimate(0.5, 0.02, 50), validation_change=NO_CHANGE
        )
        for at in range(1, steps + 1)
    ]
    return _levels(memory, "over_fitting", measured)


def test_reward_that_rises_while_validation_does_not_warns_at_the_fourth_measurement():
    assert _learning_its_prompts(_after(), 4) == ["", "", "", "warn"]


def test_over_fitting_is_told_once_and_never_stops_a_run():
    assert _learning_its_prompts(_after(), 10)[4:] == [""] * 6


def test_divergence_that_jumps_in_two_measurements_running_asks_for_a_stop():
    jumps = [_step(26, kl=_kl(20.0)), _step(27), _step(28, kl=_kl(60.0))]

    assert _levels(_after(), "kl", jumps) == ["warn", "", "stop"]


def test_divergence_that_grows_from_next_to_nothing_is_no_jump():
    memory = Memory()
    grows = [_step(at, kl=_kl(mean)) for at, mean in enumerate((0.0, 1e-6, 2e-6, 3e-6, 0.5))]

    assert "kl" not in {seen.kind for metrics in grows for seen in alarms.look(memory, metrics)}


def test_answers_that_were_cut_off_from_the_start_are_no_alarm():
    assert _levels(_after(truncated_share=0.9), "truncated", [_step(26, truncated_share=0.95)]) == [""]


def test_answers_drawn_with_far_more_entropy_than_the_policy_has_stop_the_run_within_two_steps():
    noisy = [_step(at, entropy=4.5) for at in (1, 2)]

    assert _levels(_after(0), "sampling_noise", noisy) == ["warn", "stop"]


def test_a_run_without_validation_is_forgiven_by_its_own_rewards():
    memory = _after(25)
    for step in range(26, 31):
        alarms.look(memory, _step(step, reward_mean=0.9))

    assert _levels(memory, "clipped", [_step(at, reward_mean=0.9, clip_share=0.5) for at in (31, 32)])[-1] != "stop"


def test_a_run_in_trouble_is_not_healthy():
    memory = _after()
    alarms.look(memory, _step(26, clip_share=0.5))

    assert alarms.troubled(memory)


def test_trouble_that_is_forgiven_leaves_a_run_healthy():
    memory = _after(change=EARNS_MORE)
    alarms.look(memory, _step(26, clip_share=0.5))

    assert not alarms.troubled(memory)


def test_trouble_that_a_lower_rate_does_not_help_leaves_a_run_healthy():
    memory = _after()
    alarms.look(memory, _step(26, zero_spread_share=1.0))

    assert not alarms.troubled(memory)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_title_that_a_page_can_show(kind):
    assert KINDS[kind].name == kind
    assert KINDS[kind].title


SHARE = st.none() | st.floats(0, 1)
NUMBER = st.none() | st.floats(0, 100)
ESTIMATE = st.none() | st.builds(Estimate, st.floats(-1, 100), st.floats(0, 1), st.integers(1, 50))
STEPS = st.lists(
    st.fixed_dictionaries(
        {
            "reward_mean": SHARE,
            "loss": NUMBER | st.just(float("nan")),
            "entropy": NUMBER,
            "gradient_norm": NUMBER,
            "clip_share": SHARE,
            "zero_spread_share": SHARE,
            "truncated_share": SHARE,
            "completion_tokens_mean": NUMBER,
            "sampler_gap": SHARE,
            "grader_error_share": SHARE,
            "kl": ESTIMATE,
            "validation_reward": ESTIMATE,
            "validation_change": ESTIMATE,
        }
    ).map(lambda values: StepMetrics(step=1, total_steps=100, at=0.0, **values)),
    max_size=40,
)


@given(STEPS, st.integers(0, 40))
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(steps, cut):
    whole = Memory()
    expected = [alarms.look(whole, metrics) for metrics in steps]

    memory = Memory()
    seen = [alarms.look(memory, metrics) for metrics in steps[:cut]]
    memory = msgspec.json.decode(msgspec.json.encode(memory), type=Memory)
    seen += [alarms.look(memory, metrics) for metrics in steps[cut:]]

    assert seen == expected


@given(STEPS)
def test_every_alarm_has_a_kind_a_sentence_and_finite_numbers(steps):
    memory = Memory()

    for seen in (seen for metrics in steps for seen in alarms.look(memory, metrics)):
        assert seen.kind in KINDS
        assert seen.sentence.endswith(".")
        assert msgspec.json.decode(msgspec.json.encode([seen.value, seen.threshold]), type=list[float])


@given(STEPS)
def test_what_is_remembered_does_not_grow_with_every_step(steps):
    memory = Memory()
    for metrics in steps:
        alarms.look(memory, metrics)

    for values in (memory.entropies, memory.lengths, memory.truncated, memory.rewards, memory.norms):
        assert len(values) <= max(alarms.FIRST, alarms.RECENT)


def test_a_run_is_measured_before_it_stops_for_want_of_spread():
    memory = _after()
    alarms.look(memory, _step(26, zero_spread_share=1.0))

    assert alarms.asks_for_validation(alarms.look(memory, _step(27, zero_spread_share=1.0)))


def test_a_warning_alone_asks_for_no_measurement():
    assert not alarms.asks_for_validation(alarms.look(_after(), _step(26, zero_spread_share=1.0)))


def test_a_policy_that_has_mastered_a_broken_grader_is_told_by_its_validation():
    memory = _after(change=EARNS_MORE)
    fell = Estimate(-0.3, 0.02, 50)
    measured = _step(26, validation_reward=Estimate(0.4, 0.02, 50), validation_change=Estimate(0.1, 0.02, 50))

    assert [found.kind for found in alarms.fallen(memory, measured, fell)] == ["below_best"]


def test_a_share_without_spread_that_hovers_at_its_threshold_is_told_once():
    memory = _after(zero_spread_share=0.55)
    hovering = [_step(26 + at, zero_spread_share=0.9 if at % 10 < 3 else 0.52) for at in range(20)]

    told = [found for metrics in hovering for found in alarms.look(memory, metrics) if found.kind == "zero_spread"]

    assert len(told) == 1


def test_a_few_flat_groups_are_no_reason_to_stop():
    """Four hard prompts in two steps running: by chance, rather than for good."""
    memory = _after()
    flat = {"zero_spread_share": 1.0, "groups_drawn": 16, "groups_without_spread": 16}

    assert _levels(memory, "zero_spread", [_step(26, **flat), _step(27, **flat)]) == ["", ""]


def test_flat_groups_are_counted_over_the_steps_until_they_are_many():
    memory = _after()
    flat = {"zero_spread_share": 1.0, "groups_drawn": 16, "groups_without_spread": 16}

    assert "stop" in _levels(memory, "zero_spread", [_step(26 + at, **flat) for at in range(8)])
