import io
import json

import pytest

from tasks.graders import judges, lines, registry
from tests.fakes import judge

NUMBER = {"type": "number", "reference": 1}
RIGHT = b'{"grader": {"type": "number", "reference": 1}, "completion": "1"}'


class Written(io.RawIOBase):
    """A pipe into which somebody writes a piece at a time."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def read(self, size=-1):
        return self.pieces.pop(0) if self.pieces else b""


def graded(*given):
    return [json.loads(answer) for answers in lines.grade_lines(Written(*given)) for answer in answers]


def test_a_line_that_is_there_is_answered_before_the_next_is_waited_for():
    pipe = Written(RIGHT + b"\n", RIGHT + b"\n")

    answers = next(lines.grade_lines(pipe))

    assert [json.loads(answer)["outcome"] for answer in answers] == ["correct"]
    assert len(pipe.pieces) == 1


def test_lines_that_are_there_together_are_graded_together():
    assert list(lines.batches(Written(b"1\n2\n3\n4", b"5\n"))) == [[b"1", b"2", b"3"], [b"45"]]


def test_no_batch_is_larger_than_the_limit():
    sizes = [len(batch) for batch in lines.batches(Written(b"x\n" * 600))]

    assert sizes == [256, 256, 88]


def test_a_last_line_without_its_break_is_answered():
    assert graded(RIGHT)[0]["outcome"] == "correct"


def test_a_line_that_is_too_long_is_one_ungradable_line(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)

    answers = graded(b"x" * 90, b"x" * 90, b"x" * 90 + b"\n" + RIGHT + b"\n")

    assert [answer["outcome"] for answer in answers] == ["ungradable", "correct"]
    assert answers[0]["reason"] == "The line is longer than 100 bytes."


def test_of_a_line_of_20_million_bytes_no_more_is_kept_than_its_refusal_takes():
    kept = next(lines.batches(io.BytesIO(b"x" * 20_000_000 + b"\n")))

    assert lines.MAX_LINE_BYTES < len(kept[0]) < lines.MAX_LINE_BYTES + 100_000


def test_blank_lines_are_left_out():
    assert graded(b"\n  \n\r\n") == []


def test_nothing_is_answered_with_nothing():
    assert graded(b"") == []


@pytest.mark.parametrize(
    "line", [b"\0", b"\0" * 100, b'{"grader": \xff}', b"\xff\xfe", b"null", b"[]", b'{"grader": {}}', b"1" * 5000]
)
def test_a_line_that_is_no_request_is_ungradable_and_says_why(line):
    bad, good = graded(line + b"\n" + RIGHT + b"\n")

    assert (bad["outcome"], bad["errors"]) == ("ungradable", ["bad_line"])
    assert bad["reason"].startswith("The line cannot be read")
    assert good["outcome"] == "correct"


def _with(**fields):
    return json.dumps({**json.loads(RIGHT), **fields}).encode()


@pytest.mark.parametrize("given", ["q-17", "", 17, -1, 10**18])
def test_the_id_of_a_line_comes_back_with_its_grade(given):
    answer = graded(_with(id=given))[0]

    assert (answer["id"], answer["outcome"]) == (given, "correct")


@pytest.mark.parametrize("given", [RIGHT, _with(id=None), b"no request"])
def test_a_line_without_an_id_has_a_grade_without_one(given):
    assert "id" not in graded(given)[0]


@pytest.mark.parametrize("fields", [{"id": [1]}, {"id": 1.5}, {"ids": 1}, {"completions": "1"}, {"prompt": "?"}])
def test_a_field_that_is_not_known_is_refused(fields):
    assert graded(_with(**fields))[0]["errors"] == ["bad_line"]


def test_a_line_that_nobody_could_grade_keeps_its_id():
    answer = json.loads(lines.unanswered(_with(id="q-17"), "It died."))

    assert (answer["id"], answer["reason"]) == ("q-17", "It died.")


def test_an_id_that_cannot_be_encoded_is_answered_all_the_same():
    answer = graded(RIGHT[:-1] + b', "id": "\\ud800"}')[0]

    assert answer["outcome"] in ("correct", "ungradable")


def test_a_grade_says_what_it_cost_where_it_cost_anything():
    asked = {"type": "score_model", "model": "gpt", "input": [{"role": "user", "content": "{{ sample.output_text }}"}]}

    with judge.running() as fake, judges.using(fake.judges()):
        fake.answers = [judge.score(1)]
        with_judge, without = graded(_with(grader=asked) + b"\n" + RIGHT)

    assert with_judge["usage"] == {"gpt/prompt_tokens": 11, "gpt/completion_tokens": 7}
    assert "usage" not in without


def test_a_nul_in_a_completion_is_graded_as_any_other_character():
    line = json.dumps({"grader": NUMBER, "completion": "\0 is 1"}).encode()

    assert graded(line)[0]["outcome"] == "correct"


def test_kinds_of_graders_may_be_mixed_and_the_order_holds():
    exact = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "1", "operation": "eq"}
    asked = [
        {"grader": (NUMBER, exact)[n % 2], "completion": "1" if n % 3 else "one", "item": {"n": n}} for n in range(12)
    ]

    answers = graded("\n".join(map(json.dumps, asked)).encode())

    assert [answer["outcome"] == "correct" for answer in answers] == [bool(n % 3) for n in range(12)]


def test_a_grader_that_breaks_costs_no_other_line_its_grade(monkeypatch):
    whole = registry.grade_each

    def grade_each(requests):
        if any(completion == "break" for _, completion, _ in requests):
            raise ZeroDivisionError("division by zero")
        return whole(requests)

    monkeypatch.setattr(registry, "grade_each", grade_each)
    broken = RIGHT.replace(b'"1"', b'"break"')

    first, second, third = graded(b"\n".join([RIGHT, broken, RIGHT]))

    assert (first["outcome"], third["outcome"]) == ("correct", "correct")
    assert second["reason"] == "The grader broke: ZeroDivisionError: division by zero"
