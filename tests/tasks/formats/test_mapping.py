"""Dialects, by small rows of their real shape: recognised, and mapped to rows that can be graded."""

import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.formats import mapping, source
from tasks.formats.dialects import verification
from tasks.formats.mapping import DIALECTS, Mapping
from tasks.types import Issue, Row
from tasks.validation import validate

USER = [{"role": "user", "content": "What is 2 + 2?"}]
IFEVAL = "[{'instruction_id': ['punctuation:no_comma', 'keywords:existence'], 'kwargs': [None, {'keywords': ['tea']}]}]"
SHAPES = {
    "native": {"prompt": "2 + 2?", "reference": "4", "grader": {"type": "number"}},
    "openai_rft": {"messages": USER, "answer": "4"},
    "open_instruct": {"messages": USER, "ground_truth": "4", "dataset": "gsm8k"},
    "dolci": {"prompt": "2 + 2?", "ground_truth": ["4"], "dataset": ["math"], "passrate": 0.5},
    "trl": {"prompt": USER, "solution": "4", "level": 1},
    "verl": {
        "data_source": "openai/gsm8k",
        "prompt": USER,
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "4"},
        "extra_info": {"split": "train", "index": 0},
    },
    "verifiers": {"question": "2 + 2?", "answer": "4", "info": {"level": 1}, "task": "sums"},
    "nemo_gym": {"responses_create_params": {"input": USER}, "expected_answer": "4", "agent_ref": {"name": "math"}},
    "reasoning_gym": {
        "question": "Sort: b, a",
        "answer": "a, b",
        "metadata": {"source_dataset": "word_sorting", "sorted_words": ["a", "b"]},
    },
    "human_eval": {
        "task_id": "HumanEval/0",
        "prompt": 'def double(x):\n    """Twice."""\n',
        "entry_point": "double",
        "canonical_solution": "    return 2 * x\n",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n",
    },
    "gsm8k": {"question": "2 + 2?", "answer": "Two and two are 4.\n#### 4"},
    "bbh": {"input": "not True is\nOptions:\n(A) True\n(B) False", "target": "(B)"},
    "columns": {"Question": "2 + 2?", "Correct Answer": "4", "Category": "sums", "note": "easy"},
}


def mapped(row):
    guessed = mapping.guess(list(row), [row])
    return guessed, mapping.apply(guessed.mapping, row, 7)


@pytest.mark.parametrize("dialect", SHAPES)
def test_a_dialect_is_recognised(dialect):
    assert mapped(SHAPES[dialect])[0].mapping.dialect == dialect


def test_every_dialect_has_its_shape_here():
    assert set(SHAPES) == set(DIALECTS)


@pytest.mark.parametrize("dialect", SHAPES)
def test_its_rows_become_valid_ones(dialect):
    guessed, row = mapped(SHAPES[dialect])

    assert isinstance(validate(row, line=7, default=guessed.grader), Row)


@pytest.mark.parametrize("dialect", SHAPES)
def test_a_guessed_mapping_has_no_problems(dialect):
    row = SHAPES[dialect]
    guessed = mapping.guess(list(row), [row])
    columns = [column.name for column in source.columns_of((row,))]

    assert mapping.problems(guessed.mapping, columns) == []


@pytest.mark.parametrize("dialect", SHAPES)
def test_a_mapping_is_kept_as_json(dialect):
    guessed = mapping.guess(list(SHAPES[dialect]), [SHAPES[dialect]])

    assert msgspec.json.decode(msgspec.json.encode(guessed.mapping), type=Mapping) == guessed.mapping


def test_a_native_row_stays_the_row_that_it_is():
    row = SHAPES["native"]

    assert mapping.apply(mapping.NATIVE, row) is row


@pytest.mark.parametrize("dialect", SHAPES)
def test_columns_of_a_corrected_file_are_left_out_everywhere(dialect):
    plain = mapped(SHAPES[dialect])[1]
    corrected = {"_line": 3, "_code": "nul", **SHAPES[dialect], "_field": "a", "_reason": "b", "_remedy": "c"}

    assert mapped(corrected)[1] == plain


# What each of them means


def test_gsm8k_the_reference_follows_the_mark_and_the_whole_is_the_gold():
    row = mapped(SHAPES["gsm8k"])[1]

    assert (row["reference"], row["gold"], row["grader"]) == ("4", "Two and two are 4.\n#### 4", {"type": "number"})


def test_gsm8k_a_row_without_the_mark_is_an_issue():
    guessed = mapped(SHAPES["gsm8k"])[0].mapping

    found = mapping.apply(guessed, {"question": "2 + 2?", "answer": "4"}, 7)

    assert (found.code, found.line, found.field) == ("unmappable", 7, "reference")


def test_human_eval_the_prompt_is_the_prefix_of_the_code():
    item = mapped(SHAPES["human_eval"])[1]["item"]

    assert item["prefix"] == SHAPES["human_eval"]["prompt"]
    assert set(item) == {"prefix", "entry_point", "solution", "tests"}


def test_bbh_the_lettered_lines_are_the_choices():
    row = mapped(SHAPES["bbh"])[1]

    assert (row["item"]["choices"], row["reference"]) == (["True", "False"], "(B)")


@pytest.mark.parametrize(("target", "grader"), [("24", "number"), ("(A)", "choice"), ("barn damp", "exact")])
def test_bbh_the_targets_tell_the_grader(target, grader):
    assert mapped({"input": "Which?\n(A) x\n(B) y", "target": target})[0].mapping.grader["type"] == grader


def test_reasoning_gym_the_whole_entry_is_the_items():
    row = mapped(SHAPES["reasoning_gym"])[1]

    assert row["item"] == {"entry": SHAPES["reasoning_gym"]}
    assert row["domain"] == "word_sorting"


def test_verl_the_rule_is_the_grader_and_the_rest_metadata():
    row = mapped(SHAPES["verl"])[1]

    assert row == {
        "prompt": USER,
        "reference": "4",
        "grader": {"type": "number"},
        "domain": "math",
        "metadata": {"data_source": "openai/gsm8k", "split": "train", "index": 0},
    }


@pytest.mark.parametrize(
    ("name", "truth", "grader"),
    [
        ("gsm8k", "4", "number"),
        ("MATH", "\\frac{1}{2}", "math"),
        ("ifeval", IFEVAL, "ifeval"),
        ("code", '["assert f(1) == 2"]', "code"),
        ("code_stdio", [{"input": "1", "output": "2"}, {"input": "2", "output": "3"}], "code"),
    ],
)
def test_open_instruct_the_data_set_names_the_grader(name, truth, grader):
    row = mapped({"messages": USER, "ground_truth": truth, "dataset": name})[1]

    assert row["grader"]["type"] == grader
    assert isinstance(validate(row, line=1), Row)


def test_open_instruct_an_unknown_verifier_leaves_the_grader_to_the_dataset():
    row = mapped({"messages": USER, "ground_truth": "4", "dataset": "general-quality"})[1]

    assert "grader" not in row
    assert row["reference"] == "4"


def test_open_instruct_labels_written_by_python_are_instructions():
    assert verification.instructions(IFEVAL) == [
        {"id": "punctuation:no_comma", "kwargs": {}},
        {"id": "keywords:existence", "kwargs": {"keywords": ["tea"]}},
    ]


@pytest.mark.parametrize(
    "label",
    [
        "__import__('os').getcwd()",
        "[" * 10_000,
        "['a'" + ", 1" * 20_000 + "]",
        "5",
        "[]",
        "[{'kwargs': []}]",
        "'\\x00'",
    ],
)
def test_a_label_that_is_none_is_an_issue(label):
    found = mapped({"messages": USER, "ground_truth": label, "dataset": "ifeval"})[1]

    assert isinstance(found, Issue)
    assert found.code == "unmappable"


def test_a_label_cannot_bring_in_what_no_row_may_hold():
    label = "[{'instruction_id': ['keywords:existence'], 'kwargs': [{'keywords': ['a\\x00']}]}]"

    assert mapped({"messages": USER, "ground_truth": label, "dataset": "ifeval"})[1].code == "unmappable"


def test_dolci_two_verifiers_are_one_too_many():
    found = mapped({"prompt": "a", "ground_truth": ["4", "5"], "dataset": ["math", "ifeval"], "passrate": 1})[1]

    assert (found.code, found.field) == ("unmappable", "dataset")


def test_nemo_gym_tools_are_refused():
    row = {**SHAPES["nemo_gym"], "responses_create_params": {"input": USER, "tools": [{"type": "function"}]}}

    assert mapped(row)[1].code == "tools_unsupported"


def test_trl_other_columns_are_the_items():
    assert mapped(SHAPES["trl"])[1]["item"] == {"level": 1}


# Columns of any table


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["query", "label"], {"query": "prompt", "label": "reference"}),
        (["Problem", "Solution", "Topic"], {"Problem": "prompt", "Solution": "reference", "Topic": "domain"}),
        (["problem", "solution", "answer"], {"problem": "prompt", "solution": "gold", "answer": "reference"}),
        (["instruction", "input", "output"], {"instruction": "prompt", "input": "prompt", "output": "reference"}),
        (["text", "category"], {"text": "prompt", "category": "domain"}),
        (["question", "choices", "answerKey"], {"question": "prompt", "choices": "choices", "answerKey": "reference"}),
        (["system", "prompt", "answer"], {"system": "system", "prompt": "prompt", "answer": "reference"}),
    ],
)
def test_usual_names_are_understood(names, wanted):
    assert mapping.guess(names, [dict.fromkeys(names, "x")]).mapping.columns == wanted


def test_choices_become_lettered_lines_and_a_place_becomes_a_letter():
    row = mapped({"question": "Largest?", "choices": ["Mars", "Jupiter"], "answer": 1})[1]

    assert (row["prompt"], row["reference"]) == ("Largest?\n\n(A) Mars\n(B) Jupiter", "B")
    assert row["item"]["choices"] == ["Mars", "Jupiter"]


def test_a_system_column_goes_before_the_prompt():
    row = mapping.apply(Mapping(columns={"s": "system", "q": "prompt"}), {"s": "Be short.", "q": "Why?"})

    assert row["messages"] == [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}]


def test_several_prompt_columns_are_joined_in_the_order_of_the_mapping():
    row = mapping.apply(Mapping(columns={"b": "prompt", "a": "prompt"}), {"a": "first", "b": "second"})

    assert row["prompt"] == "second\n\nfirst"


def test_objects_in_cells_are_read_where_an_object_belongs_and_nowhere_else():
    columns = {"q": "prompt", "r": "reference", "g": "grader"}
    row = mapping.apply(Mapping(columns=columns), {"q": "[1, 2]?", "r": "[3]", "g": '{"type": "exact"}'})

    assert row == {"prompt": "[1, 2]?", "reference": "[3]", "grader": {"type": "exact"}}


def test_a_broken_object_in_a_cell_is_an_issue():
    found = mapping.apply(Mapping(columns={"q": "prompt", "g": "grader"}), {"q": "a", "g": '{"type": '}, 4)

    assert (found.code, found.line, found.field) == ("unmappable", 4, "g")


def test_columns_that_are_not_listed_are_kept_as_metadata():
    row = mapping.apply(Mapping(columns={"q": "prompt", "n": "ignore"}), {"q": "a", "n": 1, "x": 2})

    assert row == {"prompt": "a", "metadata": {"x": 2}}


def test_a_path_leads_into_objects():
    columns = {"q.text": "prompt", "q.meta.level": "metadata.level"}
    row = mapping.apply(Mapping(columns=columns), {"q": {"text": "a", "meta": {"level": 3}}})

    assert row == {"prompt": "a", "metadata": {"level": 3}}


def test_a_mapped_grader_leaves_a_rows_own_alone():
    grading = Mapping("native", grader={"type": "exact"})

    assert mapping.apply(grading, {"prompt": "a", "grader": {"type": "number"}})["grader"] == {"type": "number"}
    assert mapping.apply(grading, {"prompt": "a"})["grader"] == {"type": "exact"}


@pytest.mark.parametrize(
    ("columns", "more", "word"),
    [
        ({"a": "reference"}, {}, "No column is the prompt"),
        ({"a": "prompt", "b": "messages"}, {}, "keep one of the two"),
        ({"a": "prompt", "b": "reference", "c": "reference"}, {}, "2 columns are the reference"),
        ({"a": "prompt", "b": "item.x", "c": "item.x"}, {}, "2 columns are the item.x"),
        ({"a": "prompt", "b": "answer"}, {}, "is unknown"),
        ({"a": "prompt", "z": "reference"}, {}, "no column 'z'"),
        ({"a": "prompt"}, {"reference_after": "####"}, "no column is the reference"),
        ({"a": "prompt"}, {"grader": {"type": "oracle"}}, "There is no grader of type 'oracle'"),
        ({"a": "prompt"}, {"dialect": "parseltongue"}, "There is no dialect"),
    ],
)
def test_what_is_wrong_with_a_mapping_is_told(columns, more, word):
    assert any(word in problem for problem in mapping.problems(Mapping(columns=columns, **more), ["a", "b", "c"]))


@pytest.mark.parametrize(
    ("references", "grader"), [(["4", "1,234.5"], "number"), (["\\frac{1}{2}"], "math"), (["A", "(B)"], "choice")]
)
def test_references_suggest_a_grader(references, grader):
    rows = [{"question": "q", "output": reference} for reference in references]

    assert mapping.guess(["question", "output"], rows).grader["type"] == grader


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2)
KEYS = sorted({key for row in SHAPES.values() for key in row})


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine the first draws take a second
@given(st.sampled_from(sorted(SHAPES)), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_whatever_a_row_holds_it_becomes_a_row_or_issues(dialect, row):
    guessed = mapping.guess(list(SHAPES[dialect]), [SHAPES[dialect]])

    found = mapping.apply(guessed.mapping, row, 7)

    assert isinstance(found, Issue) or isinstance(validate(found, line=7), Row | list)
    assert json.dumps(row)
