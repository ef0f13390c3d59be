"""The results file of a run: a line of CSV for each step, kept as a file of the team like every other."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from tasks.models import File
from tasks.services import files
from trainer.models import TrainingRun

COLUMNS = (
    *("step", "train_mean_reward", "full_valid_mean_reward", "loss", "kl", "entropy", "completion_tokens_mean"),
    *("truncated_share", "zero_spread_share", "learning_rate", "gradient_norm", "tokens_seen", "seconds_step"),
)
_OURS = {"train_mean_reward": "reward_mean"}
_ESTIMATES = {"full_valid_mean_reward": "validation_reward", "kl": "kl"}  # with a mean and its error


def keep(run: TrainingRun) -> File:
    """Write the file of what is measured so far, and point the run to it."""
    file = files.store(
        run.line.team,
        [csv_of(run).encode()],
        filename=f"run-{run.pk}-results.csv",
        purpose="fine-tune-results",
        actor=None,
    )
    TrainingRun.objects.filter(pk=run.pk).update(results_file=file)
    return file


def csv_of(run: TrainingRun) -> str:
    """What was not measured at a step is an empty cell."""
    written = io.StringIO()
    table = csv.writer(written)
    table.writerow(COLUMNS)
    for step, data in run.metrics.order_by("step").values_list("step", "data"):
        table.writerow([_cell(name, {**data, "step": step}) for name in COLUMNS])
    return written.getvalue()


def _cell(name: str, data: Mapping[str, Any]) -> Any:
    if name in _ESTIMATES:
        return (data.get(_ESTIMATES[name]) or {}).get("mean", "")
    value = data.get(_OURS.get(name, name))
    return "" if value is None else value
