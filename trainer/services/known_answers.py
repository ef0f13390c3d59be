"""Answers that a model has given before, to the same items with the same settings: copied, not given again.

A champion answers the suites of every candidate, and was a candidate itself. What it answered lies in the directories
of those evaluations for as long as these are kept. Only whole suites without an error are taken, within a team, graded
by the same release of the grading programs; where another model grades, both sides are graded anew.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
from django.db import transaction

from tasks.graders.release import digest_of, release
from tasks.types import Outcome
from trainer import contract
from trainer.contract import EvaluateSpec, Sampling, Score
from trainer.models import AnsweredSuite, Evaluation, ModelVersion
from trainer.services import answers, rows
from trainer.services.launching import path_of
from trainer.states import EvaluationState, Verdict

ENGINE = Path(contract.__file__).parent / "engine"
ANSWERING = ("answering", "decoding", "evaluate", "loading", "sampling")
LIBRARIES = ("torch", "transformers", "tokenizers", "jinja2")
LATEST = 5  # evaluations that are tried for one suite of one side: those before may be pruned


class Asked(NamedTuple):
    digest: str  # of the items
    size: int
    repeatable: bool  # graded by programs alone


class _Wanted(NamedTuple):
    side: str
    suite: str


def take(
    evaluation: Evaluation, sides: Mapping[str, ModelVersion], asked: Mapping[str, Asked], directory: Path
) -> dict[str, list[str]]:
    """Side → suites that known.jsonl answers now. A later attempt goes on with what the first was given.

    `asked`: suite → the items that this evaluation asks of it.
    """
    if (directory / "spec.json").exists():
        if not evaluation.answered.exclude(settings_digest=_settings(evaluation)).exists():
            told = contract.decode_spec((directory / "spec.json").read_bytes())
            assert isinstance(told, EvaluateSpec)
            return told.known
        (directory / "scores.jsonl").unlink(missing_ok=True)  # of another release: both sides answer anew
    whole = cache(_whole)
    found = {
        _Wanted(side, suite): source
        for side, version in sides.items()
        for suite, items in asked.items()
        if items.repeatable and (source := _source(evaluation, version.digest, items, whole)) is not None
    }
    while short := _copy(found, asked, evaluation, directory / "known.jsonl"):
        found = {wanted: source for wanted, source in found.items() if wanted not in short}
    _keep(evaluation, sides, asked, found)
    known: dict[str, list[str]] = {}
    for wanted in found:
        known.setdefault(wanted.side, []).append(wanted.suite)
    return known


def told(evaluation: Evaluation) -> list[str]:
    """Sentences for people: whose answers were not given again, and where they lie."""
    taken = ((one.side, one.taken_from_id or 0, one.suite) for one in evaluation.answered.all())
    found: dict[tuple[str, int], list[str]] = {}
    for side, source, suite in sorted(one for one in taken if one[1]):
        found.setdefault((side, source), []).append(suite)
    return [
        f"The {side}'s answers to {', '.join(suites)} are those of evaluation {source}."
        for (side, source), suites in found.items()
    ]


def _source(
    evaluation: Evaluation, model_digest: str, items: Asked, whole: Callable[[Evaluation], Mapping[_Wanted, int]]
) -> AnsweredSuite | None:
    """Where the answers lie, whole and without an error."""
    given = AnsweredSuite.objects.filter(
        model_digest=model_digest,
        items_digest=items.digest,
        settings_digest=_settings(evaluation),
        evaluation__line__team=evaluation.line.team_id,
        evaluation__state=EvaluationState.SUCCEEDED,
    ).exclude(evaluation__report__verdict=Verdict.INVALID)
    expected = items.size * msgspec.convert(evaluation.sampling, Sampling).answers_per_item
    for one in given.select_related("evaluation").order_by("-pk")[:LATEST]:
        if whole(one.evaluation).get(_Wanted(one.side, one.suite)) == expected:
            return one
    return None


def _whole(evaluation: Evaluation) -> Mapping[_Wanted, int]:
    """Answers of each side and suite that lie in the evaluation's directory; none of those with an error."""
    counts: Counter[_Wanted] = Counter()
    for score in _lines(evaluation):
        ungradable = score.outcome == Outcome.UNGRADABLE
        counts[_Wanted(score.side, score.suite)] += -(10**9) if ungradable else 1
    return counts


def _copy(
    found: Mapping[_Wanted, AnsweredSuite], asked: Mapping[str, Asked], evaluation: Evaluation, path: Path
) -> set[_Wanted]:
    """Write the answers; returns what has become short since it was found, by pruning."""
    counts: Counter[_Wanted] = Counter()

    def counted() -> Iterator[Score]:
        for score in _copied(found):
            counts[_Wanted(score.side, score.suite)] += 1
            yield score

    rows.write_lines(path, counted())
    each = msgspec.convert(evaluation.sampling, Sampling).answers_per_item
    return {wanted for wanted in found if counts[wanted] != asked[wanted.suite].size * each}


def _copied(found: Mapping[_Wanted, AnsweredSuite]) -> Iterator[Score]:
    """The lines, under the name and the side that they have here; every source is read once."""
    wanted: dict[int, dict[_Wanted, list[_Wanted]]] = defaultdict(lambda: defaultdict(list))
    sources = {source.evaluation_id: source.evaluation for source in found.values()}
    for here, source in found.items():
        wanted[source.evaluation_id][_Wanted(source.side, source.suite)].append(here)
    for pk, names in wanted.items():
        for score in _lines(sources[pk]):
            for here in names.get(_Wanted(score.side, score.suite), ()):
                yield msgspec.structs.replace(score, side=here.side, suite=here.suite)


def _lines(evaluation: Evaluation) -> Iterator[Score]:
    directory = path_of(evaluation.directory)
    if evaluation.directory and (directory / "scores.jsonl").exists():
        yield from answers.given_in(directory)


@transaction.atomic
def _keep(
    evaluation: Evaluation,
    sides: Mapping[str, ModelVersion],
    asked: Mapping[str, Asked],
    found: Mapping[_Wanted, AnsweredSuite],
) -> None:
    AnsweredSuite.objects.filter(evaluation=evaluation).delete()
    AnsweredSuite.objects.bulk_create(
        AnsweredSuite(
            evaluation=evaluation,
            side=side,
            suite=suite,
            model_digest=version.digest,
            items_digest=items.digest,
            settings_digest=_settings(evaluation),
            taken_from=source.evaluation if (source := found.get(_Wanted(side, suite))) else None,
        )
        for side, version in sides.items()
        for suite, items in asked.items()
    )


def _settings(evaluation: Evaluation) -> str:
    sampling = msgspec.convert(evaluation.sampling, Sampling)
    told = f"{contract.sampling_digest(sampling)}/{release()}/{_answered_by()}"
    return hashlib.sha256(told.encode()).hexdigest()


@cache
def _answered_by() -> str:
    """The programs that make an answer of a model. The engine's are read, not imported: it is another process."""
    return digest_of([ENGINE / f"{name}.py" for name in ANSWERING], LIBRARIES)
