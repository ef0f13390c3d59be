"""Lines that are rows, and what is said of the others."""

import json
import tracemalloc

import pytest

from tasks.formats import jsonl, source
from tasks.formats.block import Layout
from tests.tasks.formats.conftest import read

ROW = b'{"prompt": "2 + 2?", "reference": 4}'
LINES = Layout("jsonl")


@pytest.fixture
def codes(stored):
    return lambda data: [row if isinstance(row, str) else "row" for _, row in read(stored(data), LINES)]


def first_issue(path):
    block = next(source.blocks(path, LINES, size=lambda _: 1000))
    return next((row, raw) for _, row, raw in jsonl.rows(block) if not isinstance(row, dict))


def test_blank_lines_are_skipped_and_counted(stored):
    data = b"\n" + ROW + b"\n  \n\r\n" + ROW + b"\n \n"

    assert [number for number, _ in read(stored(data), LINES)] == [2, 5]


@pytest.mark.parametrize("rows", [1, 1000])
def test_more_blank_lines_than_a_chunk_holds_are_counted(stored, rows):
    data = ROW + b"\n" * 3_000_000 + b" \t\n" * 500_000 + b"  " + ROW + b"\n" * 3_000_000

    assert [number for number, _ in read(stored(data), LINES, rows=rows)] == [1, 3_500_001]


def test_blank_lines_make_no_block(stored):
    path = stored(ROW + b"\n" * 100_000 + ROW)

    assert [block.last for block in source.blocks(path, LINES, size=lambda _: 10)] == [10, 100_001]


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(stored):
    data = b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n'

    assert [row for _, row in read(stored(data), LINES)] == [{"a": 1}, {"a": 2}]


def test_the_last_line_needs_no_line_break(codes):
    assert codes(ROW + b"\n" + ROW) == ["row", "row"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": 1, "a": 1}',
        b'{"a" : 1, "a" : 2}',
        b'{"b": {"a": 1, "a": 2}}',
        b'{"b": [{"a": 1}, {"a": 1, "a": 2}]}',
        b'{"a": "\\"a\\": 1", "\\u0061": 2}',
    ],
)
def test_a_key_that_stands_twice_in_an_object_is_told(codes, line):
    assert codes(line) == ["key_twice"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": {"a": [{"a": 1}, {"a": 2}]}, "b" : 3}',
        b'{"a": "{\\"a\\": 1, \\"a\\": 2}", "b": "\\":\\":"}',
        b'{"a": ' + b"[" * 40 + b'{"a": 1}' + b"]" * 40 + b"}",
    ],
)
def test_a_key_in_another_object_or_in_a_text_is_not_twice(codes, line):
    assert codes(line) == ["row"]


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
def test_a_broken_line_is_an_issue_and_the_good_rows_go_on(codes, broken, code):
    assert codes(ROW + b"\n" + broken + b"\n" + ROW + b"\n") == ["row", code, "row"]


def test_an_issue_names_the_line_and_shows_the_value(stored):
    found, raw = first_issue(stored(ROW + b"\nprose\n"))

    assert (found.line, found.value, raw) == (2, "prose", b"prose")
    assert found.sentence
    assert found.remedy


def test_a_surrogate_pair_is_a_character(stored):
    assert read(stored(b'{"a": "\\ud83d\\ude00"}\n'), LINES) == [(1, {"a": "😀"})]


def test_brackets_inside_texts_are_no_nesting(codes):
    assert codes(json.dumps({"a": "[" * 500}).encode()) == ["row"]


@pytest.mark.parametrize(
    "cut", [b'{"prompt": "2 +', b'{"prompt": "2 + 2?", "refer', b'{"prompt": "\xc3', b'{"prompt": 1,', b"{"]
)
def test_a_truncated_file_keeps_its_rows_and_says_where_it_ended(stored, codes, cut):
    data = ROW + b"\n" + cut

    assert codes(data) == ["row", "truncated_file"]
    assert f"line 2 stops at byte {len(data)} " in first_issue(stored(data))[0].sentence


def test_a_line_of_a_hundred_megabytes_is_never_in_memory(stored):
    path = stored(b'{"a": "' + b"x" * 100_000_000 + b'"}\n')
    tracemalloc.start()

    found = read(path, LINES)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [(1, "line_too_long")]
    assert peak < 10_000_000
