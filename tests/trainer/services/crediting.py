"""Comparisons of versions as an evaluation leaves them, without an engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from tasks.models import Dataset, DatasetTask, Task
from tasks.states import Split
from trainer.evaluation.scoring import SuiteScores, side_of, suite_of
from trainer.models import Evaluation, GateReport, Line, Mixture, MixtureEntry, ModelVersion, Recipe, TrainingRun
from trainer.services import credit, policies, promotion
from trainer.states import AliasName


def held_out(dataset: Dataset) -> list[int]:
    rows = Task.objects.filter(memberships__dataset=dataset, split=Split.SEALED).order_by("pk").distinct()
    return list(rows.values_list("pk", flat=True))


def train_rows(dataset: Dataset) -> list[int]:
    rows = Task.objects.filter(memberships__dataset=dataset, split=Split.TRAIN).order_by("pk").distinct()
    return list(rows.values_list("pk", flat=True))


def also_brought_by(dataset: Dataset, tasks: list[int]) -> None:
    """The rows come once more, in another dataset."""
    upload = dataset.uploads.get()
    for number, pk in enumerate(tasks, start=10_000):
        DatasetTask.objects.create(dataset=dataset, task_id=pk, upload=upload, line=number, duplicate=True)


@dataclass
class Turns:
    """turn(…) makes a version of a line, compares it with the champion and, where the gate says so, promotes it."""

    line: Line

    def __call__(
        self,
        items: list[int],
        *,
        before: float | Mapping[int, float] = 0.3,
        after: float | Mapping[int, float] = 0.7,
        trained: list[int] | None = None,
        verdict: str = "PROMOTE",
        spec: Mapping[str, Any] | None = None,
        run: TrainingRun | None = None,
    ) -> GateReport:
        number = self.line.versions.count()
        champion = self.line.alias(AliasName.CHAMPION)
        run = run or self._run(champion, trained or [], dict(spec or {}))
        candidate = ModelVersion.objects.create(
            line=self.line, number=number, digest=f"{number:064d}", parent=champion, run=run, origin="run"
        )
        policy = policies.of(self.line)
        evaluation = Evaluation.objects.create(
            line=self.line, candidate=candidate, champion=champion, sampling={}, state="succeeded",
            policy=msgspec.to_builtins(policy), policy_digest=policy.digest(),
        )  # fmt: skip
        report = GateReport.objects.create(
            line=self.line, evaluation=evaluation, verdict=verdict, sentence="As drawn.", decision={}, policy_digest=""
        )
        credit.measure(report, [scores(items, before, after, seed=number)])
        if verdict == "PROMOTE":
            promotion.promote(candidate, actor=None, reason="It is better.", report=report)
        return report

    def _run(self, start: ModelVersion, trained: list[int], spec: dict[str, Any]) -> TrainingRun:
        recipe, _ = Recipe.objects.get_or_create(line=self.line, name="all", defaults={"body": {}})
        digest = f"{recipe.mixtures.count():064d}"
        mixture = Mixture.objects.create(recipe=recipe, body={}, seed=0, digest=digest, size=len(trained))
        MixtureEntry.objects.bulk_create(
            MixtureEntry(mixture=mixture, position=n, task_id=pk) for n, pk in enumerate(trained)
        )
        return TrainingRun.objects.create(line=self.line, start=start, mixture=mixture, spec=spec, state="succeeded")


def scores(
    items: list[int], before: float | Mapping[int, float], after: float | Mapping[int, float], *, seed: int
) -> SuiteScores:
    """Four answers an item, drawn at these chances."""
    rng = np.random.default_rng(seed)
    sides = {}
    for side, chance in (("champion", before), ("candidate", after)):
        chance_n = np.array([chance.get(pk, 0.5) if isinstance(chance, Mapping) else chance for pk in items])
        sides[side] = side_of((rng.random((len(items), 4)) < chance_n[:, None]).astype(float))
    return suite_of("all", [str(pk) for pk in items], sides)


Fill = Callable[..., Dataset]
