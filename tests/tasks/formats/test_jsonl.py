import gzip
import io
import json
import tracemalloc

import pytest

from tasks.formats import jsonl

ROW = b'{"prompt": "2 + 2?", "reference": 4}'


def read(data, **where):
    return list(jsonl.read(io.BytesIO(data), **where))


def codes(data):
    return [line.issue.code if line.issue else "row" for line in read(data)]


def test_every_line_is_a_row_with_its_number_and_the_offset_behind_it():
    lines = read(b'{"a": 1}\n{"a": 2}\n')

    assert [(line.number, line.end, line.row) for line in lines] == [(1, 9, {"a": 1}), (2, 18, {"a": 2})]


def test_blank_lines_are_skipped_and_counted():
    assert [line.number for line in read(b"\n" + ROW + b"\n  \n\r\n" + ROW + b"\n")] == [2, 5]


def test_a_byte_order_mark_and_windows_line_ends_are_accepted():
    assert [line.row for line in read(b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n')] == [{"a": 1}, {"a": 2}]


def test_the_last_line_needs_no_line_break():
    assert codes(ROW + b"\n" + ROW) == ["row", "row"]


def test_of_a_repeated_key_the_last_value_counts():
    assert read(b'{"a": 1, "a": 2}\n')[0].row == {"a": 2}


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (b"prose", "not_json"),
        (b'{"a": 1} x', "not_json"),
        (b'{"a": 1', "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": -Infinity}', "not_json"),
        (b'{"a": 1e999}', "not_json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not_json"),
        (b"[1, 2]", "row_not_object"),
        (b'"text"', "row_not_object"),
        (b"null", "row_not_object"),
        (b'{"a": "\xff"}', "not_utf8"),
        (b'{"a": "\x00"}', "nul"),
        (b'{"a": "\\ud800"}', "lone_surrogate"),
        (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", "nested_too_deep"),
        (b"[" * 100_000, "nested_too_deep"),
        (b'{"a": "' + b"x" * jsonl.MAX_LINE_BYTES + b'"}', "line_too_long"),
    ],
)
def test_a_broken_line_is_an_issue_and_the_good_rows_go_on(broken, code):
    assert codes(ROW + b"\n" + broken + b"\n" + ROW + b"\n") == ["row", code, "row"]


def test_an_issue_names_the_line_and_shows_the_value():
    found = read(ROW + b"\nprose\n")[1]

    assert (found.issue.line, found.issue.value, found.source) == (2, "prose", b"prose")
    assert found.issue.sentence
    assert found.issue.remedy


def test_a_surrogate_pair_is_a_character():
    assert read(b'{"a": "\\ud83d\\ude00"}\n')[0].row == {"a": "😀"}


def test_brackets_inside_texts_are_no_nesting():
    assert codes(json.dumps({"a": "[" * 500}).encode()) == ["row"]


@pytest.mark.parametrize(
    "cut", [b'{"prompt": "2 +', b'{"prompt": "2 + 2?", "refer', b'{"prompt": "\xc3', b'{"prompt": 1,', b"{"]
)
def test_a_truncated_file_keeps_its_rows_and_says_where_it_ended(cut):
    lines = read(ROW + b"\n" + cut)

    assert lines[0].row is not None
    assert lines[1].issue.code == "truncated_file"
    assert f"line 2 stops at byte {len(ROW) + 1 + len(cut)} " in lines[1].issue.sentence


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(ROW * 100),
        b"PK\x03\x04" + bytes(100),
        b"PAR1" + bytes(100),
        b"\x89PNG\r\n" + bytes(range(256)),
        ROW.decode().encode("utf-16"),
        bytes(range(256)) * 1000,
        "Grüße\n".encode("latin-1") * 1000,
        b"prompt,answer\n2+2?,4\n3+3?,6\n",
        b"only prose\n" * 100_000,
        b"[\n" + ROW + b",\n" + ROW + b"\n]\n",
        b"[" + ROW + b"," + ROW + b"]",
        b'{\n  "prompt": "2 + 2?",\n  "reference": 4\n}\n',
    ],
)
def test_what_is_no_json_lines_file_answers_with_one_sentence(data):
    lines = read(data)

    assert [(line.number, line.issue.line, line.issue.code) for line in lines] == [(0, 0, "not_jsonl")]
    assert lines[0].issue.sentence.startswith("This is not JSON Lines: ")


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b"  \r\n"])
def test_an_empty_file_says_so(data):
    assert codes(data) == ["empty_file"]


def test_a_file_whose_few_rows_are_all_broken_reports_each_row():
    assert codes(b'{"a": }\n{"b" 1}\n') == ["not_json", "not_json"]


def test_broken_rows_before_the_first_good_one_are_reported_too():
    assert codes(b'{"a": }\n' * 5 + ROW + b"\n") == ["not_json"] * 5 + ["row"]


def test_reading_resumes_behind_any_line():
    data = b"".join(json.dumps({"n": n}).encode() + b"\n" for n in range(50)) + b"broken\n" + ROW
    whole = read(data)

    for line in whole:
        assert read(data, offset=line.end, line=line.number) == whole[whole.index(line) + 1 :]


def test_resuming_at_the_end_reads_nothing():
    assert read(ROW + b"\n", offset=len(ROW) + 1, line=1) == []


def test_lines_that_span_blocks_are_whole(monkeypatch):
    data = b"".join(json.dumps({"n": "x" * n}).encode() + b"\n" for n in range(40)) + b"y" * 100 + b"\n" + ROW
    whole = read(data)
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 7)

    assert read(data) == whole


class Endless(io.RawIOBase):
    """A single line of the given length, made as it is read."""

    def __init__(self, length):
        self.left = length

    def seek(self, offset, whence=0):
        return offset

    def read(self, size=-1):
        size = min(size, self.left)
        self.left -= size
        return b'{"a": "' + b"x" * (size - 7) if size > 7 else b"x" * size


def test_a_line_of_a_hundred_megabytes_is_never_in_memory():
    tracemalloc.start()

    found = list(jsonl.read(Endless(100_000_000)))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [line.issue.code for line in found] == ["line_too_long"]
    assert peak < 10_000_000
