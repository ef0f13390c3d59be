"""Answers a second of an evaluation beside a plain `generate` loop, and the memory of every kind of process."""

from functools import partial
from pathlib import Path
from statistics import median

from flywheel.bench.table import FAST, Measure, at_least, told
from flywheel.bench.training import arms, jobs, subject
from flywheel.bench.training.jobs import Job
from trainer.contract import ModelRef, SampleSpec, Sampling, encode

ROUNDS = 1 if FAST else 5
ITEMS, ANSWERS = (128, 4) if FAST else (1024, 4)
BESIDE = "plain generate: same items, 512 answers at once, grading included; ours loads its model in that time too"
GENERATE = ("flywheel/bench/training/beside/plain_generate.py",)


def throughput() -> list[Measure]:
    model = arms.bases((1,))[1]
    files = subject.scoring({"champion": model}, answers=ANSWERS, count=ITEMS)
    plain = partial(jobs.script, "plain_generate.py")
    rounds = [
        jobs.perform(
            [jobs.engine_job(f"throughput/ours-{n}", files), Job(f"throughput/plain-{n}", files, plain, GENERATE)]
        )
        for n in range(ROUNDS)
    ]
    figures = [tuple(ITEMS * ANSWERS / jobs.result_of(one).seconds["evaluating"] for one in pair) for pair in rounds]
    cpu = [tuple(ITEMS * ANSWERS / jobs.cpu_seconds(one) for one in pair) for pair in rounds]
    jobs.record("throughput", [{"round": n, "ours": one, "plain": other} for n, (one, other) in enumerate(figures)])
    return [
        told("evaluation, ours", median(one for one, _ in figures), "answers/s", BESIDE),
        told("evaluation, plain generate", median(other for _, other in figures), "answers/s"),
        at_least("evaluation: ratio (median of rounds)", median(one / other for one, other in figures), "×", 1, BESIDE),
        told("evaluation: ratio of CPU time, imports included", median(one / other for one, other in cpu), "×", BESIDE),
        *_memory(model, rounds[0]),
    ]


def _memory(model: str, pair: list[Path]) -> list[Measure]:
    asked = {"items.jsonl": subject.lines(subject.items(1, 96, subject.TRAINING))}
    sample = {"spec.json": encode(SampleSpec("bench", ModelRef(model, ""), Sampling(answers_per_item=8))), **asked}
    trained = subject.training(subject.recipe("flywheel", 1, steps=4), model)
    planned = {
        "sample": jobs.engine_job("throughput/sample", sample),
        "train": jobs.engine_job("throughput/train", trained),
        "bare TRL": arms.trl("throughput/trl", model, 1, max_steps=4, num_generations=8, **arms.PLAIN),
    }
    kinds = {"base": Path(model).parent, "evaluate": pair[0], "plain generate": pair[1]}
    if not FAST:
        kinds |= zip(planned, jobs.perform(list(planned.values())), strict=True)
    return [
        told(f"peak memory, {kind}", jobs.result_of(at).peak_memory_bytes / 1e6, "MB") for kind, at in kinds.items()
    ]
