import json
import os
import signal
import threading

import pytest

from tasks.graders.workers import Workers


def echo(batch):
    """Answers with each line; some words end the process that reads them."""
    if b"kill" in batch:
        os.kill(os.getpid(), signal.SIGKILL)
    if b"exit" in batch:
        os._exit(3)
    return list(batch)


def sandbox_workers(batch):
    return [os.environ.get("SANDBOX_WORKERS", "").encode() for _ in batch]


def answers(batches, grade=echo):
    with Workers(2, grade) as workers:
        return [answer for several in workers.grade(batches) for answer in several]


def numbers(start, stop):
    return [b"%d" % n for n in range(start, stop)]


def test_answers_come_in_the_order_of_the_lines():
    batches = [numbers(start, start + 10) for start in range(0, 500, 10)]

    assert answers(batches) == numbers(0, 500)


@pytest.mark.parametrize("word", [b"kill", b"exit"])
def test_a_line_that_ends_its_process_is_ungradable_and_the_others_go_on(word):
    batches = [numbers(0, 20), [*numbers(20, 30), word, *numbers(31, 40)], numbers(40, 60)]

    found = answers(batches)

    assert [*found[:30], *found[31:]] == [*numbers(0, 30), *numbers(31, 60)]
    assert (json.loads(found[30])["outcome"], json.loads(found[30])["errors"]) == ("ungradable", ["other_error"])


def test_several_such_lines_cost_nobody_else_an_answer():
    found = answers([[b"kill", b"1"], [b"2", b"kill"], [b"3"], [b"kill"]])

    assert [answer for answer in found if b"ungradable" not in answer] == [b"1", b"2", b"3"]
    assert len(found) == 6


def test_an_answer_is_not_held_back_until_the_next_line_comes():
    answered = threading.Event()

    def asking():
        yield [b"first"]
        assert answered.wait(20)
        yield [b"second"]

    with Workers(2, echo) as workers:
        found = workers.grade(asking())
        assert next(found) == [b"first"]
        answered.set()
        assert next(found) == [b"second"]


def test_a_stream_that_breaks_is_told_to_whoever_waits_for_answers():
    def broken():
        yield [b"1"]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        answers(broken())


def test_each_process_has_one_sandbox_worker():
    assert answers([[b"?"]], sandbox_workers) == [b"1"]
