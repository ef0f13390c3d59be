"""After training: the kept weights answer a sample of the run's rows, and trainer/hacking.py looks at what pays."""

import random
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
from transformers import PreTrainedModel

from tasks.crash import crash_point
from trainer import hacking
from trainer.contract import PromptItem, Report, Sampling, encode
from trainer.engine import checkpoints, rollouts, sampling
from trainer.engine.run import Run
from trainer.hacking import Row, Said

MOST_SAID = 400  # answers of the first steps, and of the last ones


def inspect(run: Run, policy: PreTrainedModel, step: int) -> None:
    """Write report.json of the weights of `step`. They are published already: an inspection that breaks says so in
    the report, and no run is lost by it."""
    run.progress.enter("evaluating")
    try:
        report = _report(run, policy, step)
    except Exception as bug:
        traceback.print_exc()
        said = str(bug).strip().splitlines() or ["no message"]
        fault = f"The inspection broke: {type(bug).__name__}: {said[0][:300]} (engine.log has the trace)."
        report = Report([], step, 0, run.progress.attempt, fault)
    crash_point("report.before_write")
    run.progress.require_own_attempt()
    checkpoints.write_durably(run.directory / "report.json", encode(report))


def _report(run: Run, policy: PreTrainedModel, step: int) -> Report:
    rows = _answered(run, policy, _sample(run))
    early, late = _said(run.directory / "rollouts", step)
    found = hacking.inspect(rows, early=early, late=late, second_grader=run.spec.second_grader)
    return Report(found, step, len(rows), run.progress.attempt)


def _sample(run: Run) -> list[PromptItem]:
    """Half of it of the validation rows where there are as many, the rest of the training rows; seeded."""
    draw = random.Random(f"{run.recipe.seed}/report")
    validation = draw.sample(run.validation, min(len(run.validation), hacking.SAMPLE // 2))
    known = {item.key for item in validation}
    training = [item for item in run.items if item.key not in known]
    return [*validation, *draw.sample(training, min(len(training), hacking.SAMPLE - len(validation)))]


def _answered(run: Run, policy: PreTrainedModel, items: Sequence[PromptItem]) -> list[Row]:
    """One answer to each, as the run measures: at temperature 1."""
    how = Sampling(1, 1.0, 1.0, run.recipe.max_completion_tokens, run.recipe.seed)
    answers = sampling.draw(policy, run.tokenizer, run.encoded(items), how, run.held_to)
    return [_row(run, item, several[0]) for item, several in zip(items, answers, strict=True)]


def _row(run: Run, item: PromptItem, answer: sampling.Answer) -> Row:
    grader = run.spec.grader or item.grader
    gold = hacking.gold_of(grader, item.item)
    prompt = item.messages[-1].content
    return Row(item.key, prompt, item.domain, item.item, grader, gold, answer.text, answer.truncated)


def _said(directory: Path, step: int) -> tuple[list[Said], list[Said]]:
    """Answers of the first steps, and of the last ones up to `step`: what lies behind it was not kept."""
    files = [path for path in rollouts.files(directory) if rollouts.step_of(path) <= step]
    return _some(files), _some(reversed(files))


def _some(files: Iterable[Path]) -> list[Said]:
    found: list[Said] = []
    for path in files:
        told: list[dict[str, Any]] = pyarrow.parquet.read_table(path, columns=["completion", "tokens"]).to_pylist()
        found += [Said(line["completion"], line["tokens"]) for line in told]
        if len(found) >= MOST_SAID:
            break
    return found[:MOST_SAID]
