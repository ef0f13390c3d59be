"""What every bench prints and writes: its measures, each with a target and the peer that it was measured beside."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

FAST = os.environ.get("FAST") == "1"  # a version of under a minute: fewer repeats, the same measures


@dataclass(frozen=True, slots=True)
class Measure:
    name: str
    value: float
    unit: str
    target: str  # what was promised, "" where the figure is only told
    peer: str  # what it was measured beside, in the same run
    holds: bool | None  # None without a target


def at_least(name: str, value: float, unit: str, target: float, peer: str = "") -> Measure:
    return Measure(name, value, unit, f"≥ {target:,g}", peer, value >= target)


def at_most(name: str, value: float, unit: str, target: float, peer: str = "") -> Measure:
    return Measure(name, value, unit, f"≤ {target:,g}", peer, value <= target)


def told(name: str, value: float, unit: str, peer: str = "") -> Measure:
    return Measure(name, value, unit, "", peer, None)


def interleaved(arms: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Every arm once a round, so that a busy moment of the machine meets all of them; the figures of each arm."""
    figures: list[list[float]] = [[] for _ in arms]
    for _ in range(rounds):
        for arm, found in zip(arms, figures, strict=True):
            found.append(arm())
    return figures


def median_ratio(ours: Iterable[float], peers: Iterable[float]) -> float:
    """The median over rounds of ours by the peer's of the same round."""
    return median(one / other for one, other in zip(ours, peers, strict=True))


def report(bench: str, measures: Sequence[Measure]) -> None:
    """Print the table, write var/bench/<bench>.json."""
    path = Path("var/bench") / f"{bench}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming = path.with_suffix(".partial")
    incoming.write_text(json.dumps([asdict(one) for one in measures], indent=1, ensure_ascii=False) + "\n")
    incoming.replace(path)
    rows = [("measure", "value", "unit", "target", "holds", "beside"), *map(_row, measures)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        sys.stdout.write("  ".join([*cells, row[5]]).rstrip() + "\n")
    missed = [one.name for one in measures if one.holds is False]
    sys.stdout.write(
        f"Written to {path}. " + (f"Missed: {', '.join(missed)}.\n" if missed else "Every target holds.\n")
    )


def _row(one: Measure) -> tuple[str, ...]:
    value = f"{one.value:,.0f}" if abs(one.value) >= 100 else f"{one.value:,.3g}"
    return one.name, value, one.unit, one.target, {True: "yes", False: "NO", None: ""}[one.holds], one.peer
