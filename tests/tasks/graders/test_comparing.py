import os
import threading

import psutil
import pytest

from tasks.graders import comparing
from tasks.graders.comparing import Question, Verdict, compare
from tasks.sandbox import pool
from tasks.sandbox.protocol import Flavour, Lost, Unavailable

TOWER = "9^{9^{9^{9}}}"


def question(answer, reference="3", plain=True):
    return Question((reference,), (answer,), 6, False, plain)


@pytest.fixture
def forgetful(monkeypatch):
    """Nothing is known from other tests, so that the workers are asked."""
    monkeypatch.setattr(comparing, "_memory", comparing._Memory())


def verdicts(*questions, seconds=30):
    return [answer.verdict for answer in compare(questions, seconds)]


@pytest.mark.usefixtures("forgetful")
def test_answers_come_in_the_order_of_the_questions():
    questions = [question(rf"\sqrt{{{number}}}") for number in (9, 16, 9, 4)] * 40

    assert verdicts(*questions) == [Verdict.EQUAL, Verdict.DIFFERENT, Verdict.EQUAL, Verdict.DIFFERENT] * 40


def test_no_question_is_no_answer():
    assert compare([], 1) == []


@pytest.mark.usefixtures("forgetful")
def test_any_reading_of_the_reference_may_equal_any_reading_of_the_answer():
    assert verdicts(Question(("x", "50"), ("y", r"\frac{100}{2}"), 6, False, False)) == [Verdict.EQUAL]


@pytest.mark.usefixtures("forgetful")
def test_a_question_that_hangs_costs_the_others_nothing():
    found = verdicts(question(r"\sqrt{9}"), question(TOWER), question(r"\frac{9}{3}"), question("4"), seconds=1)

    assert found == [Verdict.EQUAL, Verdict.TIMEOUT, Verdict.EQUAL, Verdict.DIFFERENT]


@pytest.mark.usefixtures("forgetful")
def test_a_reference_that_hangs_is_told_from_an_answer_that_does():
    assert verdicts(question("4", TOWER, plain=False), seconds=1) == [Verdict.UNUSABLE]
    assert verdicts(question(TOWER, r"\frac{6}{2}", plain=False), seconds=1) == [Verdict.TIMEOUT]


@pytest.mark.usefixtures("forgetful")
def test_a_reference_that_is_no_formula_is_unusable():
    assert verdicts(question("4", r"\frac{", plain=False)) == [Verdict.UNUSABLE]


@pytest.mark.usefixtures("forgetful")
def test_a_question_that_no_worker_survives_is_to_blame_itself(monkeypatch):
    answer = fatal(monkeypatch)

    assert verdicts(question(r"\sqrt{9}"), question(answer), question(r"\sqrt{4}")) == [
        Verdict.EQUAL,
        Verdict.CRASHED,
        Verdict.DIFFERENT,
    ]


def fatal(monkeypatch, times=10):
    """An answer at which the worker ends by itself: no formula is known that does it."""
    ask = comparing._Worker.ask
    answer = "77777"
    ends = [Lost("died", "It was ended by SIGSEGV.")] * times

    def ending_at_the_answer(worker, questions, seconds):
        for asked in questions:
            if asked.answers == (answer,) and ends:
                raise ends.pop()
            yield from ask(worker, [asked], seconds)

    monkeypatch.setattr(comparing._Worker, "ask", ending_at_the_answer)
    return answer


@pytest.mark.usefixtures("forgetful")
def test_a_worker_that_ends_once_is_replaced_and_asked_again(monkeypatch):
    answer = fatal(monkeypatch, times=1)

    assert verdicts(question(answer), question(r"\sqrt{9}")) == [Verdict.DIFFERENT, Verdict.EQUAL]


@pytest.mark.usefixtures("forgetful")
def test_where_no_worker_can_be_had_the_fault_is_ours(monkeypatch):
    def refuse(*_):
        raise Unavailable("There is no worker.")

    monkeypatch.setattr(comparing, "_idle", [])
    monkeypatch.setattr(comparing.pool, "shared", refuse)

    found = compare([question(r"\sqrt{9}")], 5)[0]

    assert found.verdict is Verdict.LOST
    assert "There is no worker." in found.detail


@pytest.mark.usefixtures("forgetful")
def test_idle_workers_that_were_killed_are_replaced_and_no_answer_is_blamed():
    verdicts(*[question(rf"\sqrt{{{number}}}") for number in range(100)])
    for worker in comparing._idle:
        process = psutil.Process(worker._session._worker.pid)
        for each in [*process.children(recursive=True), process]:
            each.kill()

    assert verdicts(question(r"\sqrt{16}", "4")) == [Verdict.EQUAL]


@pytest.mark.usefixtures("forgetful")
def test_a_worn_worker_is_replaced(monkeypatch):
    verdicts(question(r"\sqrt{9}"))
    worn = list(comparing._idle)
    monkeypatch.setattr(comparing, "_RENEWED_AFTER_QUESTIONS", 0)

    assert verdicts(question(r"\sqrt{16}", "4")) == [Verdict.EQUAL]
    assert comparing._idle[-1] not in worn


@pytest.mark.usefixtures("forgetful")
def test_more_threads_than_workers_share_them():
    found = {}

    def ask(number):
        found[number] = verdicts(*[question(rf"\sqrt{{{number * number}}}+{more}", str(number)) for more in range(3)])

    threads = [threading.Thread(target=ask, args=[number]) for number in range(2, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert found == {number: [Verdict.EQUAL, Verdict.DIFFERENT, Verdict.DIFFERENT] for number in range(2, 12)}
    assert len(comparing._idle) <= pool.shared(Flavour.MATH).size


@pytest.mark.usefixtures("forgetful")
def test_a_forked_process_has_workers_of_its_own_and_leaves_its_parents_alone():
    verdicts(question(r"\sqrt{9}"))

    child = os.fork()
    if child == 0:
        right = verdicts(question(r"\sqrt{25}", "5")) == [Verdict.EQUAL]
        pool.close_all()
        os._exit(0 if right else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert verdicts(question(r"\sqrt{36}", "6")) == [Verdict.EQUAL]


@pytest.mark.usefixtures("forgetful")
def test_what_is_known_is_not_asked_again(monkeypatch):
    verdicts(question(r"\sqrt{9}"))
    monkeypatch.setattr(comparing, "_ask", lambda questions, seconds: [None] * len(questions))

    assert verdicts(question(r"\sqrt{9}")) == [Verdict.EQUAL]


@pytest.mark.usefixtures("forgetful")
def test_an_answer_written_like_its_reference_equals_it_once_the_reference_was_tried(monkeypatch):
    verdicts(question("4", r"\sqrt{17}", plain=False))
    monkeypatch.setattr(comparing, "_ask", lambda questions, seconds: [None] * len(questions))

    assert verdicts(question(r"\sqrt{17}", r"\sqrt{17}", plain=False)) == [Verdict.EQUAL]


@pytest.mark.usefixtures("forgetful")
def test_a_pool_that_was_closed_beneath_open_workers_costs_no_answer():
    verdicts(*[question(rf"\sqrt{{{number}}}") for number in range(20)])

    pool.close_all()

    later = [question(rf"\sqrt{{{9 if number % 2 else number}}}") for number in range(20, 60)]
    assert verdicts(*later) == [Verdict.EQUAL if number % 2 else Verdict.DIFFERENT for number in range(20, 60)]
