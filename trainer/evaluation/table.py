"""A table of scored answers from anywhere, read into what the gate judges: no database, none of our files.

Columns: suite, item, cluster, side (champion, candidate, anchor), sample, score (0 to 1), error. A row is one answer.
`cluster`, `sample` and `error` may be left out: an item is its own cluster then, answers count in the order of their
rows, and an answer without a score is an error.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.csv

from tasks.errors import Invalid
from trainer.evaluation.scoring import ANCHOR, CANDIDATE, CHAMPION, FloatArray, IntArray, SuiteScores, side_of, suite_of

COLUMNS = ("suite", "item", "cluster", "side", "sample", "score", "error")
NEEDED = ("suite", "item", "side", "score")
SIDES = (CHAMPION, CANDIDATE, ANCHOR)
TRUE, FALSE = {"1", "true", "yes", "t"}, {"0", "false", "no", "f", ""}
MOST_SAMPLES = 10_000  # answers of a side to one item

Table = Mapping[str, Any]  # column → pyarrow array of strings


def read_suites(path: Path) -> list[SuiteScores]:
    """The suites of a CSV file, by name. Raises Invalid with the line (the header is line 1) and what to do."""
    table = _columns(path)
    suite_codes, suites = _coded(table["suite"])
    score_r = _scores(table)  # one entry per row, NaN for an error
    sides = _sides(table)
    found = []
    for code, suite in enumerate(suites):
        row_r = np.flatnonzero(suite_codes == code)
        found.append(_suite(suite, row_r, table, score_r[row_r], sides[row_r]))
    return sorted(found, key=lambda suite: suite.suite)


def _columns(path: Path) -> Table:
    """Every column as text. Rows of nothing are skipped by the reader."""
    try:
        read = pyarrow.csv.read_csv(
            path,
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pyarrow.string() for name in COLUMNS}, strings_can_be_null=False
            ),
        )
    except FileNotFoundError:
        raise Invalid("scores_missing", f"There is no file {path}.", "scores") from None
    except (pyarrow.ArrowInvalid, OSError) as fault:
        raise Invalid("scores_unreadable", f"{path} is not a CSV file: {fault}.", "scores") from None
    if absent := [name for name in NEEDED if name not in read.column_names]:
        words = f"{path} has no column {' and no column '.join(absent)}: its header is {', '.join(read.column_names)}."
        raise Invalid("column_missing", words, "scores")
    if not read.num_rows:
        raise Invalid("scores_empty", f"{path} has a header and no answer.", "scores")
    return {
        name: pyarrow.compute.utf8_trim_whitespace(read.column(name).combine_chunks())
        for name in COLUMNS
        if name in read.column_names
    }


def _coded(column: Any) -> tuple[IntArray, list[str]]:
    """Numbers from 0 in order of first appearance, and the words that they stand for."""
    encoded = column.dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()


def _scores(table: Table) -> FloatArray:
    error_r = _errors(table)
    text = table["score"]
    blank_r = pyarrow.compute.equal(text, "").to_numpy(zero_copy_only=False)
    unsaid_r = blank_r & ~error_r
    if "error" in table and unsaid_r.any():
        _refuse(unsaid_r, "score_missing", "has neither a score nor an error: give one of them")
    score_r = np.full(len(text), np.nan)
    known = pyarrow.compute.filter(text, pyarrow.array(~blank_r))
    try:
        score_r[~blank_r] = pyarrow.compute.cast(known, pyarrow.float64()).to_numpy(zero_copy_only=False)
    except pyarrow.ArrowInvalid:
        _refuse(~blank_r & ~_numeric(text), "score_not_a_number", "has a score that is no number")
    outside_r = ~blank_r & ~((score_r >= 0) & (score_r <= 1))
    if outside_r.any():
        _refuse(outside_r, "score_outside", "has a score outside 0 to 1: scale scores to 0 (worst) to 1 (best)")
    score_r[error_r] = np.nan
    return score_r


def _numeric(text: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    def number(value: str) -> bool:
        try:
            float(value)
        except ValueError:
            return False
        return "_" not in value

    return np.array([number(value) for value in text.to_pylist()])


def _errors(table: Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if "error" not in table:
        return np.asarray(pyarrow.compute.equal(table["score"], "").to_numpy(zero_copy_only=False))
    codes_r, words = _coded(pyarrow.compute.utf8_lower(table["error"]))
    strange = [code for code, word in enumerate(words) if word not in TRUE | FALSE]
    if strange:
        word = words[strange[0]]
        _refuse(codes_r == strange[0], "error_unclear", f"has error “{word[:40]}”: write 1 for an error and 0 for none")
    return np.array([word in TRUE for word in words])[codes_r]


def _sides(table: Table) -> IntArray:
    codes_r, words = _coded(pyarrow.compute.utf8_lower(table["side"]))
    for code, word in enumerate(words):
        if word not in SIDES:
            _refuse(codes_r == code, "side_unknown", f"has side “{word[:40]}”: it must be {', '.join(SIDES)}")
    return np.array([SIDES.index(word) for word in words])[codes_r]


def _suite(suite: str, row_r: IntArray, table: Table, score_r: FloatArray, side_r: IntArray) -> SuiteScores:
    """K is the largest number of answers of any side to any item: what another side lacks of them is an error."""
    at = pyarrow.array(row_r)
    item_r, items = _coded(table["item"].take(at))
    if not suite or "" in items:
        which = "suite" if not suite else "item"
        _refuse_row(int(row_r[0 if not suite else np.flatnonzero(item_r == items.index(""))[0]]), which)
    sample_r, asked = _samples(table, at, item_r * len(SIDES) + side_r, row_r)
    keys = [f"{suite}/{item}" for item in items]
    sides = {}
    for number, side in enumerate(SIDES):
        of_side = side_r == number
        if of_side.any():
            score_n_k = np.full((len(items), asked), np.nan)
            score_n_k[item_r[of_side], sample_r[of_side]] = score_r[of_side]
            sides[side] = side_of(score_n_k)
    return suite_of(suite, keys, sides, clusters=_clusters(table, at, item_r, len(items), row_r))


def _samples(table: Table, at: Any, group_r: IntArray, row_r: IntArray) -> tuple[IntArray, int]:
    """Each answer's place among those of its item and side, and how many places there are."""
    if "sample" in table:
        label_r, labels = _coded(table["sample"].take(at))
        order = np.lexsort((label_r, group_r))
        same = (np.diff(group_r[order]) == 0) & (np.diff(label_r[order]) == 0)
        if same.any():
            row = int(row_r[order[1:][same].min()])
            words = f"Line {row + 2} repeats an answer of the same item, side and sample: number samples from 0."
            raise Invalid("answer_repeated", words, "scores")
        places, count = label_r, len(labels)
    else:
        order = np.argsort(group_r, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(group_r[order]) != 0])
        sizes = np.diff(np.r_[starts, group_r.size])
        places = np.empty(group_r.size, dtype=np.int64)
        places[order] = np.arange(group_r.size) - np.repeat(starts, sizes)
        count = int(sizes.max())
    if count > MOST_SAMPLES:
        raise Invalid(
            "too_many_samples", f"An item has {count:,} answers of a side; at most {MOST_SAMPLES:,}.", "scores"
        )
    return places, count


def _clusters(table: Table, at: Any, item_r: IntArray, count: int, row_r: IntArray) -> list[str]:
    """The cluster that an item's rows name; all of them must name the same."""
    if "cluster" not in table:
        return [""] * count
    label_r, labels = _coded(table["cluster"].take(at))
    of_item = np.zeros(count, dtype=np.int64)
    of_item[item_r[::-1]] = label_r[::-1]  # the first row's
    other = of_item[item_r] != label_r
    if other.any():
        row = int(row_r[np.flatnonzero(other)[0]])
        words = f"Line {row + 2} puts an item into another cluster than an earlier line: an item has one cluster."
        raise Invalid("cluster_differs", words, "scores")
    return [labels[label] for label in of_item]


def _refuse(wrong_r: np.ndarray[Any, np.dtype[np.bool_]], code: str, words: str) -> None:
    row, count = int(np.flatnonzero(wrong_r)[0]), int(wrong_r.sum())
    others = f" ({count - 1:,} more lines likewise)" if count > 1 else ""
    raise Invalid(code, f"Line {row + 2} {words}{others}.", "scores")


def _refuse_row(row: int, which: str) -> None:
    raise Invalid(f"{which}_missing", f"Line {row + 2} names no {which}.", "scores")
