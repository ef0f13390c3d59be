import pytest

from trainer import presets
from trainer.estimating import Pace, forecast

TINY, HUGE = 467_584, 8_000_000_000


def spec(parameters=TINY, **overrides):
    return presets.resolve("flywheel", rows=9000, parameters=parameters, overrides=overrides).spec


def test_twice_the_steps_take_longer():
    short, long = (forecast(spec(steps=steps), parameters=TINY) for steps in (50, 100))

    assert long.seconds > short.seconds


def test_twice_the_steps_draw_twice_the_tokens():
    short, long = (forecast(spec(steps=steps), parameters=TINY) for steps in (50, 100))

    assert long.tokens == pytest.approx(2 * short.tokens, rel=1e-3)


def test_the_local_base_trains_within_two_minutes():
    assert forecast(spec(), parameters=TINY).seconds < 120


def test_a_measured_pace_replaces_the_assumed_one():
    ten_steps = spec(HUGE, steps=10)

    slow, fast = (
        forecast(ten_steps, parameters=HUGE, pace=Pace(seconds_per_token=seconds)) for seconds in (2e-3, 1e-3)
    )

    assert slow.seconds - fast.seconds == pytest.approx(fast.tokens * 1e-3, rel=1e-3)


def test_a_run_of_no_steps_takes_only_its_start():
    assert forecast(spec(steps=0), parameters=TINY, pace=Pace(seconds_start=5.0)).seconds == 5.0
