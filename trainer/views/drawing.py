"""Where things go in the drawings that the server makes: plain numbers in, coordinates out. Colours are in app.css."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values [low, high] to pixels [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def within(self, value: float) -> float:
        """Clipped to the drawing: an interval of one item may be wider than the paper."""
        return self(min(max(value, self.low), self.high))


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten) that lie between low and high."""
    if high <= low:
        return [low]
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(step * n, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class ForestRow:
    suite: str
    role: str
    finding: str
    y: float
    middle: float
    low: float
    high: float
    difference: float
    low_value: float
    high_value: float
    margin_x: float | None  # left edge of the shaded margin, for guards
    margin_width: float
    threshold_x: float
    anchor: float | None


@dataclass(frozen=True, slots=True)
class Forest:
    width: int
    height: float
    zero: float
    top: float
    bottom: float
    ticks: list[tuple[float, float]]  # (x, value)
    rows: list[ForestRow]


def forest(rows: Sequence[Mapping[str, Any]], *, width: int = 900, row_height: int = 36) -> Forest:
    """A row per suite: difference and interval, margin shaded left of zero. Positive, to the right, is better."""
    top, left, right = 14, 190, width - 210
    edges = [0.0, 0.01, -0.01]
    for row in rows:
        edges += [row["low"], row["high"], row["threshold"]]
    room = 0.06 * (max(edges) - min(edges))
    scale = Scale(min(edges) - room, max(edges) + room, left, right)
    drawn = []
    for number, row in enumerate(rows):
        anchor, margin = row.get("anchor"), row.get("margin") or 0.0
        drawn.append(
            ForestRow(
                suite=row["suite"],
                role=row["role"],
                finding=row["finding"],
                y=top + row_height * (number + 0.5),
                middle=scale(row["difference"]),
                low=scale.within(row["low"]),
                high=scale.within(row["high"]),
                difference=row["difference"],
                low_value=row["low"],
                high_value=row["high"],
                margin_x=scale.within(-margin) if margin else None,
                margin_width=round(scale(0) - scale.within(-margin), 1),
                threshold_x=scale.within(row["threshold"]),
                anchor=scale.within(anchor["difference"]) if anchor else None,
            )
        )
    bottom = top + row_height * len(rows)
    marks = [(scale(value), value) for value in ticks(scale.low, scale.high)]
    return Forest(width, bottom + 34, scale(0), top, bottom, marks, drawn)


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float
    low: float
    high: float
    label: str


@dataclass(frozen=True, slots=True)
class ScoreChart:
    width: int
    height: int
    left: float
    right: float
    bottom: float
    ticks: list[tuple[float, float]]  # (y, value)
    points: list[Point]
    path: str


def score_chart(scores: Sequence[Any], *, width: int = 560, height: int = 230) -> ScoreChart:
    """Champion scores over versions, each with its interval. `scores` have name, mean, low, high in [0, 1]."""
    left, right, top, bottom = 52, width - 16, 14, height - 30
    low = max(min((s.low for s in scores), default=0) - 0.03, 0)
    high = min(max((s.high for s in scores), default=1) + 0.03, 1)
    scale = Scale(low, max(high, low + 0.05), bottom, top)
    step = (right - left) / max(len(scores), 1)
    points = [
        Point(round(left + step * (n + 0.5), 1), scale(s.mean), scale(s.low), scale(s.high), s.name.rpartition("/")[2])
        for n, s in enumerate(scores)
    ]
    path = " ".join(f"{'L' if n else 'M'}{point.x} {point.y}" for n, point in enumerate(points))
    marks = [(scale(value), value) for value in ticks(scale.low, scale.high, about=4)]
    return ScoreChart(width, height, left, right, bottom, marks, points, path)


@dataclass(frozen=True, slots=True)
class RateRow:
    name: str
    note: str
    tone: str
    y: float
    middle: float
    low: float
    high: float
    mean: float


@dataclass(frozen=True, slots=True)
class Rates:
    width: int
    height: float
    top: float
    bottom: float
    ticks: list[tuple[float, float]]  # (x, share)
    marks: list[tuple[float, float]]  # of these those that decide something
    rows: list[RateRow]


def rates(
    rows: Sequence[tuple[str, str, str, Any]], *, marked: Sequence[float], width: int = 900, row_height: int = 36
) -> Rates:
    """A row per (name, note, tone, rate with mean, low, high): shares from 0 to 1, the marked ones drawn strongly."""
    top, left, right = 14, 190, width - 210
    scale = Scale(0, 1, left, right)
    drawn = [
        RateRow(
            name=name,
            note=note,
            tone=tone,
            y=top + row_height * (number + 0.5),
            middle=scale(rate.mean),
            low=scale.within(rate.low),
            high=scale.within(rate.high),
            mean=rate.mean,
        )
        for number, (name, note, tone, rate) in enumerate(rows)
    ]
    bottom = top + row_height * len(drawn)
    shares = [(scale(share), share) for share in ticks(0, 1, about=5)]
    return Rates(width, bottom + 34, top, bottom, shares, [(scale(share), share) for share in marked], drawn)


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    middle: float
    count: int
    label: str
    inside: bool  # of the zone


@dataclass(frozen=True, slots=True)
class Histogram:
    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    bars: list[Bar]
    zone_x: float
    zone_width: float
    inside: int  # tasks of the bars in the zone
    above: int
    below: int


def histogram(counts: Sequence[int], *, low: float, high: float, width: int = 900, height: int = 240) -> Histogram:
    """Bars of tasks by passes, from none to all of k; those with a rate from `low` to `high` lie in the zone."""
    left, right, top, bottom = 8, width - 8, 34, height - 28
    k = len(counts) - 1
    step = (right - left) / len(counts)
    first, last = math.ceil(low * k - 1e-9), math.floor(high * k + 1e-9)
    scale = Scale(0, max(max(counts), 1), bottom, top)
    bars = [
        Bar(
            x=round(left + step * (n + 0.12), 1),
            y=scale(count),
            width=round(step * 0.76, 1),
            height=round(bottom - scale(count), 1),
            middle=round(left + step * (n + 0.5), 1),
            count=count,
            label=f"{n} of {k}",
            inside=first <= n <= last,
        )
        for n, count in enumerate(counts)
    ]
    return Histogram(
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        bars=bars,
        zone_x=round(left + step * first, 1),
        zone_width=round(step * max(last - first + 1, 0), 1),
        inside=sum(counts[first : last + 1]),
        above=sum(counts[last + 1 :]),
        below=sum(counts[:first]),
    )


@dataclass(frozen=True, slots=True)
class CurveChart:
    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: list[tuple[float, float]]
    y_ticks: list[tuple[float, float]]
    path: str
    mark_x: float
    wanted_y: float


def curve(
    points: Sequence[tuple[int, float]], *, marked: int, wanted: float, width: int = 560, height: int = 230
) -> CurveChart:
    """A share in [0, 1] over a number of items; `marked` is the planned number, `wanted` the share asked for."""
    left, right, top, bottom = 52, width - 16, 14, height - 30
    across = Scale(0, max([marked, *(n for n, _ in points)], default=1) or 1, left, right)
    up = Scale(0, 1, bottom, top)
    return CurveChart(
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=[(across(value), value) for value in ticks(0, across.high, about=5)],
        y_ticks=[(up(value), value) for value in ticks(0, 1, about=4)],
        path=" ".join(f"{'L' if at else 'M'}{across(n)} {up(share)}" for at, (n, share) in enumerate(points)),
        mark_x=across.within(marked),
        wanted_y=up(wanted),
    )
