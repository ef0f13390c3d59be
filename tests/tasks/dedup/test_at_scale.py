"""The joins of DuckDB come to the verdicts that rows looked at one by one, in their order, come to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel.bench.rows import Corpus, Kind
from tasks.dedup import at_scale, bands, families, fingerprint, signature, wrappers
from tasks.dedup.at_scale import Place, Verdict
from tasks.dedup.families import Family, Near
from tasks.dedup.runs import LIMIT
from tasks.dedup.signature import BANDS
from tasks.types import Message

Prompt = tuple[str, str]  # and its answer
STORY = "In the harbour of Lowick the old ferryman counted every crate that came ashore before the tide turned again"


def features(prompts: Sequence[Prompt]) -> pa.Table:
    keys = [fingerprint.fingerprint((Message("user", prompt),)) for prompt, _ in prompts]
    folded = [wrappers.strip(key.folded, wrappers.APPROVED)[0] for key in keys]
    numbers = [int(key.number_signature, 16) for key in keys]
    bare = [fingerprint.exact_key((Message("user", text),)) for text in folded]
    near = signature.signatures(folded, numbers)
    return pa.table(
        {
            "row": list(range(1, len(prompts) + 1)),
            "exact_key": [bytes.fromhex(key.exact_key) for key in keys],
            "bare_key": [bytes.fromhex(key) for key in bare],
            "answer": [bytes.fromhex(fingerprint.answer_digest({"reference": answer})) for _, answer in prompts],
            "grader": [""] * len(prompts),
            "numbers": pa.array(numbers, pa.uint64()),
            "bands": pa.array(near[:, :BANDS].tolist(), pa.list_(pa.uint64())),
            "sketch": [own.tobytes() for own in near[:, BANDS:]],
            "folded": folded,
            "refused": [""] * len(prompts),
        },
        schema=at_scale.features_schema(),
    )


def decided(folder: Path, table: pa.Table, *, files: int = 1, **place: Any) -> dict[int, dict[str, Any]]:
    """Verdicts by row, of features in so many files."""
    source, out = folder / "features", folder / "verdicts.parquet"
    source.mkdir()
    for part in range(files):
        pq.write_table(table.take(list(range(part, len(table), files))), source / f"{part}.parquet")
    at_scale.decide(source, out, Place(folder / "scratch", **place))
    return {row["row"]: row for row in pq.read_table(out).to_pylist()}


def verdicts(folder: Path, *prompts: Prompt) -> list[tuple[str, int | None]]:
    return [(row["verdict"], row["other"]) for _, row in sorted(decided(folder, features(prompts)).items())]


def test_a_repeated_row_is_a_duplicate_of_the_first(tmp_path: Path):
    assert verdicts(tmp_path, (STORY, "7"), (STORY.upper(), "7"), (STORY, "7.0")) == [
        ("unique", None),
        ("duplicate", 1),
        ("duplicate", 1),
    ]


def test_the_same_prompt_with_another_answer_is_in_conflict_with_the_oldest_such(tmp_path: Path):
    assert verdicts(tmp_path, (STORY, "7"), (STORY, "8"), (STORY, "9"), (STORY, "8")) == [
        ("unique", None),
        ("conflict", 1),
        ("conflict", 1),
        ("duplicate", 2),
    ]


def test_an_edited_row_is_a_near_duplicate_and_with_another_answer_suspect(tmp_path: Path):
    edited, again = STORY.replace("ferryman", "ferrywoman"), STORY.replace("Lowick", "Lowwick")

    assert verdicts(tmp_path, (STORY, "7"), (edited, "7"), (again, "8")) == [
        ("unique", None),
        ("near_duplicate", 1),
        ("suspect", 1),
    ]


def test_a_wrapped_row_is_a_near_duplicate_by_that_rule(tmp_path: Path):
    wrapped = f"{STORY}\nLet's think step by step."

    found = decided(tmp_path, features([(STORY, "7"), (wrapped, "7")]))

    assert (found[2]["verdict"], found[2]["rule"], found[2]["other"]) == ("near_duplicate", "wrapped", 1)


def test_a_family_is_called_by_its_oldest_member(tmp_path: Path):
    texts = [STORY, STORY.replace("old", "elderly"), STORY.replace("old", "elderly").replace("crate", "basket")]

    found = decided(tmp_path, features([(text, "7") for text in texts]))

    assert [found[row]["family"] for row in (1, 2, 3)] == [None, 1, 1]


def test_a_refused_row_keeps_its_code_and_is_nobodys_original(tmp_path: Path):
    table = features([(STORY, "7"), (STORY, "7")])
    refused = table.set_column(table.schema.get_field_index("refused"), "refused", pa.array(["contaminated", ""]))

    found = decided(tmp_path, refused)

    assert [(found[row]["verdict"], found[row]["rule"]) for row in (1, 2)] == [
        ("refused", "contaminated"),
        ("unique", ""),
    ]


def test_a_bucket_with_more_than_its_limit_before_a_row_says_nothing(tmp_path: Path):
    """All of them share every band, and differ in their keys."""
    count = LIMIT + 3
    table = features([(STORY, "7")] * count)
    keys = [number.to_bytes(16) for number in range(count)]
    for name in ("exact_key", "bare_key"):
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(keys, pa.binary(16)))

    found = decided(tmp_path, table)

    near = [row for row, verdict in found.items() if verdict["verdict"] == "near_duplicate"]
    assert near == list(range(2, LIMIT + 2))


@pytest.mark.parametrize("files", [1, 3])
def test_the_joins_agree_with_rows_looked_at_one_by_one(tmp_path: Path, files: int):
    corpus = Corpus(seed=11, size=1500, planted=0.6)
    prompts = [(question.prompt, question.reference) for question, _ in corpus.rows()]
    table = features(prompts)

    found = decided(tmp_path, table, files=files)

    assert {row: (one["verdict"], one["other"]) for row, one in found.items()} == _one_by_one(tmp_path, table)
    assert {one["verdict"] for one in found.values()} == set(Verdict) - {Verdict.REFUSED}


def _one_by_one(folder: Path, table: pa.Table) -> dict[int, tuple[str, int | None]]:
    """The rules once more, as loops."""
    rows = table.to_pylist()
    kept: dict[tuple[bytes, bytes], int] = {}
    is_task = []
    for row in rows:
        is_task.append((row["exact_key"], row["answer"]) not in kept)
        kept.setdefault((row["exact_key"], row["answer"]), row["row"])
    near = np.array([[*row["bands"], *np.frombuffer(row["sketch"], "<u8")] for row in rows], np.uint64)
    older = bands.older(bands.BandIndex(folder / "index"), near, np.array(is_task))
    others: dict[int, list[int]] = {}
    for place, other in zip(older.rows.tolist(), older.others.tolist(), strict=True):
        others.setdefault(place, []).append(other)
    return {
        row["row"]: _verdict(row, rows[:place], is_task, kept, [rows[other] for other in others.get(place, [])])
        for place, row in enumerate(rows)
    }


def _verdict(
    row: dict[str, Any],
    before: list[dict[str, Any]],
    is_task: list[bool],
    kept: dict[tuple[bytes, bytes], int],
    candidates: list[dict[str, Any]],
) -> tuple[str, int | None]:
    first = kept[row["exact_key"], row["answer"]]
    if first != row["row"]:
        return "duplicate", first
    tasks = [other for other, task in zip(before, is_task, strict=False) if task]
    if same := [other["row"] for other in tasks if other["exact_key"] == row["exact_key"]]:
        return "conflict", same[0]
    if bare := [
        other["row"] for other in tasks if other["bare_key"] == row["bare_key"] and other["answer"] == row["answer"]
    ]:
        return "near_duplicate", bare[0]
    near = families.decide(_near(row), [_near(other) for other in candidates])
    if near is None:
        return "unique", None
    return "near_duplicate" if isinstance(near, Family) else "suspect", near.task


def _near(row: dict[str, Any]) -> Near:
    return Near(row["row"], row["folded"], str(row["numbers"]), row["answer"].hex())


def test_planted_copies_are_found(tmp_path: Path):
    corpus = Corpus(seed=12, size=800, planted=0.6)
    table = features([(question.prompt, question.reference) for question, _ in corpus.rows()])

    found = decided(tmp_path, table)

    copies = [truth.row + 1 for _, truth in corpus.rows() if truth.kind in (Kind.EXACT, Kind.DRESSED)]
    assert copies
    assert {found[row]["verdict"] for row in copies} == {"duplicate"}


def test_little_memory_spills_and_changes_nothing(tmp_path: Path):
    table = features([(question.prompt, question.reference) for question, _ in Corpus(13, 600, 0.5).rows()])

    (tmp_path / "roomy").mkdir()
    (tmp_path / "narrow").mkdir()
    narrow = decided(tmp_path / "narrow", table, memory_bytes=64 * 2**20, threads=1)

    assert narrow == decided(tmp_path / "roomy", table)
