"""make bench-gates: how often the gate is wrong, sees what it was planned to see, and what a decision costs.

2,000 simulated candidates a row; FAST=1: 60, to see that it works. The truth is known, because the answers are drawn.
"""

from flywheel.bench.gates.coverage import coverage
from flywheel.bench.gates.decline import decline
from flywheel.bench.gates.early import early
from flywheel.bench.gates.scale import scale
from flywheel.bench.gates.verdicts import false_promotions, power
from flywheel.bench.table import report


def main() -> None:
    report("gates", [*scale(), *false_promotions(), *power(), *coverage(), *decline(), *early()])


if __name__ == "__main__":
    main()
