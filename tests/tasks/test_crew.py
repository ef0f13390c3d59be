import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tasks.crew import Crew, CrewError


def test_answers_come_in_the_order_of_the_calls():
    with Crew(2) as crew:
        answers = list(crew.map("operator:add", ((number, 1) for number in range(50))))

    assert answers == list(range(1, 51))


def test_no_calls_have_no_answers():
    with Crew(2) as crew:
        assert list(crew.map("operator:add", ())) == []


def test_large_calls_and_answers_pass_each_other():
    block = b"x" * 8_000_000

    with Crew(2) as crew:
        sizes = [len(answer) for answer in crew.map("operator:concat", ((block, block) for _ in range(6)))]

    assert sizes == [16_000_000] * 6


def test_what_a_function_raises_is_told_with_its_place():
    with Crew(1) as crew, pytest.raises(CrewError, match="ZeroDivisionError"):
        list(crew.map("operator:truediv", [(1, 0)]))


def test_a_child_that_dies_is_an_error_and_not_a_hang():
    with Crew(2) as crew:
        os.kill(crew.pids[0], signal.SIGKILL)

        with pytest.raises(CrewError, match="died"):
            list(crew.map("operator:add", [(1, 2), (3, 4), (5, 6)]))


def test_calls_are_taken_only_as_they_are_needed():
    taken = []

    def calls():
        for number in range(100):
            taken.append(number)
            yield number, number

    with Crew(1) as crew:
        answers = crew.map("operator:add", calls())
        next(answers)

        assert len(taken) <= 4


def test_leaving_ends_the_children_even_in_the_middle_of_a_call():
    with Crew(1) as crew:
        pids = crew.pids
        crew._members[0].ask("time:sleep", [60])
        time.sleep(0.3)

    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_children_end_with_a_parent_that_is_killed():
    source = "from tasks.crew import Crew; crew = Crew(2); print(*crew.pids, flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pids = [int(pid) for pid in parent.stdout.readline().split()]

    parent.kill()
    parent.wait()

    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
