"""All answers of a comparison: those of an evaluation and of the earlier looks that it goes on from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tasks.models import Task
from trainer import contract
from trainer.contract import EvalItem, EvaluateSpec, Score
from trainer.evaluation.scoring import SuiteScores, suites_from
from trainer.models import Evaluation
from trainer.services.launching import path_of


@dataclass(frozen=True, slots=True)
class Answers:
    """`items` in the order in which the suites hold them, each once; `samples` of one item are numbered through."""

    items: list[EvalItem]
    scores: list[Score]
    answers_per_item: int  # the most that any item was to have
    specs: list[EvaluateSpec]  # what the engine was told, the first look's first


def looks_of(evaluation: Evaluation) -> list[Evaluation]:
    """The evaluation with those that it goes on from, the first look first."""
    found = [evaluation]
    while found[0].extends is not None:
        found.insert(0, found[0].extends)
    return found


def kept(evaluation: Evaluation) -> bool:
    """Whether the files of every look are there still."""
    looks = looks_of(evaluation)
    return all(look.directory and (path_of(look.directory) / "scores.jsonl").exists() for look in looks)


def read(evaluation: Evaluation) -> Answers:
    """From the engine's own directories, not from what the rows say that it did."""
    items: dict[tuple[str, str], EvalItem] = {}
    given: dict[tuple[str, str], int] = {}  # answers of an item in earlier looks
    scores: list[Score] = []
    specs = []
    for look in looks_of(evaluation):
        directory = path_of(look.directory)
        spec = contract.decode_spec((directory / "spec.json").read_bytes())
        assert isinstance(spec, EvaluateSpec)
        specs.append(spec)
        asked = list(lines(directory / "items.jsonl", EvalItem))
        for score in given_in(directory):
            before = given.get((score.suite, score.key), 0)
            scores.append(msgspec.structs.replace(score, sample=before + score.sample) if before else score)
        for item in asked:
            place = (item.suite, item.key)
            items.setdefault(place, item)
            given[place] = given.get(place, 0) + spec.sampling.answers_per_item
    return Answers(list(items.values()), scores, max(given.values(), default=0), specs)


def given_in(directory: Path) -> Iterator[Score]:
    """What the engine of an evaluation answered, and what was known before it began."""
    for name in ("known.jsonl", "scores.jsonl"):
        if (directory / name).exists():
            yield from lines(directory / name, Score)


def grouped(gathered: Answers) -> list[SuiteScores]:
    """By suite, each item with the dataset that brought it first."""
    return suites_from(
        gathered.scores,
        items=gathered.items,
        answers_per_item=gathered.answers_per_item,
        sources=_sources(gathered.items),
    )


def _sources(asked: Sequence[EvalItem]) -> dict[str, str]:
    """Item key → the dataset that brought it first."""
    keys = [int(item.key) for item in asked]
    pairs = Task.objects.filter(pk__in=keys).order_by("memberships__pk").values_list("pk", "memberships__dataset__slug")
    sources: dict[str, str] = {}
    for pk, slug in pairs:
        sources.setdefault(str(pk), slug or "")
    return sources


def lines(path: Path, kind: type[Any]) -> Iterator[Any]:
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        for line in file:
            yield decoder.decode(line)
