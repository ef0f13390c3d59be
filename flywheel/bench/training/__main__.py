"""make bench-train: what training costs and wins, beside TRL and plain transformers on the same machine and data.

    python -m flywheel.bench.training [overhead] [speed] [clean] [few-shot] [drills] [throughput] [gpu]

All arms where none is named. Every process computes on one thread. What a process did is kept under var/bench/train and
not done again while its inputs and its program are the same; FRESH=1 does everything anew. FAST=1: the same arms on a
smaller base, a seed each and a few steps, to see that they work.
"""

import os
import sys
from collections.abc import Callable, Sequence

from flywheel.bench.table import FAST, Measure, report
from flywheel.bench.training import jobs
from flywheel.bench.training.clean import clean
from flywheel.bench.training.drills import drills
from flywheel.bench.training.few_shot import few_shot
from flywheel.bench.training.gpu import gpu
from flywheel.bench.training.overhead import overhead
from flywheel.bench.training.speed import speed
from flywheel.bench.training.throughput import throughput

ARMS: dict[str, Callable[[], list[Measure]]] = {
    "overhead": overhead,
    "throughput": throughput,
    "speed": speed,
    "few-shot": few_shot,
    "drills": drills,
    "clean": clean,
    "gpu": gpu,
}
DEFAULT = [name for name in ARMS if not FAST or name != "clean"]


def main(arguments: Sequence[str]) -> None:
    if unknown := set(arguments) - set(ARMS):
        raise SystemExit(f"There is no {', '.join(sorted(unknown))}: choose of {', '.join(ARMS)}.")
    if os.environ.get("FRESH") == "1":
        jobs.fresh()
    report("train", [measure for name in (arguments or DEFAULT) for measure in ARMS[name]()])


if __name__ == "__main__":
    main(sys.argv[1:])
