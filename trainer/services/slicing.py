"""Slices of a finished evaluation: by dataset, grader, difficulty, and by the fields of structured answers."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from tasks.graders import registry
from trainer.contract import EvalItem, Score
from trainer.evaluation.scoring import CANDIDATE, CHAMPION, FloatArray, SuiteScores, pooled
from trainer.evaluation.slices import Slice, adjusted, difficulty, slices

BY_FIELD = "json_match"  # the grader that scores every field, a set's with precision and recall


def slices_of(
    suites: Sequence[SuiteScores], items: Sequence[EvalItem], scores: Iterable[Score], *, alpha: float
) -> list[Slice]:
    """Of all items together, each once."""
    usable = [suite for suite in suites if {CHAMPION, CANDIDATE} <= set(suite.sides)]
    if not usable:
        return []
    whole = pooled(usable)
    champion_n, candidate_n = (whole.sides[side].mean_n("score") for side in (CHAMPION, CANDIDATE))
    graders = {item.key: str(item.grader.get("type", "")) for item in items}
    labels: dict[str, Sequence[str]] = {
        "dataset": whole.sources,
        "grader": [graders.get(key, "") for key in whole.keys],
        "difficulty for the champion": difficulty(whole.sides[CHAMPION].mean_n("outcome")),
    }
    found = slices(champion_n, candidate_n, whole.clusters, labels, alpha=alpha)
    return adjusted([*found, *_fields(whole, items, scores, alpha)])


def _fields(whole: SuiteScores, items: Sequence[EvalItem], scores: Iterable[Score], alpha: float) -> list[Slice]:
    """Every field of the structured answers: its mean score, and a set's precision and recall."""
    means = _field_means(items, scores)
    at = {key: row for row, key in enumerate(whole.keys)}
    found: list[Slice] = []
    for field, by_side in sorted(means.items()):
        sides = {side: _column(by_side.get(side, {}), at) for side in (CHAMPION, CANDIDATE)}
        labels = {"field": [field] * whole.n}
        found += slices(sides[CHAMPION], sides[CANDIDATE], whole.clusters, labels, alpha=alpha)
    return found


def _field_means(items: Sequence[EvalItem], scores: Iterable[Score]) -> dict[str, dict[str, dict[str, float]]]:
    """field → side → item → mean over its answers. The answers are graded again: scores.jsonl keeps no fields."""
    structured = {item.key: item for item in items if item.grader.get("type") == BY_FIELD}
    graders: dict[bytes, registry.Grader] = {}
    totals: dict[tuple[str, str, str], list[float]] = {}
    for line in scores:
        item = structured.get(line.key)
        if item is None or line.side not in (CHAMPION, CANDIDATE):
            continue
        written = msgspec.json.encode(item.grader, order="sorted")
        if written not in graders:
            graders[written] = registry.compile(item.grader)
        for field, score in graders[written](line.completion, item.item).sub_scores.items():
            totals.setdefault((field, line.side, line.key), []).append(score)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (field, side, key), values in totals.items():
        found.setdefault(field, {}).setdefault(side, {})[key] = sum(values) / len(values)
    return found


def _column(by_item: Mapping[str, float], at: Mapping[str, int]) -> FloatArray:
    column = np.full(len(at), np.nan)
    for key, value in by_item.items():
        if key in at:
            column[at[key]] = value
    return column
