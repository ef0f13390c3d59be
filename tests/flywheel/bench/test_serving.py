"""What the serving bench makes of its answers."""

import pytest

from flywheel.bench import serving
from flywheel.bench.serving import Answer, Load


def load(tokens: int, seconds: float) -> Load:
    return Load([Answer(200, seconds, tokens, "")], seconds)


def test_speed_is_tokens_over_the_time_of_all() -> None:
    together = Load([Answer(200, 2.0, 30, ""), Answer(200, 1.0, 10, "")], 2.0)

    assert together.speed == 20


def test_a_ratio_is_taken_round_by_round() -> None:
    ours, theirs = [load(40, 1), load(20, 1), load(4, 1)], [load(10, 1), load(5, 1), load(1, 1)]

    assert serving._ratio(ours, theirs) == 4


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"verdict": "right", "score": 3, "reason": "aaaaaaaaaaaaaaaaaaaaaaaa"}', True),
        ('{"verdict": "maybe", "score": 3, "reason": "aaaaaaaaaaaaaaaaaaaaaaaa"}', False),
        ('{"verdict": "right", "score": 3', False),
    ],
)
def test_an_answer_is_of_the_schema_or_not(text: str, valid: bool) -> None:
    assert serving._valid(Answer(200, 1.0, 1, text)) is valid
