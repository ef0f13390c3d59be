"""manage.py train DATASET: an expert of the dataset's team, with an estimate first and progress while it runs."""

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks.errors import FlywheelError
from tasks.models import Dataset
from trainer.models import TrainingRun
from trainer.presets import PRESETS
from trainer.services import runs, supervision
from trainer.states import RUN_ENDED

POLL_SECONDS = 0.5


class Command(BaseCommand):
    help = "Train an expert of your team on a dataset. Runs beside the workers of `make up`, or by itself."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("dataset", metavar="DATASET", help="team/dataset, as its page shows it")
        parser.add_argument("--preset", default="few-shot", choices=sorted(PRESETS))
        parser.add_argument("--overrides", type=json.loads, default={}, help="knobs as JSON, e.g. '{\"steps\": 20}'")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--estimate", action="store_true", help="only say what it would take")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._train(options)
        except FlywheelError as refused:
            raise CommandError(refused.sentence) from None

    def _train(self, options: dict[str, Any]) -> None:
        dataset = _dataset(options["dataset"])
        chosen = {"preset": options["preset"], "overrides": options["overrides"]}
        estimate = runs.estimate(dataset, **chosen)
        self.stderr.write(estimate.sentence)
        if options["estimate"]:
            return
        run = self._followed(runs.train_expert(dataset, actor=None, seed=options["seed"], **chosen))
        if run.state != "succeeded":
            sentence = (run.error or {}).get("sentence", "Its page says more.")
            raise CommandError(f"Run {run.pk} {run.state}: {sentence}")
        result = {
            "run": run.pk, "version": run.version.name, "directory": run.version.path, "kl": run.kl,
            "seconds": _seconds(run),
        }  # fmt: skip
        told = json.dumps(result) if options["json"] else f"{run.version.name} is yours: {run.version.path}"
        self.stdout.write(told)

    def _followed(self, run: TrainingRun) -> TrainingRun:
        """Supervision is a pass that any process may make; with workers running, whoever is first makes it."""
        shown = ""
        while run.state not in RUN_ENDED:
            supervision.supervise()
            run.refresh_from_db()
            line = f"{run.state} {run.phase} {run.step}/{run.total_steps}"
            if line != shown:
                self.stderr.write(shown := line)
            time.sleep(POLL_SECONDS)
        return run


def _seconds(run: TrainingRun) -> float:
    assert run.started_at is not None
    assert run.finished_at is not None
    return round((run.finished_at - run.started_at).total_seconds(), 1)


def _dataset(name: str) -> Dataset:
    team, _, slug = name.rpartition("/")
    found = Dataset.objects.filter(slug=slug, **({"team__slug": team} if team else {}))
    if len(found) != 1:
        problem = "There is no dataset" if not found else "More than one team has a dataset"
        raise CommandError(f"{problem} {name}: name it as team/dataset.")
    return found[0]
