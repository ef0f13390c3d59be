"""CPU seconds of a step beside bare TRL doing the same work, and what measuring and alarms cost on top."""

import time
from statistics import median
from typing import Any

from flywheel.bench.table import FAST, Measure, at_most, median_ratio, told
from flywheel.bench.training import arms, jobs, subject
from flywheel.bench.training.arms import COMPLETIONS
from flywheel.bench.training.jobs import Point
from trainer import alarms
from trainer.runspec import RunSpec

PAIRS = 1 if FAST else 7
WARM_UP, MEASURED = (1, 2) if FAST else (3, 12)  # steps
GROUP = 8
RATE = 1e-4  # of both: what is drawn stays much the same over so few steps
BESIDE = "bare TRL: same model, prompts, batch, group size, limits of length, one update"


def overhead() -> list[Measure]:
    """One pair after the other, one process at a time: ours and TRL by turns."""
    model = arms.bases((1,))[1]
    pairs = [jobs.perform([_ours(model, pair), _bare(model, pair)]) for pair in range(PAIRS)]
    found = [(_a_step(arms.points_of(one)), _a_step(arms.points_of(other))) for one, other in pairs]
    jobs.record("overhead", [{"pair": n, "ours": one, "trl": other} for n, (one, other) in enumerate(found)])
    ours, trl = [one for one, _ in found], [other for _, other in found]
    return [
        told("CPU s a step, ours", median(ours), "s", BESIDE),
        told("CPU s a step, bare TRL", median(trl), "s"),
        at_most("overhead of a step (median of pairs; negative: cheaper)", 100 * (median_ratio(ours, trl) - 1), "%", 3),
        *_watching(model),
    ]


def _ours(model: str, pair: int) -> jobs.Job:
    steps = WARM_UP + MEASURED
    same: dict[str, Any] = {"group_size": GROUP, "prompts_per_step": COMPLETIONS // GROUP, "learning_rate": RATE}
    recipe = subject.recipe("flywheel", pair, steps=steps, **same, **subject.unlimited(RunSpec(steps=steps)))
    files = subject.training(recipe, model)
    return jobs.engine_job(f"overhead/ours-{pair}", {**files, "probe.jsonl": b"", "validation.jsonl": b""})


def _bare(model: str, pair: int) -> jobs.Job:
    how: dict[str, Any] = {
        "learning_rate": RATE,
        "scale_rewards": "none",
        "epsilon_high": RunSpec().epsilon_high,
        **arms.PLAIN,
    }
    steps = WARM_UP + MEASURED
    return arms.trl(f"overhead/trl-{pair}", model, pair, num_generations=GROUP, max_steps=steps, **how)


def _a_step(points: list[Point]) -> float:
    """CPU seconds of a step behind the warm-up. Weights that were kept cost the peer nothing here."""
    first, last = (next(point for point in points if point.step == at) for at in (WARM_UP, WARM_UP + MEASURED))
    return (last.cpu_seconds - first.cpu_seconds) / MEASURED


def _watching(model: str) -> list[Measure]:
    """A whole run of the preset: probe and validation as it measures, the alarms of all steps looked at again."""
    recipe = subject.recipe("flywheel", 1, **({"steps": 2} if FAST else {}))
    (run,) = jobs.perform([jobs.engine_job("overhead/preset", subject.training(recipe, model))])
    lines, point = jobs.metrics(run), arms.points_of(run)[-1]
    cpu = jobs.clock(run)
    measuring = [(line.at, line.at + line.seconds_measuring) for line in lines if line.seconds_measuring]
    spent = sum(cpu(end) - cpu(start) for start, end in measuring)
    memory, began = alarms.Memory(), time.process_time()
    for line in lines:
        alarms.look(memory, line)
    looking = time.process_time() - began
    every = f"every {recipe.measure_every} of {recipe.steps} steps"
    wall = sum(end - start for start, end in measuring)
    return [
        at_most(
            f"probe, validation and alarms, share of CPU time ({every})",
            100 * (spent + looking) / (spent + looking + point.cpu_seconds),
            "%",
            5,
        ),
        told(f"probe and validation, share of wall time ({every})", 100 * wall / (wall + point.seconds), "%"),
        told("alarms alone, a step", 1e6 * looking / len(lines), "µs"),
    ]
