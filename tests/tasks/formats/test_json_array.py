"""Rows of a JSON document are cut at their brackets: the same ones however the bytes arrive."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.formats import compressed, json_array, jsonl, source
from tasks.formats.block import MAX_LINE_BYTES, Layout
from tests.tasks.formats.conftest import read, resumed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text('ab"\\{}[],:\n é', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('k"\\{', max_size=3), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text('k"\\[', max_size=3), JSON, max_size=4), max_size=6)


class Pieces:
    """A Source that gives its bytes in pieces of one size."""

    def __init__(self, data, size):
        self.data, self.size, self.consumed = data, size, 0

    def read(self, _size=0):
        piece = self.data[self.consumed : self.consumed + self.size]
        self.consumed += len(piece)
        return piece


def cut(data, layout, piece):
    found = []
    for block in json_array.blocks(Pieces(data, piece), layout, position=0, line=0, size=lambda _: 3):
        found += [row for _, row, _ in jsonl.rows(block)]
    return found


@given(OBJECTS, st.sampled_from([None, 2]), st.integers(1, 50), st.booleans())
def test_any_pieces_give_the_same_rows(rows, indent, piece, in_array):
    layout = Layout("json", array=True) if in_array else Layout("json")
    text = json.dumps(rows, indent=indent) if in_array else "\n".join(json.dumps(row, indent=indent) for row in rows)

    assert cut(text.encode(), layout, piece) == rows


@given(OBJECTS, JSON, st.integers(1, 50))
def test_rows_are_found_in_the_member_that_holds_them(rows, other, piece):
    text = json.dumps({"canary": "[{", "about": other, "data": [{"first": 1}, *rows]})

    assert cut(text.encode(), Layout("json", member="data"), piece) == [{"first": 1}, *rows]


@pytest.mark.parametrize(
    ("document", "member"),
    [({"data": [{"prompt": "a"}]}, "data"), ({"canary": "x", "examples": [{"input": "a", "target": "b"}]}, "examples")],
)
@pytest.mark.parametrize("indent", [None, 4])
def test_an_object_around_one_list_is_an_envelope(stored, document, member, indent):
    path = stored(json.dumps(document, indent=indent))

    assert source.detect(path, "a.json").layout == Layout("json", member=member)
    assert [row for _, row in read(path)] == document[member]


@pytest.mark.parametrize(
    "row", [{"messages": [{"role": "user", "content": "a"}]}, {"prompt": "a", "tests": [{"input": "1", "output": "2"}]}]
)
def test_a_row_that_holds_a_list_of_objects_is_a_row(stored, row):
    assert read(stored([row])) == [(1, row)]
    assert read(stored(json.dumps(row, indent=2))) == [(1, row)]


def test_indented_rows_one_behind_the_other_are_rows(stored):
    rows = [{"prompt": "a", "reference": 1}, {"prompt": "b", "reference": 2}]

    assert [row for _, row in read(stored("\n".join(json.dumps(row, indent=2) for row in rows)))] == rows


def test_what_stands_between_rows_and_is_none_has_its_number(stored):
    assert read(stored('[{"a": 1}, 5, "x", null, [1], {"b": }, {"c": 1}]')) == [
        (1, {"a": 1}),
        (2, "row_not_object"),
        (3, "row_not_object"),
        (4, "row_not_object"),
        (5, "row_not_object"),
        (6, "not_json"),
        (7, {"c": 1}),
    ]


def test_a_line_break_inside_a_text_is_as_wrong_as_in_json_lines(stored):
    assert read(stored('[{"a": "x"}, {"a": "x\ny"}]')) == [(1, {"a": "x"}), (2, "not_json")]


@pytest.mark.parametrize("tail", ['{"a": 2', '{"a": 2}', '{"a": 2},', '{"a": "2}]'])
def test_a_document_that_ends_too_early_keeps_its_rows_and_says_so(stored, tail):
    found = read(stored('[{"a": 1}, ' + tail))

    assert found[0] == (1, {"a": 1})
    assert found[-1][1] == "truncated_file"


def test_a_second_list_is_not_lost_in_silence(stored):
    found = read(stored(json.dumps({"train": [{"a": 1}], "test": [{"a": 2}]})))

    assert found == [(1, {"a": 1}), (2, "list_left_out")]


@pytest.mark.parametrize("inside", ["x" * MAX_LINE_BYTES, '\\"]}' * 400_000, [[["["]]] * 150_000])
def test_a_row_that_is_too_long_is_passed_over(stored, inside):
    text = inside if isinstance(inside, str) else json.dumps(inside)
    quoted = f'"{text}"' if isinstance(inside, str) else text

    assert read(stored('[{"a": 1}, {"a": ' + quoted + '}, {"a": 2}]')) == [
        (1, {"a": 1}),
        (2, "line_too_long"),
        (3, {"a": 2}),
    ]


def test_a_megabyte_of_escaped_quotation_marks_takes_no_time(stored, monkeypatch):
    monkeypatch.setattr(compressed, "CHUNK_BYTES", 1 << 16)
    path = stored('[{"a": "' + '\\"' * 450_000)

    assert read(path, Layout("json", array=True)) == [(1, "truncated_file")]


def test_reading_goes_on_behind_a_broken_row(stored):
    path = stored('[{"a": 1}, {"b": }, ' + '{"c": "' + "x" * MAX_LINE_BYTES + '"}, {"d": 4}]')

    assert resumed(path, Layout("json", array=True), 1) == read(path)
