import gzip

import pytest

from tasks import proof
from tasks.formats import mapping, source
from tasks.formats.codes import CODES, issue
from tasks.formats.mapping import Mapping
from tasks.validation import validate
from tests.tasks.formats.conftest import read

STRING_CHECK = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "x", "operation": "ne"}

# What produces each code: bytes of a file, a row, or a proof
FILES = {
    "empty_file": b"",
    "not_jsonl": b'{"a": }\n' * 20,
    "unknown_format": b"prose\n",
    "damaged_file": b"PAR1",
    "unpacks_too_large": gzip.compress(b'{"a": 1}\n' * 100_000),
    "file_too_costly": b'[{"a": 1}, ' + b"5" * 3_000_000,
    "list_left_out": b'{"a": [{"b": 1}], "c": [{"d": 1}]}',
    "ragged_row": b"prompt,answer\na,b\nc\n",
    "cell_unreadable": b'prompt,answer\na,b\n"c,d\n',
    "truncated_file": b'{"prompt": "2',
    "line_too_long": b'{"a": 1}\n' + b"x" * 1_000_001,
    "not_json": b'{"a": }\n',
    "not_utf8": b'{"a": "\xff"}\n',
    "nested_too_deep": b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}\n",
    "row_not_object": b'{"a": 1}\n[1]\n',
    "key_twice": b'{"a": 1, "a": 2}\n',
    "nul": b'{"a": "\x00"}\n',
    "lone_surrogate": b'{"a": "\\udc00"}\n',
}
ROWS = {
    "prompt_missing": {},
    "prompt_twice": {"prompt": "a", "messages": []},
    "messages_bad": {"messages": "a"},
    "several_turns": {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    "tools_unsupported": {"prompt": "a", "tools": [{}]},
    "image_unsupported": {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    "too_long": {"prompt": "a" * 100_001},
    "item_not_object": {"prompt": "a", "item": []},
    "item_conflict": {"prompt": "a", "item": {"reference": 1}, "reference": 2},
    "metadata_not_object": {"prompt": "a", "metadata": "b"},
    "domain_bad": {"prompt": "a", "domain": 5},
    "unknown_grader": {"prompt": "a", "grader": {"type": "oracle"}},
    "bad_grader": {"prompt": "a", "grader": {"type": "number", "reference": []}},
    "reference_missing": {"prompt": "a", "grader": {"type": "number"}},
    "variable_missing": {"prompt": "a", "grader": {"type": "number", "reference": "{{ item.x }}"}},
    "reference_bad": {"prompt": "a", "reference": "many", "grader": {"type": "number"}},
}
PROOFS = {
    "gold_failed": ({"type": "number"}, {"reference": 1}, "2"),
    "gold_ungradable": ({"type": "number"}, {}, "2"),
    "decoy_passed": (STRING_CHECK, {}, "y"),
    "no_gold": (STRING_CHECK, {}, None),
}

SCREENED = {
    "secret_found",
    "personal_data",
    "language_not_wanted",
    "prompt_too_short",
    "prompt_too_long",
    "licence_not_allowed",
}  # tests/tasks/screening/test_policy.py
STORED = {
    "contaminated",
    "not_held_out",
    "judge_not_sampled",
    "decoy_ungradable",
    "grader_unavailable",
}  # tests/tasks/services


@pytest.mark.parametrize("code", FILES)
def test_a_file_can_produce_the_code(code, stored):
    path = stored(FILES[code])
    found = source.detect(path, "upload", max_bytes=800_000)

    codes = [found.problem.code] if found.problem else [row for _, row in read(path, max_bytes=800_000)]
    assert code in codes


def test_a_mapping_can_produce_the_code():
    assert mapping.apply(Mapping(columns={"a": "grader"}), {"a": "{"}).code == "unmappable"


@pytest.mark.parametrize("code", ROWS)
def test_a_row_can_produce_the_code(code):
    assert code in {found.code for found in validate(ROWS[code], line=1)}


@pytest.mark.parametrize("code", PROOFS)
def test_a_proof_can_produce_the_code(code):
    assert proof.prove(*PROOFS[code], "prompt").code == code


def test_every_code_is_produced_above_or_needs_the_stored_tasks():
    assert set(CODES) == {*FILES, "unmappable", *ROWS, *PROOFS, *SCREENED, *STORED}


def test_an_issue_is_filled_in_from_the_table():
    found = issue("too_long", line=3, field="prompt", detail="9", value="x" * 500)

    assert found.sentence == "The text is longer than 9 characters."
    assert (found.line, found.field, found.remedy, len(found.value)) == (3, "prompt", "Shorten it.", 200)


def test_braces_in_a_finding_are_not_expanded():
    assert "{0} {detail}" in issue("not_json", detail="{0} {detail}").sentence
