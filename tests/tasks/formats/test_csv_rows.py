"""Records of tables: encodings, delimiters, quotation marks, and what becomes of the ones that cannot be read."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.formats import csv_rows, source
from tasks.formats.block import Layout
from tests.tasks.formats.conftest import read

HEADER = "prompt,reference\n"
CELLS = st.text("ab\",;\n\r é\t|='", max_size=6)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=6), st.sampled_from(",;\t|"))
def test_written_records_are_read_as_they_were(rows, delimiter):
    sink = io.StringIO(newline="")
    csv.writer(sink, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)

    found = [cells for _, cells in csv_rows.records(io.StringIO(sink.getvalue(), newline=""), delimiter)]

    assert found == rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_seen(stored, delimiter):
    text = "".join(f"{question}{delimiter}{answer}\n" for question, answer in [("prompt", "reference"), ("a, b", "c")])

    ((_, row),) = read(stored(text.replace(", ", " ") if delimiter == "," else text))

    assert row["reference"] == "c"


@pytest.mark.parametrize(
    ("encoding", "told"), [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", "UTF-16"), ("cp1252", "Windows-1252")]
)
def test_the_encoding_is_seen_and_a_guess_is_told(stored, encoding, told):
    path = stored((HEADER + "Wie heißt er – „Jörg“?,ja\n").encode(encoding))

    assert read(path) == [(2, {"prompt": "Wie heißt er – „Jörg“?", "reference": "ja"})]
    assert told in " ".join(source.detect(path, "a.csv").notes)


def test_a_byte_that_the_encoding_does_not_know_costs_its_row_alone(stored):
    body = "".join(f"question {n},{n}\n" for n in range(200_000)).encode()
    path = stored(HEADER.encode() + body + b"caf\xe9,1\nafter,2\n")

    assert read(path, rows=50_000)[-2:] == [(200_002, "not_utf8"), (200_003, {"prompt": "after", "reference": "2"})]


def test_a_cell_may_hold_line_breaks_and_a_record_counts_from_its_first_line(stored):
    assert read(stored(HEADER + '"two\nlines",1\n\nnext,2\n')) == [
        (2, {"prompt": "two\nlines", "reference": "1"}),
        (5, {"prompt": "next", "reference": "2"}),
    ]


def test_a_quotation_mark_that_is_never_closed_costs_its_record_alone(stored):
    path = stored(HEADER + 'first,1\nopen,"2\nthird,3\nfourth,4\n')

    assert read(path) == [
        (2, {"prompt": "first", "reference": "1"}),
        (3, "cell_unreadable"),
        (4, {"prompt": "third", "reference": "3"}),
        (5, {"prompt": "fourth", "reference": "4"}),
    ]


def test_an_open_quotation_mark_far_from_the_end_does_too(stored):
    path = stored(HEADER + 'open,"2\n' + "row,1\n" * 300_000)

    found = read(path, rows=100_000)

    assert found[:2] == [(2, "cell_unreadable"), (3, {"prompt": "row", "reference": "1"})]
    assert len(found) == 300_001


@pytest.mark.parametrize("long", ["x" * 3_000_000, '"' + "x" * 3_000_000, '"' + "x\n" * 3_000_000 + '"'])
def test_a_record_that_is_too_long_does_not_end_the_reading(stored, long):
    found = read(stored(HEADER + f"first,1\n{long},2\nlast,3\n"), Layout("csv"), rows=1_000_000)

    assert found[0] == (2, {"prompt": "first", "reference": "1"})
    assert found[1][1] in ("line_too_long", "cell_unreadable")
    assert found[-1][1] == {"prompt": "last", "reference": "3"}


@pytest.mark.parametrize("line", ["one", "a,b,c", "a,b,,d"])
def test_a_row_with_fewer_or_more_cells_is_an_issue(stored, line):
    assert read(stored(HEADER + f"a,b\n{line}\nc,d\n"))[1] == (3, "ragged_row")


def test_empty_cells_at_the_end_count_for_nothing_and_empty_ones_are_left_out(stored):
    assert read(stored(HEADER + "a,b,,\nc,\n,,\n")) == [(2, {"prompt": "a", "reference": "b"}), (3, {"prompt": "c"})]


def test_cells_are_texts_whatever_they_look_like(stored):
    row = read(stored("prompt,a,b,c,d\n1,=1+1,'=x,[1],1.50\n"))[0][1]

    assert row == {"prompt": "1", "a": "=1+1", "b": "'=x", "c": "[1]", "d": "1.50"}


def test_without_a_header_the_columns_are_numbered(stored):
    path = stored("What is 2 + 2?,4\nWhat is 3 + 3?,6\n")

    assert read(path)[0] == (1, {"column 1": "What is 2 + 2?", "column 2": "4"})
    assert "not a header" in source.detect(path, "a.csv").notes[0]


def test_a_name_that_comes_twice_is_told_apart(stored):
    assert read(stored("prompt,note,note\na,b,c\n")) == [(2, {"prompt": "a", "note": "b", "note (2)": "c"})]


def test_a_table_with_too_many_columns_is_refused(stored):
    problem = source.detect(
        stored(",".join(f"c{n}" for n in range(1001)) + "\n" + "1," * 1000 + "1\n"), "a.csv"
    ).problem

    assert "1,001 columns" in problem.sentence
