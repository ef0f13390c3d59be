"""Tasks as files: what each dialect carries comes back through our own readers, and other libraries load it."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.formats import jsonl, mapping, source, writing
from tasks.formats.writing import DIALECTS, Record
from tasks.types import Row
from tasks.validation import validate

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": 'What is "6 × 7", in full?'}]
NUMBER = {"type": "number"}
SUM = Record(ASKED, {"reference": 42, "unit": "m"}, "It is 42.", NUMBER, "sums", {"source": "book"})
PLAIN = Record(ASKED[1:], {"reference": "42"}, grader=NUMBER, domain="sums")


def back(tmp_path: Path, name: str, tasks: Sequence[Record], **options: Any) -> list[Row]:
    """Written, detected, mapped and validated."""
    path = tmp_path / f"rows.{DIALECTS[name].suffix}"
    path.write_bytes(b"".join(writing.write(name, tasks, **options)))
    found = source.detect(path, path.name)
    assert found.layout is not None
    rows: list[Row] = []
    for block in source.blocks(path, found.layout, size=lambda _: 100):
        for number, raw, _ in jsonl.rows(block):
            assert isinstance(raw, dict)
            row = validate(mapping.apply(found.mapping, raw, number), line=number, default=NUMBER)  # type: ignore[arg-type]
            assert isinstance(row, Row), row
            rows.append(row)
    return rows


def messages(row: Row) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in row.messages]


DETECTED = sorted(set(DIALECTS) - {"csv", "parquet", "reasoning_gym", "verifiers"})  # tables have columns of any name


@pytest.mark.parametrize("name", DETECTED)
def test_a_dialect_is_detected_as_itself(tmp_path: Path, name: str):
    path = tmp_path / f"rows.{DIALECTS[name].suffix}"
    tasks = [Record(PLAIN.messages, {"answer": "42"})] if name == "openai_rft" else [SUM]
    path.write_bytes(b"".join(writing.write(name, tasks)))

    assert source.detect(path, path.name).dialect == name


@pytest.mark.parametrize("name", sorted(set(DIALECTS) - {"reasoning_gym"}))
def test_the_prompt_comes_back_as_it_was(tmp_path: Path, name: str):
    (row,) = back(tmp_path, name, [SUM])

    assert messages(row) == ASKED


@pytest.mark.parametrize("name", sorted(set(DIALECTS) - {"reasoning_gym"}))
def test_the_reference_comes_back(tmp_path: Path, name: str):
    (row,) = back(tmp_path, name, [PLAIN])

    assert row.item["reference"] == "42"


@pytest.mark.parametrize("name", ["native", "csv", "parquet"])
def test_whole_tasks_come_back_from_the_formats_that_carry_them(tmp_path: Path, name: str):
    (row,) = back(tmp_path, name, [SUM])

    assert (dict(row.item) | {"reference": 42}, row.gold, row.grader, row.domain, row.metadata) == (
        SUM.item,
        SUM.gold,
        SUM.grader,
        SUM.domain,
        SUM.metadata,
    )


@pytest.mark.parametrize("name", ["native", "openai_rft", "trl"])
def test_the_rest_of_the_item_stands_where_a_grader_of_the_dialect_reads_it(tmp_path: Path, name: str):
    (row,) = back(tmp_path, name, [SUM])

    assert row.item["unit"] == "m"


def test_an_item_that_is_called_like_a_field_stays_in_the_item():
    item = {"reference": "1", "prompt": "mine", "domain": "own", "item": {"unit": "m"}, "grader": "Anna"}
    (raw,) = (json.loads(line) for line in b"".join(writing.write("openai_rft", [Record(ASKED, item)])).splitlines())

    row = mapping.apply(mapping.Mapping("openai_rft"), raw)

    assert row == {"messages": ASKED, "item": item}


def test_a_conversation_has_no_place_in_a_csv():
    turns = [*ASKED, {"role": "assistant", "content": "42"}, {"role": "user", "content": "Sure?"}]

    assert b"Sure" not in b"".join(writing.write("csv", [Record(turns, {"reference": "yes"})]))


@pytest.mark.parametrize("name", ["open_instruct", "dolci", "verl"])
def test_instructions_come_back_with_their_grader(tmp_path: Path, name: str):
    wanted = [{"id": "length_constraints:number_words", "kwargs": {"num_words": 9, "relation": "at least"}}]
    task = Record(ASKED[1:], {"instructions": wanted}, grader={"type": "ifeval"})

    (row,) = back(tmp_path, name, [task])

    assert (row.item["instructions"], row.grader) == (wanted, {"type": "ifeval"})


@pytest.mark.parametrize("name", ["open_instruct", "dolci", "verl"])
def test_tests_of_code_come_back_with_their_grader(tmp_path: Path, name: str):
    task = Record(ASKED[1:], {"tests": ["assert f(1) == 2"]}, grader={"type": "code"})

    (row,) = back(tmp_path, name, [task])

    assert (row.item["tests"], (row.grader or {})["type"]) == (["assert f(1) == 2"], "code")


def test_reasoning_gym_writes_its_own_entries_only():
    entry = {"question": "1 + 1?", "answer": "2", "metadata": {"source_dataset": "sums"}}
    task = Record([{"role": "user", "content": "1 + 1?"}], {"entry": entry}, grader={"type": "reasoning_gym"})

    lines = b"".join(writing.write("reasoning_gym", [SUM, task])).splitlines()

    assert [json.loads(line) for line in lines] == [entry]


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_any_dialect_is_gzipped_on_request(name: str):
    whole = b"".join(writing.write(name, [SUM]))

    assert gzip.decompress(b"".join(writing.write(name, [SUM], compressed=True)))[:20] == whole[:20]


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_dataset_without_rows_is_a_file_without_rows(name: str):
    data = b"".join(writing.write(name, []))

    if DIALECTS[name].container == "parquet":
        assert pq.read_table(io.BytesIO(data)).num_rows == 0
    else:
        assert len(data.splitlines()) == (1 if name == "csv" else 0)


def test_the_same_tasks_give_the_same_bytes():
    once, twice = (b"".join(writing.write("parquet", [SUM, PLAIN])) for _ in range(2))

    assert once == twice


def test_a_cell_with_line_breaks_and_quotation_marks_stays_one_cell():
    task = Record([{"role": "user", "content": 'a\n"b", c'}], {"reference": "1"})

    (row,) = csv.DictReader(io.StringIO(b"".join(writing.write("csv", [task])).decode()))

    assert row["prompt"] == 'a\n"b", c'


def test_rows_come_out_while_others_are_still_to_come():
    def endless() -> Any:
        while True:
            yield Record([{"role": "user", "content": "x" * 1000}], {"reference": "1"})

    for name in DIALECTS.keys() - {"reasoning_gym"}:
        assert next(piece for piece in writing.write(name, endless()) if piece)


# Other libraries


@pytest.mark.parametrize("name", ["trl", "parquet", "verl", "native", "open_instruct"])
def test_the_datasets_library_loads_it_offline(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    path = tmp_path / f"rows.{DIALECTS[name].suffix}"
    path.write_bytes(b"".join(writing.write(name, [PLAIN, PLAIN])))
    kind = "json" if path.suffix == ".jsonl" else "parquet"

    loaded = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))

    assert loaded.num_rows == 2


def test_trl_takes_the_prompts_for_conversations(tmp_path: Path):
    from trl.data_utils import is_conversational

    (row,) = (json.loads(line) for line in b"".join(writing.write("trl", [SUM])).splitlines())

    assert (is_conversational(row), row["solution"]) == (True, "42")


def test_openais_messages_are_those_of_its_own_types():
    from openai.types.chat import ChatCompletionMessageParam
    from pydantic import TypeAdapter

    (row,) = (json.loads(line) for line in b"".join(writing.write("openai_rft", [SUM])).splitlines())

    found = TypeAdapter(list[ChatCompletionMessageParam]).validate_python(row["messages"])

    assert [message["role"] for message in found] == ["system", "user"]
