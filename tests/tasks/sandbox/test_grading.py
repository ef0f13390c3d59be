from collections.abc import Iterator
from time import perf_counter

import pytest

from tasks.sandbox import grading, pool
from tasks.sandbox.grading import Failed, Returned
from tasks.sandbox.pool import Pool

FAIR = "def grade(sample, item):\n    return 1 / item['b']"


@pytest.fixture(scope="module")
def shared() -> Iterator[Pool]:
    yield pool.shared()
    pool.close_all()


def calls(count: int) -> list[dict]:
    return [{"sample": {"output_text": str(number)}, "item": {"b": number + 1}} for number in range(count)]


def run(shared: Pool, source: str, given: list[dict], **how) -> list[grading.Result]:
    return grading.grade_batch(source, given, pool=shared, **{"seconds_per_call": 10.0, **how})


def scores(results: list[grading.Result]) -> list[float | str]:
    return [result.score if isinstance(result, Returned) else result.kind for result in results]


def test_every_call_has_its_result_in_order(shared: Pool):
    assert scores(run(shared, FAIR, calls(100))) == [1 / (number + 1) for number in range(100)]


def test_one_process_per_call_gives_the_same(shared: Pool):
    assert scores(run(shared, FAIR, calls(5), per_session=1)) == [1 / (number + 1) for number in range(5)]


def test_no_calls_are_no_results(shared: Pool):
    assert run(shared, FAIR, []) == []


def test_a_call_that_hangs_costs_only_itself(shared: Pool):
    source = "def grade(sample, item):\n    while item['b'] in (3, 5):\n        pass\n    return 1 / item['b']"

    results = run(shared, source, calls(6), seconds_per_call=0.3)

    assert scores(results) == [1, 1 / 2, "timeout", 1 / 4, "timeout", 1 / 6]


def test_a_grader_that_answers_nothing_any_more_is_given_up(shared: Pool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grading, "START_SECONDS", 1.0)
    source = "def grade(sample, item):\n    while item['b'] > 2:\n        pass\n    return 1.0"
    started = perf_counter()

    results = run(shared, source, calls(200), seconds_per_call=0.3)

    assert scores(results)[:2] == [1, 1]
    assert set(scores(results)[2:]) == {"timeout"}
    assert "It was not asked" in results[-1].detail
    assert perf_counter() - started < 8


def test_a_grader_that_takes_its_time_to_die_is_given_up_as_well(shared: Pool):
    source = "import os, time\ndef grade(sample, item):\n    time.sleep(0.25)\n    os._exit(1)"

    results = run(shared, source, calls(20), seconds_per_call=0.3)

    assert {"died", "timeout"} == set(scores(results))
    assert "It was not asked" in results[-1].detail


def test_time_outs_between_answers_do_not_add_up(shared: Pool):
    source = "def grade(sample, item):\n    while item['b'] % 2:\n        pass\n    return 1.0"

    results = run(shared, source, calls(10), seconds_per_call=0.3)

    assert scores(results) == ["timeout", 1] * 5


def test_calls_that_die_at_once_are_all_asked(shared: Pool):
    source = "import os\ndef grade(sample, item):\n    os._exit(1)"

    assert scores(run(shared, source, calls(8))) == ["died"] * 8


def test_a_call_that_kills_its_process_costs_only_itself(shared: Pool):
    source = "import os\ndef grade(sample, item):\n    return os._exit(0) if item['b'] == 2 else 1 / item['b']"

    results = run(shared, source, calls(4))

    assert scores(results) == [1, "died", 1 / 3, 1 / 4]


def test_an_exception_costs_only_its_call(shared: Pool):
    results = run(shared, "def grade(sample, item):\n    return 1 / (item['b'] - 2)", calls(3)[1:])

    assert scores(results) == ["raised", 1]
    assert results[0].detail == "ZeroDivisionError: division by zero (line 2 of the grader)"


def test_source_that_does_not_compile_fails_every_call(shared: Pool):
    assert scores(run(shared, "def grade(", calls(3))) == ["source"] * 3


def test_a_call_that_nests_too_deep_to_be_sent_costs_only_itself(shared: Pool):
    deep: list = []
    for _ in range(100_000):
        deep = [deep]

    results = run(shared, FAIR, [{"sample": {}, "item": {"b": 1, "deep": deep}}, *calls(1)])

    assert scores(results) == ["too_deep", 1]


def test_a_number_too_long_to_be_written_costs_only_its_call(shared: Pool):
    results = run(shared, FAIR, [{"sample": {}, "item": {"b": 10**5000}}, *calls(1)])

    assert scores(results) == ["too_deep", 1]


def test_state_kept_from_one_call_to_the_next_is_found(shared: Pool):
    source = "seen = []\ndef grade(sample, item):\n    seen.append(1)\n    return 1 / len(seen)"

    results = run(shared, source, calls(200))

    assert {result.kind for result in results if isinstance(result, Failed)} == {"order_dependent"}
    assert len([result for result in results if isinstance(result, Failed)]) == 200


def test_chance_that_the_grader_draws_from_the_machine_is_found(shared: Pool):
    source = "import os\ndef grade(sample, item):\n    return os.urandom(1)[0] / 255"

    assert set(scores(run(shared, source, calls(300)))) == {"order_dependent"}


def test_state_does_not_pass_from_one_session_to_the_next(shared: Pool):
    source = """
import builtins, json, random
def grade(sample, item):
    before = hasattr(builtins, "left") or hasattr(json, "left")
    builtins.left = json.left = True
    return float(before)
"""

    assert scores(run(shared, source, calls(4), per_session=1)) == [0, 0, 0, 0]


def test_the_seeded_generator_starts_the_same_in_every_process(shared: Pool):
    source = "import random\ndef grade(sample, item):\n    return random.random()"

    assert len(set(scores(run(shared, source, calls(4), per_session=1)))) == 1


def test_sets_of_texts_are_walked_in_the_same_order_in_every_worker():
    source = "def grade(sample, item):\n    return list({'a', 'b', 'c', 'd', 'e', 'f'}).index('a') / 5"
    found = set()
    for _ in range(3):
        fresh = Pool(level=pool.shared().level, size=1)
        try:
            found |= set(scores(run(fresh, source, calls(1))))
        finally:
            fresh.close()

    assert len(found) == 1


def test_a_mutated_item_is_not_seen_by_the_next_call(shared: Pool):
    source = "def grade(sample, item):\n    item['b'] += 1\n    return 1 / item['b']"
    given = calls(1) * 3

    assert scores(run(shared, source, given)) == [0.5] * 3


def test_one_call_in_about_sixty_is_graded_again():
    keys = {place: grading._key(FAIR, call) for place, call in enumerate(calls(5000))}

    assert 0.01 < len(grading._drawn(keys)) / 5000 < 0.025


def test_the_second_order_is_another_one():
    keys = {place: bytes(8) for place in range(5)}

    assert grading._drawn(keys) == [4, 3, 2, 1, 0]


def test_texts_for_people_hold_no_control_characters(shared: Pool):
    results = run(shared, "def grade(sample, item):\n    raise ValueError('a\\x1b[31m\\x00\\ud800')", calls(1))

    assert results[0].detail.startswith("ValueError: a [31m ")
