import re

import pytest

from tasks.errors import Invalid
from tasks.graders import python, registry
from tasks.sandbox import grading, pool, programs
from tasks.sandbox.protocol import Unavailable
from tasks.types import Outcome

JSON_REPLY = '{"city": "Paris", "score": 0.25}'


def config(source, **fields):
    return {"type": "python", "source": source, "seconds": 2, **fields}


def grade(source, completion=JSON_REPLY, item=None, **fields):
    return registry.grade(config(source, **fields), completion, item or {})


def returning(expression):
    return f"def grade(sample, item):\n    return {expression}\n"


# What a grader is given


@pytest.mark.parametrize(
    "expression",
    [
        "sample['output_text'].startswith('{')",
        "sample['output_json']['city'] == 'Paris'",
        "sample['output_tools'] == []",
        "sample['choices'][0]['message']['content'] == sample['output_text']",
        "item['answers'][1]['x'] == 2",
        "item['text'] == 'Zürich {{ item.secret }}'",
    ],
)
def test_a_grader_reads_the_sample_and_the_item(expression):
    found = grade(returning(expression), item={"answers": [1, {"x": 2}], "text": "Zürich {{ item.secret }}"})

    assert (found.outcome, found.score) == (Outcome.CORRECT, 1)


@pytest.mark.parametrize("reply", ["no JSON", "", "{", "[" * 100_000, "\ud800", '{"a": NaN}'])
def test_a_reply_that_is_not_json_has_no_output_json_and_fails_nothing(reply):
    found = grade(returning("1.0 if sample['output_json'] is None else 0.0"), reply)

    assert found.correct


def test_reasoning_is_not_part_of_the_sample():
    found = grade(returning("'Paris' in sample['output_text']"), "<think>Paris</think>London")

    assert (found.outcome, found.score) == (Outcome.INCORRECT, 0)


# What it may return


@pytest.mark.parametrize(
    ("expression", "score"),
    [("0.5", 0.5), ("1", 1), ("True", 1), ("False", 0), ("0", 0), ("sample['output_json']['score']", 0.25)],
)
def test_a_number_between_0_and_1_is_the_score(expression, score):
    assert grade(returning(expression)).score == score


def test_a_score_is_correct_from_the_threshold_on():
    assert grade(returning("0.5"), pass_threshold=0.5).correct
    assert not grade(returning("0.49"), pass_threshold=0.5).correct


@pytest.mark.parametrize(
    "expression",
    ["None", "'1'", "[1]", "float('nan')", "float('inf')", "-0.01", "1.01", "10 ** 5000", "1j", "object()", "grade"],
)
def test_any_other_value_is_the_authors_fault(expression):
    found = grade(returning(expression))

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("python_grader_runtime_error",))
    assert found.reason.startswith("The grader's value is no score: `grade` returned")


def test_an_exception_is_the_authors_fault_and_names_its_line():
    found = grade("def grade(sample, item):\n    text = item['missing']\n    return 1\n")

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("python_grader_runtime_error",))
    assert found.reason == "The grader raised an exception: KeyError: 'missing' (line 2 of the grader)."


@pytest.mark.parametrize("reply", ["", "Paris", '{"city": "Par', "null"])
def test_an_exception_over_json_that_the_sample_lacks_is_the_samples_fault(reply):
    found = grade(returning("sample['output_json']['city'] == 'Paris'"), reply)

    assert (found.outcome, found.score) == (Outcome.INCORRECT, 0)
    assert found.errors == ("sample_parse_error", "python_grader_runtime_error")


@pytest.mark.parametrize("reply", ['{"town": "Paris"}', "[]"])
def test_an_exception_over_json_of_another_shape_is_the_authors_fault(reply):
    found = grade(returning("sample['output_json']['city'] == 'Paris'"), reply)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("python_grader_runtime_error",))


def test_an_exception_of_a_grader_that_reads_no_json_is_the_authors_fault():
    found = grade(returning("sample['output_text'][100] == '!'"), "no JSON")

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("python_grader_runtime_error",))


@pytest.mark.parametrize(
    "body",
    [
        "raise SystemExit(0)",
        "raise KeyboardInterrupt",
        "import os; os._exit(0)",
        "import os; os.abort()",
        "x = 'x' * (3 << 30)",
        "return grade(sample, item)",
        "import ctypes; ctypes.string_at(0)",
        "import sys; sys.exit('bye')",
        "import os, json; os.write(3, json.dumps({'ok': 1.0}).encode()); os._exit(0)",
        "print('{\"ok\": 1.0}', flush=True); import os; os._exit(0)",
    ],
)
def test_a_grader_that_dies_is_ungradable_and_the_next_grade_is_right(body):
    found = grade(f"def grade(sample, item):\n    {body}\n")

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("python_grader_runtime_error",))
    assert grade(returning("1")).correct


def test_a_grader_that_runs_on_is_ended(monkeypatch):
    monkeypatch.setattr(grading, "START_SECONDS", 0.5)

    found = grade("import signal\ndef grade(sample, item):\n    while True: pass\n", seconds=0.2)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("python_grader_runtime_error",))
    assert found.reason.startswith("The grader did not answer in time")


def test_one_call_that_fails_does_not_fail_its_neighbours():
    source = "import os\ndef grade(sample, item):\n    if item['n'] == 3: os._exit(0)\n    return item['n'] / 10\n"

    found = registry.grade_many(config(source), [("", {"n": n}) for n in range(6)])

    assert [one.score for one in found] == [0, 0.1, 0.2, 0, 0.4, 0.5]
    assert [one.outcome for one in found].count(Outcome.UNGRADABLE) == 1


def test_a_grader_that_keeps_state_is_no_function():
    source = "seen = []\ndef grade(sample, item):\n    seen.append(1)\n    return len(seen) % 2\n"

    found = registry.grade_many(config(source), [("", {"n": n}) for n in range(200)])

    assert {(one.outcome, one.errors) for one in found} == {
        (Outcome.UNGRADABLE, ("python_grader_runtime_error", "order_dependent"))
    }
    assert "keeps state or uses chance" in found[0].reason


def test_packages_of_openais_image_can_be_imported():
    names = "numpy scipy sympy pandas rapidfuzz sklearn rouge_score deepdiff jsonschema pydantic yaml nltk sqlparse"

    found = grade(f"import {', '.join(names.split())}\n{returning('float(numpy.float64(1))')}", seconds=60)

    assert found.correct, found.reason


def test_a_package_that_is_not_installed_is_named():
    found = grade(f"import tensorstew\n{returning('1')}")

    assert "No module named 'tensorstew' (line 1 of the grader)" in found.reason


# Its source


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def grade(:", "SyntaxError: .* \\(line 1 of the grader\\)"),
        ("def score(sample, item): return 1", "defines no function `grade\\(sample, item\\)`"),
        ("grade = 1", "`grade` is not a function"),
        ("\n\n1 / 0", "ZeroDivisionError: division by zero \\(line 3 of the grader\\)"),
        ("x = '\0'", "source"),
        ("(" * 5000, "source"),
        ("x = " + "-" * 200_000 + "1", "grader's process|source"),
    ],
)
def test_a_trial_says_what_is_wrong_with_the_source(source, sentence):
    found = registry.trial_problem(config(source))

    assert found
    assert re.search(sentence, found), found


def test_a_trial_waits_for_no_slow_grader_to_end(monkeypatch):
    monkeypatch.setattr(python, "TRIAL_SECONDS", 0.2)
    monkeypatch.setattr(grading, "START_SECONDS", 1.0)

    assert registry.trial_problem(config("import time\ndef grade(sample, item):\n    time.sleep(100)")) is None


def test_a_trial_does_not_judge_what_grade_makes_of_an_invented_call():
    assert registry.trial_problem(config(returning("item['reference']"))) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"source": ""},
        {"source": "  \n"},
        {"source": "#" * 256_000},
        {"source": "x", "seconds": 0},
        {"source": "x", "seconds": 121},
        {"source": "x", "seconds": float("nan")},
        {"source": None},
        {"source": "x", "image": "y"},
    ],
)
def test_a_configuration_that_cannot_be_right_is_refused(fields):
    with pytest.raises(Invalid) as refused:
        registry.parse({"type": "python", **fields})

    assert refused.value.code == "bad_grader"


def test_the_source_is_no_template():
    braces = config("def grade(sample, item):\n    return len(f'{{ item.x | y }}') / 100\n")

    assert registry.template_sources(braces) == ()
    assert registry.grade(braces, "", {}).score == 0.14


def test_openais_configuration_is_taken_as_it_is():
    openais = {"type": "python", "name": "mine", "image_tag": "2025-05-08", "source": returning("1.0")}

    assert registry.grade(openais, "", {}).correct


def test_the_source_is_never_compiled_in_this_process(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("compiled here")

    parsed = registry.parse(config(returning("1")))
    for name in ("compile", "exec", "eval"):
        monkeypatch.setattr(f"builtins.{name}", refuse)

    found = python.compile_many(parsed)([("", {})])

    assert found[0].correct


# Whose fault it is where nothing can be run


def test_without_a_sandbox_it_is_refused_in_a_sentence(monkeypatch):
    def none(*_, **__):
        raise Unavailable("Nothing holds here.")

    monkeypatch.setattr(pool, "shared", none)
    found = grade(returning("1"))

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("sandbox_unavailable",))
    assert found.reason == registry.unavailable(config(returning("1"))) == "Nothing holds here."


def test_a_sandbox_that_ends_everything_is_our_fault(monkeypatch):
    monkeypatch.setattr(grading, "grade_batch", lambda *_, **__: [grading.Failed("died", "The worker had ended.")])
    monkeypatch.setattr(programs, "sound", lambda: False)

    found = grade(returning("1"))

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("python_grader_server_error",))
