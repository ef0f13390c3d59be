"""Coordinates of the drawings: what is better lies to the right, what is higher lies higher."""

from dataclasses import dataclass

from trainer.evaluation.decision import Rate
from trainer.views import drawing


def row(**changes):
    return {
        "suite": "s", "role": "guard", "finding": "pass", "difference": 0.01, "low": -0.01, "high": 0.03,
        "threshold": -0.02, "margin": 0.02, "anchor": None, **changes,
    }  # fmt: skip


@dataclass(frozen=True)
class Score:
    name: str
    mean: float
    low: float
    high: float


def test_a_better_candidate_lies_right_of_the_zero_line():
    forest = drawing.forest([row(difference=0.01)])

    assert forest.rows[0].middle > forest.zero


def test_the_interval_spans_its_point():
    drawn = drawing.forest([row()]).rows[0]

    assert drawn.low < drawn.middle < drawn.high


def test_the_margin_is_shaded_from_its_bound_to_zero():
    forest = drawing.forest([row(margin=0.02, threshold=-0.02)])
    drawn = forest.rows[0]

    assert (drawn.margin_x, round(drawn.margin_x + drawn.margin_width, 1)) == (drawn.threshold_x, forest.zero)


def test_a_target_has_no_margin_to_shade():
    assert drawing.forest([row(margin=0, threshold=0)]).rows[0].margin_x is None


def test_every_mark_lies_within_the_paper():
    forest = drawing.forest([row(low=-0.4, high=0.5), row(anchor={"difference": 0.2})])

    assert all(0 <= x <= forest.width for drawn in forest.rows for x in (drawn.low, drawn.middle, drawn.high))


def test_ticks_are_round_numbers():
    assert drawing.ticks(-0.034, 0.071, about=6) == [-0.02, 0.0, 0.02, 0.04, 0.06]


def test_a_higher_score_is_drawn_higher():
    chart = drawing.score_chart([Score("a/v0", 0.2, 0.18, 0.22), Score("a/v1", 0.4, 0.38, 0.42)])

    assert chart.points[1].y < chart.points[0].y


def test_scores_that_are_all_equal_can_be_drawn():
    chart = drawing.score_chart([Score("a/v0", 0.0, 0.0, 0.0)])

    assert chart.points[0].label == "v0"


def test_the_bars_of_a_histogram_are_as_high_as_their_counts():
    bars = drawing.histogram([0, 2, 4], low=0, high=1).bars

    assert [bar.height for bar in bars] == [0, bars[2].height / 2, bars[2].height]


def test_the_zone_of_a_histogram_covers_the_rates_in_it():
    drawn = drawing.histogram([1, 1, 1, 1, 1, 1, 1, 1, 1], low=0.125, high=0.625)

    assert [bar.label for bar in drawn.bars if bar.inside] == ["1 of 8", "2 of 8", "3 of 8", "4 of 8", "5 of 8"]
    assert drawn.zone_x < drawn.bars[1].x < drawn.bars[5].x < drawn.zone_x + drawn.zone_width


def test_a_zone_between_two_bars_holds_none():
    drawn = drawing.histogram([1, 1, 1], low=0.1, high=0.2)

    assert (drawn.inside, drawn.zone_width) == (0, 0)


def test_rates_are_drawn_from_nothing_to_all_with_the_shares_that_decide():
    rates = drawing.rates([("sums", "covered", "watched", Rate(0.5, 0.4, 1.2))], marked=(0.5,))

    (drawn,) = rates.rows
    assert (drawn.middle, drawn.high) == (rates.marks[0][0], rates.ticks[-1][0])  # no interval leaves the paper
    assert [share for _, share in rates.ticks] == [0, 0.2, 0.4, 0.6, 0.8, 1]
