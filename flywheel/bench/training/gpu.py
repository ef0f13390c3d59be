"""Tokens a second and utilisation on a GPU, for a Llama of half a billion random weights, beside bare TRL."""

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

from flywheel.bench.table import FAST, Measure, at_least, told
from flywheel.bench.training import arms, jobs, subject
from flywheel.bench.training.jobs import Do, Job
from trainer.runspec import RunSpec

PARAMETERS = 494_000_000
STEPS, WARM_UP = (4, 1) if FAST else (12, 3)
PROMPTS, GROUP, TOKENS = 16, 8, 256
BESIDE = "bare TRL: same weights, prompts, batch, bfloat16"
SHAPED = ("flywheel/bench/training/beside/shaped_llama.py",)
# Random weights write noise; some of it has this letter, so that groups show spread.
GRADER = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "zz", "operation": "ilike"}


def gpu() -> list[Measure]:
    if not has_gpu():
        return [told("tokens/s on a GPU", 0, "", "no GPU here: not measured")]
    (made,) = jobs.perform([Job("gpu/model", subject.base(1), partial(jobs.script, "shaped_llama.py"), SHAPED)])
    model = str(made / "model")
    rows = [{**item, "grader": GRADER} for item in subject.items(1, PROMPTS * STEPS, subject.TRAINING)]
    ours, bare = jobs.perform([_ours(model, rows), _bare(model, rows)])
    measured = {"ours": _ours_figures(ours), "bare TRL": _bare_figures(bare)}
    jobs.record("gpu", [{"arm": arm, "tokens_per_second": speed} for arm, speed in measured.items()])
    busy = {"ours": _utilisation(ours), "bare TRL": _utilisation(bare)}
    name = f"{PARAMETERS / 1e9:.1f} B, {PROMPTS} × {GROUP} answers of {TOKENS} tokens"
    return [
        *(told(f"answer tokens/s, {name}, {arm}", speed, "tokens/s", BESIDE) for arm, speed in measured.items()),
        at_least("answer tokens/s: ratio", measured["ours"] / measured["bare TRL"], "×", 1, BESIDE),
        *(told(f"utilisation, {arm}", share, "%") for arm, share in busy.items()),
    ]


def has_gpu() -> bool:
    asked = "import torch, sys; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", asked], capture_output=True).returncode == 0


def _ours(model: str, rows: list[subject.Item]) -> Job:
    recipe = RunSpec(
        preset="flywheel",
        seed=1,
        steps=STEPS,
        prompts_per_step=PROMPTS,
        group_size=GROUP,
        learning_rate=1e-6,
        max_completion_tokens=TOKENS,
        refill_rounds=0,
        rest_steps=0,
        measure_every=STEPS,
        save_every=STEPS,
        probe_prompts=1,
        validation_prompts=0,
        guard=False,
    )
    files = subject.training(recipe, model, rows=rows, validation=0)
    return Job("gpu/ours", files, partial(jobs.engine, meanwhile=_watched()))


def _bare(model: str, rows: list[subject.Item]) -> Job:
    how = {"max_completion_length": TOKENS, "num_generations": GROUP, "max_steps": STEPS, "learning_rate": 1e-6}
    job = arms.trl("gpu/trl", model, 1, rows, **how, **arms.PLAIN)
    return replace(job, do=partial(jobs.script, "bare_trl.py", meanwhile=_watched()))


def _watched() -> Do:
    """Appends what nvidia-smi says of the first GPU to utilisation.txt, as often as it is called."""

    def watch(directory: Path) -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
        with suppress(OSError, subprocess.SubprocessError), (directory / "utilisation.txt").open("a") as file:
            file.write(subprocess.run(query, capture_output=True, text=True, check=True).stdout)

    return watch


def _utilisation(directory: Path) -> float:
    """Mean over the samples from the first busy one on: loading does not count."""
    path = directory / "utilisation.txt"
    shares = [float(line) for line in path.read_text().split()] if path.is_file() else []
    first = next((at for at, share in enumerate(shares) if share), len(shares))
    return fmean(shares[first:]) if shares[first:] else 0.0


def _ours_figures(directory: Path) -> float:
    lines = [line for line in jobs.metrics(directory) if line.step > WARM_UP]
    return median(PROMPTS * GROUP * (line.completion_tokens_mean or 0) / (line.seconds_step or 1) for line in lines)


def _bare_figures(directory: Path) -> float:
    lines = [json.loads(line) for line in (directory / "steps.jsonl").read_text().splitlines()]
    steps = list(pairwise(lines))[WARM_UP:]
    return median(
        PROMPTS * GROUP * after["completions/mean_length"] / (after["at"] - before["at"] - before["aside"])
        for before, after in steps
    )
