"""Time and memory of one decision on many suites, in a process of its own."""

import json
import resource
import subprocess
import sys
import time

import numpy as np

from flywheel.bench.gates import draws
from flywheel.bench.gates.verdicts import verdict_of
from flywheel.bench.table import Measure, at_most
from trainer.evaluation.policy import GatePolicy, Guard

SUITES, ITEMS, ANSWERS = 20, 5_000, 8


def scale() -> list[Measure]:
    done = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    size = f"{SUITES} suites × {ITEMS:,} items × {ANSWERS} answers, each a guard, and all pooled"
    return [
        at_most("one decision", found["seconds"], "s", 2, f"{size}; CPU {found['cpu']:.2f} s; {found['verdict']}"),
        at_most("its process, at most", found["mb"], "MB", 500, "imports and the simulated answers included"),
    ]


def main() -> None:
    rng = np.random.default_rng(1)
    suites = [draws.suite(rng, f"suite{number}", ITEMS, ANSWERS, 0.01) for number in range(SUITES)]
    policy = GatePolicy(guards=tuple(Guard(suite.suite) for suite in suites))
    began, cpu = time.perf_counter(), time.process_time()
    verdict = verdict_of(policy, suites)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu": cpu, "mb": peak, "verdict": verdict.value}))


if __name__ == "__main__":
    main()
