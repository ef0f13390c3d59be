import io
import json

from tasks.graders import lines


def test_a_stream_is_answered_as_it_is_read():
    asked = []

    class Stream(io.BytesIO):
        def readline(self, size=-1):
            line = super().readline(size)
            asked.append(line)
            return line

    answers = lines.grade_lines(Stream(b'{"grader": {"type": "number", "reference": 1}, "completion": "1"}\n' * 3))

    assert json.loads(next(answers))["outcome"] == "correct"
    assert len(asked) == 1


def test_a_line_that_is_too_long_is_one_ungradable_line(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    right = b'{"grader": {"type": "number", "reference": 1}, "completion": "1"}\n'

    answers = [json.loads(line) for line in lines.grade_lines(io.BytesIO(b"x" * 1000 + b"\n" + right))]

    assert [answer["outcome"] for answer in answers] == ["ungradable", "correct"]


def test_blank_lines_are_left_out():
    assert list(lines.grade_lines(io.BytesIO(b"\n  \n"))) == []
