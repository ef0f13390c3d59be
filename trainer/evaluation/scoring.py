"""From single answers to per-item numbers: what each side scored on each item, and how many answers were errors.

Shapes: an array that ends in `_n` has one entry per item, `_n_k` one row per item and one column per answer.
An answer that is missing or ungradable is an error. Errors are bounded, never dropped: every mean takes what an
error counts as. The headline uses one half, the midpoint of the two bounds, so a fault of ours favours neither side.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.errors import Invalid
from tasks.types import Outcome
from trainer.contract import EvalItem, Score

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Reading = Literal["score", "outcome"]  # the grader's score in [0, 1], or the pass rate

CHAMPION, CANDIDATE, ANCHOR = "champion", "candidate", "anchor"
OVERALL = "overall"  # the pooled union of all suites


@dataclass(frozen=True, slots=True, eq=False)
class SideScores:
    """One model's answers to the items of a suite, summed over the K answers of each item."""

    asked_n: IntArray  # K
    errors_n: IntArray
    correct_n: FloatArray
    score_n: FloatArray
    score_square_n: FloatArray

    def mean_n(self, reading: Reading, error_counts_as: float = 0.5) -> FloatArray:
        total_n = self.score_n if reading == "score" else self.correct_n
        return (total_n + error_counts_as * self.errors_n) / self.asked_n

    def within_variance_n(self, reading: Reading) -> FloatArray:
        """Unbiased variance between the answers to one item; NaN where fewer than two were graded."""
        graded_n = (self.asked_n - self.errors_n).astype(np.float64)
        total_n = self.score_n if reading == "score" else self.correct_n
        square_n = self.score_square_n if reading == "score" else self.correct_n
        with np.errstate(divide="ignore", invalid="ignore"):
            variance_n = (square_n - total_n**2 / graded_n) / (graded_n - 1)
        return np.where(graded_n >= 2, np.maximum(variance_n, 0.0), np.nan)

    @property
    def errors(self) -> int:
        return int(self.errors_n.sum())

    @property
    def error_share(self) -> float:
        return self.errors / max(int(self.asked_n.sum()), 1)


@dataclass(frozen=True, slots=True, eq=False)
class SuiteScores:
    """All sides' answers to one suite. Items are in the order of `keys`, which has no repeats."""

    suite: str
    keys: tuple[str, ...]
    clusters: tuple[str, ...]  # near-duplicate family of each item, its own key where it has none
    sources: tuple[str, ...]  # source dataset of each item, "" where unknown
    sides: Mapping[str, SideScores]

    @property
    def n(self) -> int:
        return len(self.keys)

    @property
    def answers_per_item(self) -> int:
        """The smallest K of any item and side."""
        return min((int(side.asked_n.min()) for side in self.sides.values() if side.asked_n.size), default=0)

    def difference_n(self, reading: Reading, *, against: str = CHAMPION, errors: "ErrorsCount" = "half") -> FloatArray:
        """d_i: positive means the candidate is better."""
        ours, theirs = ERROR_VALUES[errors]
        return self.sides[CANDIDATE].mean_n(reading, ours) - self.sides[against].mean_n(reading, theirs)


ErrorsCount = Literal["half", "against", "for"]
# What an error counts as for (candidate, the side it is compared with).
ERROR_VALUES: Mapping[ErrorsCount, tuple[float, float]] = {"half": (0.5, 0.5), "against": (0.0, 1.0), "for": (1.0, 0.0)}


@dataclass(frozen=True, slots=True)
class Flips:
    """The 2×2 counts. An item passes on a side when at least half of its K answers are correct."""

    both: int
    only_champion: int  # regressions
    only_candidate: int  # gains
    neither: int


def side_of(score_n_k: FloatArray, correct_n_k: FloatArray | None = None) -> SideScores:
    """One side from arrays of shape n × K, NaN for an error. Without `correct_n_k` an answer passes at score 1."""
    score_n_k = np.atleast_2d(np.asarray(score_n_k, dtype=np.float64))
    error_n_k = np.isnan(score_n_k)
    passed_n_k = (score_n_k >= 1.0) if correct_n_k is None else np.nan_to_num(correct_n_k) > 0
    graded_n_k = np.where(error_n_k, 0.0, score_n_k)
    return SideScores(
        asked_n=np.full(score_n_k.shape[0], score_n_k.shape[1], dtype=np.int64),
        errors_n=error_n_k.sum(axis=1, dtype=np.int64),
        correct_n=(passed_n_k & ~error_n_k).sum(axis=1).astype(np.float64),
        score_n=graded_n_k.sum(axis=1),
        score_square_n=(graded_n_k**2).sum(axis=1),
    )


def suite_of(
    suite: str,
    keys: Sequence[str],
    sides: Mapping[str, SideScores],
    *,
    clusters: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
) -> SuiteScores:
    """A suite from plain arrays; an empty cluster label makes the item its own cluster."""
    if len(set(keys)) != len(keys):
        raise Invalid("repeated_item", f"Suite “{suite}” lists an item twice; give every item once.", "keys")
    named = tuple(label or key for label, key in zip(clusters or [""] * len(keys), keys, strict=True))
    return SuiteScores(suite, tuple(keys), named, tuple(sources or [""] * len(keys)), dict(sides))


def suites_from(
    scores: Iterable[Score],
    *,
    items: Iterable[EvalItem] = (),
    sources: Mapping[str, str] | None = None,
    answers_per_item: int = 0,
) -> list[SuiteScores]:
    """Group the lines of scores.jsonl by suite, in alphabetical order of suite and key.

    `items` is what should have been answered and `answers_per_item` how often: an answer that is missing counts as
    an error. Without them the lines themselves say (the highest sample number, on any side, sets K).
    A repeated line replaces the earlier one, because a resumed engine may write an answer twice.
    `sources` maps an item's key to its dataset.
    """
    cluster_of: dict[tuple[str, str], str] = {(item.suite, item.key): item.cluster for item in items}
    told = bool(cluster_of)
    answers: dict[tuple[str, str], dict[tuple[str, int], Score]] = {item: {} for item in cluster_of}
    for line in scores:
        item = (line.suite, line.key)
        if told and item not in cluster_of:
            raise Invalid("unknown_item", f"Suite “{line.suite}” has no item {line.key}; score the frozen suite only.")
        cluster_of.setdefault(item, line.cluster)
        answers.setdefault(item, {})[line.side, line.sample] = line
    by_suite: dict[str, list[str]] = {}
    for suite, key in sorted(answers):
        by_suite.setdefault(suite, []).append(key)
    return [
        _suite_from(
            suite, keys, {key: answers[suite, key] for key in keys}, answers_per_item, cluster_of, sources or {}
        )
        for suite, keys in by_suite.items()
    ]


def _suite_from(
    suite: str,
    keys: list[str],
    answers: Mapping[str, Mapping[tuple[str, int], Score]],
    asked: int,
    cluster_of: Mapping[tuple[str, str], str],
    sources: Mapping[str, str],
) -> SuiteScores:
    sides = sorted({side for lines in answers.values() for side, _ in lines})
    asked = max([asked, *(sample + 1 for lines in answers.values() for _, sample in lines)])
    shape = (len(keys), asked)
    score = {side: np.full(shape, np.nan) for side in sides}
    correct = {side: np.zeros(shape) for side in sides}
    for row, key in enumerate(keys):
        for (side, sample), line in answers[key].items():
            if line.outcome != Outcome.UNGRADABLE:
                score[side][row, sample] = line.score
                correct[side][row, sample] = line.outcome == Outcome.CORRECT
    return suite_of(
        suite,
        keys,
        {side: side_of(score[side], correct[side]) for side in sides},
        clusters=[cluster_of[suite, key] for key in keys],
        sources=[sources.get(key, "") for key in keys],
    )


def pooled(suites: Sequence[SuiteScores], name: str = OVERALL) -> SuiteScores:
    """The union of the suites' items, each item once though it may sit in several suites; families keep together."""
    taken: dict[str, tuple[int, int]] = {}
    for which, suite in enumerate(suites):
        for row, key in enumerate(suite.keys):
            taken.setdefault(key, (which, row))
    rows = [
        np.array([row for at, row in taken.values() if at == which], dtype=np.int64) for which in range(len(suites))
    ]
    shared = set.intersection(*(set(suite.sides) for suite in suites)) if suites else set()
    sides = {side: _joined([_rows(s.sides[side], r) for s, r in zip(suites, rows, strict=True)]) for side in shared}
    picked = [(suite, row) for suite, at in zip(suites, rows, strict=True) for row in at]
    return SuiteScores(
        name,
        tuple(suite.keys[row] for suite, row in picked),
        tuple(suite.clusters[row] for suite, row in picked),
        tuple(suite.sources[row] for suite, row in picked),
        sides,
    )


def _rows(side: SideScores, at: IntArray) -> SideScores:
    return replace(
        side,
        asked_n=side.asked_n[at],
        errors_n=side.errors_n[at],
        correct_n=side.correct_n[at],
        score_n=side.score_n[at],
        score_square_n=side.score_square_n[at],
    )


def _joined(parts: Sequence[SideScores]) -> SideScores:
    return SideScores(
        asked_n=np.concatenate([part.asked_n for part in parts]),
        errors_n=np.concatenate([part.errors_n for part in parts]),
        correct_n=np.concatenate([part.correct_n for part in parts]),
        score_n=np.concatenate([part.score_n for part in parts]),
        score_square_n=np.concatenate([part.score_square_n for part in parts]),
    )


def flips(suite: SuiteScores) -> Flips:
    champion_n = suite.sides[CHAMPION].mean_n("outcome") >= 0.5
    candidate_n = suite.sides[CANDIDATE].mean_n("outcome") >= 0.5
    return Flips(
        both=int((champion_n & candidate_n).sum()),
        only_champion=int((champion_n & ~candidate_n).sum()),
        only_candidate=int((~champion_n & candidate_n).sum()),
        neither=int((~champion_n & ~candidate_n).sum()),
    )


def discordance(suite: SuiteScores, reading: Reading = "outcome") -> float:
    """Share of items on which the two sides' means differ. At K = 1 this is about Var(d) (see planning)."""
    return float(np.mean(suite.difference_n(reading) != 0)) if suite.n else 0.0
