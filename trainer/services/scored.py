"""What an evaluation's engine left behind: its items, its answers, and both as arrays."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tasks.models import Task
from trainer.contract import EvalItem, Sampling, Score
from trainer.evaluation.scoring import SuiteScores, suites_from
from trainer.models import Evaluation


def items(directory: Path) -> list[EvalItem]:
    return list(_read(directory / "items.jsonl", EvalItem))


def scores(directory: Path) -> list[Score]:
    return list(_read(directory / "scores.jsonl", Score))


def grouped(evaluation: Evaluation, asked: Sequence[EvalItem], answers: Sequence[Score]) -> list[SuiteScores]:
    """By suite, each item with the dataset that brought it first."""
    sampling = msgspec.convert(evaluation.sampling, Sampling)
    return suites_from(answers, items=asked, answers_per_item=sampling.answers_per_item, sources=_sources(asked))


def _sources(asked: Sequence[EvalItem]) -> dict[str, str]:
    """Item key → the dataset that brought it first."""
    keys = [int(item.key) for item in asked]
    pairs = Task.objects.filter(pk__in=keys).order_by("memberships__pk").values_list("pk", "memberships__dataset__slug")
    sources: dict[str, str] = {}
    for pk, slug in pairs:
        sources.setdefault(str(pk), slug or "")
    return sources


def _read(path: Path, kind: type[Any]) -> Iterator[Any]:
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        for line in file:
            yield decoder.decode(line)
