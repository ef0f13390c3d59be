from typing import Any

import pytest

from tasks.formats import mapping
from tasks.formats.mapping import Mapping
from tasks.formats.reasons import COLUMNS
from tasks.types import Issue, Row
from tasks.validation import validate

RFT = Mapping("openai_rft")
ASKED = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]


@pytest.mark.parametrize("name", ["item", "gold", "grader", "domain", "metadata", "prompt", "reference", "line", "id"])
@pytest.mark.parametrize("value", ["a", 4, None, ["b"], {"c": {"d": 1}}])
def test_every_key_but_messages_and_tools_is_the_items(name: str, value: Any):
    row = mapping.apply(RFT, {"messages": ASKED, name: value})

    read = validate(row, line=1)  # type: ignore[arg-type]

    assert isinstance(read, Row)
    assert read.item == {name: value}


def test_a_field_of_the_native_row_means_nothing_else():
    raw = {"messages": ASKED, "gold": "3", "domain": "sums", "grader": {"type": "oracle"}, "metadata": {"a": 1}}

    read = validate(mapping.apply(RFT, raw), line=1, default={"type": "number", "reference": "{{ item.gold }}"})  # type: ignore[arg-type]

    assert isinstance(read, Row)
    assert (read.gold, read.domain, read.metadata, read.grader) == (None, "", {}, None)


@pytest.mark.parametrize("tools", [None, []])
def test_empty_tools_are_left_out(tools: Any):
    row = mapping.apply(RFT, {"messages": ASKED, "tools": tools, "answer": 4})

    read = validate(row, line=1, default={"type": "number", "reference": "{{ item.answer }}"})  # type: ignore[arg-type]

    assert isinstance(read, Row)
    assert read.item == {"answer": 4}


def test_tools_are_refused_with_their_line():
    issues = validate(mapping.apply(RFT, {"messages": ASKED, "tools": [{"type": "function"}]}), line=7)  # type: ignore[arg-type]

    assert [(issue.line, issue.code) for issue in issues] == [(7, "tools_unsupported")]  # type: ignore[union-attr]


def test_columns_of_a_file_of_rejected_rows_are_not_the_items():
    row = mapping.apply(RFT, {"messages": ASKED, **dict.fromkeys(COLUMNS, "x")})

    assert row == {"messages": ASKED, "item": {}}


def test_a_mapping_may_bring_the_grader():
    row = mapping.apply(Mapping("openai_rft", grader={"type": "number"}), {"messages": ASKED, "grader": "Anna"})

    assert row == {"grader": {"type": "number"}, "messages": ASKED, "item": {"grader": "Anna"}}
    assert not isinstance(row, Issue)
