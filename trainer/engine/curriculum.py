"""Which prompts come next: our own order, seeded and resumable. What is solved rests, what teaches nothing is spared.

The order is one pass after another over the rows: first the file's order (the mixture's), then seeded orders of the
same rows. On the way through it two kinds of prompts are passed over before an answer is drawn:

- a prompt whose last group was nearly all right rests for some steps;
- a prompt of a domain whose groups rarely show spread is drawn less, in proportion to that share. Groups without spread
  have no advantage and are dropped after drawing anyway (DAPO, Yu et al. 2025); predicting them from what was seen
  saves the drawing (GRESO, Zheng et al. 2025, by prompt; here by domain, because most prompts are seen once).

Everything that a resumed run must know is in `Position`, kept with each checkpoint.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import msgspec

SPREAD_MEMORY = 0.9  # weight of the past in a domain's share of groups with spread


class Position(msgspec.Struct):
    cursor: int = 0  # places of the order that have been walked past
    rests_until: dict[int, int] = {}  # row → the step from which it may come again
    spread: dict[str, float] = {}  # domain → moving share of groups with spread; unseen domains count as 1
    passed_over: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a group showed: the mean of its graded rewards, and whether they differ."""

    row: int
    mean: float | None  # None: nothing could be graded
    spread: bool


@dataclass(frozen=True, slots=True)
class Resting:
    """The knobs of RunSpec that concern the order."""

    above: float
    steps: int
    floor: float


class Curriculum:
    def __init__(self, domains: Sequence[str], seed: int, resting: Resting, position: Position | None = None) -> None:
        """`domains` has one entry a row of train.jsonl."""
        self._domains, self._seed, self._resting = domains, seed, resting
        self._names = sorted(set(domains))
        self.state = position or Position()
        self._epoch = -1
        self._order: list[int] = []

    def next(self, count: int, step: int) -> list[int]:
        """`count` rows for `step`. Once everything in a whole pass rests or is spared, it comes all the same."""
        chosen: list[int] = []
        passed = 0
        while len(chosen) < count:
            place = self.state.cursor
            self.state.cursor += 1
            row = self._row_at(place)
            if passed < len(self._domains) and (self._rests(row, step) or self._spared(row, place)):
                passed += 1
            else:
                chosen.append(row)
        self.state.passed_over += passed
        return chosen

    def learn(self, outcomes: Sequence[Outcome], step: int) -> None:
        """Remember what the groups of `step` showed. The same outcomes in the same order give the same state."""
        for outcome in outcomes:
            domain = self._domains[outcome.row]
            before = self.state.spread.get(domain, 1.0)
            self.state.spread[domain] = SPREAD_MEMORY * before + (1 - SPREAD_MEMORY) * outcome.spread
            if self._resting.steps and outcome.mean is not None and outcome.mean >= self._resting.above:
                self.state.rests_until[outcome.row] = step + self._resting.steps

    def resting(self, step: int) -> int:
        """How many rows rest at `step`. Those that have rested enough are forgotten."""
        self.state.rests_until = {row: until for row, until in self.state.rests_until.items() if until > step}
        return len(self.state.rests_until)

    def _rests(self, row: int, step: int) -> bool:
        return self.state.rests_until.get(row, 0) > step

    def _spared(self, row: int, place: int) -> bool:
        most = max((self.state.spread.get(domain, 1.0) for domain in self._names), default=1.0)
        share = self.state.spread.get(self._domains[row], 1.0) / most if most else 1.0
        chance = max(self._resting.floor, share)
        return chance < 1 and Random(f"{self._seed}/spare/{place}").random() >= chance

    def _row_at(self, place: int) -> int:
        epoch, at = divmod(place, len(self._domains))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, list(range(len(self._domains)))
            if epoch:
                Random(f"{self._seed}/{epoch}").shuffle(self._order)
        return self._order[at]
