"""make bench-graders: how many grades a second, beside what others do for the same verdict in the same run.

The peer for python graders is what the common open evaluators do: a plain, unconfined `python -I -c` for every grade,
as many at once as there are cores. The peer for math is math-verify itself in one main thread.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from typing import Any

import psutil

from flywheel.bench.table import FAST, Measure, at_least, at_most, interleaved, median_ratio, report, told
from flywheel.samples import families
from tasks.graders import registry

Answers = list[tuple[str, dict[str, Any]]]

CORES = min(2, os.cpu_count() or 1)  # every target is stated for two
ROUNDS = 3 if FAST else 7
SOURCE = families.SHUFFLE_SOURCE
WORKING = "Let us look at it step by step. First we take what is given, then we conclude. "


def answers(family: families.Family, count: int) -> Answers:
    """Right and wrong replies by turns, every third one with some working before it."""
    random = Random(family.domain)
    made: Answers = []
    for number in range(count):
        question = family.ask(random)
        reply = question.gold if number % 2 else question.flawed
        made.append((WORKING + reply if number % 3 == 0 else reply, {"reference": question.reference}))
    return made


def declarative() -> list[Measure]:
    """Grades per second of CPU, in process, one thread: that is a core."""
    kinds = (families.REVERSALS, families.MAXIMA, families.CHOICES, families.VOWELS, families.RECORDS)
    made = [(family, answers(family, 1000 if FAST else 4000)) for family in kinds]
    arms = [partial(_per_cpu_second, registry.compile(family.grader), given) for family, given in made]
    figures = interleaved(arms, ROUNDS)
    return [
        at_least(f"{family.grader['type']}, a core", sorted(found)[len(found) // 2], "grades/s", 20_000)
        for family, found in zip(kinds, figures, strict=True)
    ]


def _per_cpu_second(grade: registry.Grader, given: Answers) -> float:
    started = time.process_time()
    for completion, item in given:
        grade(completion, item)
    return len(given) / (time.process_time() - started)


def confined() -> list[Measure]:
    """A python grader in the sandbox, batched and one process per item, beside a plain process per grade."""
    config = {"type": "python", "source": SOURCE}
    many, few, plain = (answers(families.SHUFFLES, size) for size in ((640, 60, 20) if FAST else (3200, 250, 120)))
    registry.grade_many(config, many[:64])  # starts the pool and chooses its level
    figures = interleaved(
        [
            partial(_per_second, lambda given: registry.grade_many(config, given), many),
            partial(_per_second, partial(_one_process_each, config), few),
            partial(_per_second, _plainly, plain),
        ],
        ROUNDS,
    )
    batched, single, peer = figures
    registry.grade_many({"type": "python", "source": f"import numpy\n{SOURCE}"}, many[:64])  # the larger kind of worker
    memory = _pool_megabytes()  # of both kinds, and of math's
    beside = "python -I -c for every grade, unconfined"
    return [
        at_least("python, in batches", _middle(batched), "grades/s", 3000),
        at_least("python, a process per item", _middle(single), "grades/s", 250),
        told(beside, _middle(peer), "grades/s"),
        at_least("python, in batches: ratio", median_ratio(batched, peer), "×", 20, beside),
        at_least("python, a process per item: ratio", median_ratio(single, peer), "×", 2, beside),
        *_after_a_kill(config, many[:1]),
        at_most("memory of the pools: bare, science and math", memory, "MB", 1000),
    ]


def _one_process_each(config: Mapping[str, Any], given: Answers) -> list[Any]:
    """Single requests, as many at once as there are cores: none can share a process with another."""
    with ThreadPoolExecutor(CORES) as threads:
        return list(threads.map(lambda answer: registry.grade(config, *answer), given))


_PROGRAM = (
    "import json, sys\ntask = json.load(sys.stdin)\nspace = {}\nexec(task['source'], space)\n"
    "print(space['grade'](task['sample'], task['item']))"
)


def _plainly(given: Answers) -> list[float]:
    def one(answer: tuple[str, dict[str, Any]]) -> float:
        task = {"source": SOURCE, "sample": {"output_text": answer[0]}, "item": answer[1]}
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM], input=json.dumps(task), capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    with ThreadPoolExecutor(CORES) as threads:
        return list(threads.map(one, given))


def _per_second(run: Callable[[Answers], Any], given: Answers) -> float:
    started = time.perf_counter()
    run(given)
    return len(given) / (time.perf_counter() - started)


def _after_a_kill(config: Mapping[str, Any], one: Answers) -> list[Measure]:
    """All of the pool's processes are killed; how long until a grade is right again."""
    seconds = []
    for _ in range(ROUNDS):
        for process in _children():
            process.send_signal(signal.SIGKILL)
        started = time.perf_counter()
        grades = registry.grade_many(config, one)
        seconds.append(time.perf_counter() - started)
        if grades[0].outcome == "ungradable":
            raise SystemExit(f"After its workers were killed the pool graded nothing: {grades[0].reason}")
    return [at_most("right again after every worker was killed (worst)", max(seconds), "s", 1)]


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _pool_megabytes() -> float:
    """Proportional share, so that pages which forks have in common count once."""
    return float(sum(process.memory_full_info().pss for process in _children()) / 2**20)


def mathematics() -> list[Measure]:
    """The target is for answers that are numbers, on which math-verify alone does about 800 a second; the others tell
    what algebra costs. Both sides see the same kinds."""
    registry.grade_many(MATH, mixed_answers(Random(0), 16))
    return [
        *_beside_math_verify("math, numbers", numbers, 1000),
        *_beside_math_verify("math, a fifth algebra", mixed_answers, None),
        *_beside_math_verify("math, algebra only", algebra, None),
    ]


MATH = {"type": "math", "reference": "{{ item.reference }}"}


def _beside_math_verify(name: str, make: Callable[[Random, int], Answers], target: float | None) -> list[Measure]:
    """Fresh answers for every round and arm, because parsed references are kept."""
    random, count = Random(1), 400 if FAST else 1600
    beside = f"{name}: math-verify alone, one main thread"
    ours, peer = interleaved(
        [
            lambda: _per_second(partial(registry.grade_many, MATH), make(random, count)),
            lambda: _per_second(_math_verify_alone, make(random, count // 4)),
        ],
        ROUNDS,
    )
    figure = _middle(ours)
    return [
        told(name, figure, "grades/s") if target is None else at_least(name, figure, "grades/s", target, beside),
        told(beside, _middle(peer), "grades/s"),
        told(f"{name}: ratio", median_ratio(ours, peer), "×", beside),
    ]


def numbers(random: Random, count: int) -> Answers:
    """Three in four whole numbers, the others fractions or decimals; every second one wrong."""
    return [_numeric(random, number, number // 2 % 4 < 3) for number in range(count)]


def _numeric(random: Random, number: int, whole: bool) -> tuple[str, dict[str, Any]]:
    value, wrong = random.randint(2, 10**6), number % 2
    if whole:
        return _boxed(f"{value + wrong:,}", str(value))
    return _boxed(str((value + wrong) / 8), rf"\frac{{{value}}}{{8}}")


def _boxed(said: str, reference: str) -> tuple[str, dict[str, Any]]:
    return rf"{WORKING}So we have \boxed{{{said}}}.", {"reference": reference}


def mixed_answers(random: Random, count: int) -> Answers:
    """Eight in ten numbers, one a root, one a square of a sum; every second one wrong."""
    given: Answers = []
    for number in range(count):
        kind, value, wrong = number // 2 % 10, random.randint(2, 10**6), number % 2
        if kind == 8:
            given.append(_boxed(rf"{2 * value + wrong}\sqrt{{3}}", rf"\sqrt{{{12 * value * value}}}"))
        elif kind == 9:
            given.append(_boxed(rf"x^2 + {2 * value}x + {value * value + wrong}", rf"(x+{value})^2"))
        else:
            given.append(_numeric(random, number, kind < 6))
    return given


EQUALS = (  # two ways to write the same
    (r"\frac{1}{2}", "0.5"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"x^2+2x+1", r"(x+1)^2"),
    (r"\frac{6}{8}", r"\frac{3}{4}"),
    (r"\pi/2", r"\frac{\pi}{2}"),
    (r"2^5", "32"),
)


def algebra(random: Random, count: int) -> Answers:
    """Nothing that equality of texts could decide; every second group wrong."""
    given: Answers = []
    for number in range(count):
        reference, said = EQUALS[number % len(EQUALS)]
        factor, shift = random.randint(2, 999), random.randint(1, 10**6)
        wrong = number // len(EQUALS) % 2
        reply = rf"{WORKING}So we have \boxed{{{shift + wrong} + {factor}({said})}}."
        given.append((reply, {"reference": f"{factor}({reference}) + {shift}"}))
    return given


def _math_verify_alone(given: Answers) -> None:
    from math_verify import parse, verify

    for completion, item in given:
        verify(parse(f"${item['reference']}$"), parse(completion))


def _middle(figures: Sequence[float]) -> float:
    return sorted(figures)[len(figures) // 2]


def main() -> None:
    report("graders", [*declarative(), *mathematics(), *confined()])


if __name__ == "__main__":
    main()
