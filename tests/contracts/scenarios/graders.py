from typing import Any

from tests.contracts import documented
from tests.contracts.scenario import EXACT, MODEL, Context, refused

PYTHON = {"type": "python", "name": "py", "source": "def grade(sample, item):\n    return len(item['answer']) / 4\n"}
SIMILAR = {
    "type": "text_similarity",
    "name": "near",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "evaluation_metric": "fuzzy_match",
}
JUDGE = {
    "type": "score_model",
    "name": "judge",
    "model": MODEL,
    "input": [{"role": "user", "content": "Rate {{ sample.output_text }}"}],
    "range": [0, 10],
}
FIELD = {**EXACT, "name": "field", "input": "{{ sample.output_json.total }}"}
OURS: Any = {"type": "math", "name": "ours", "reference": "{{ item.answer }}"}  # no type of the original
MULTI: Any = {
    "type": "multi",
    "name": "both",
    "graders": {"exact": EXACT, "near": SIMILAR, "py": PYTHON},
    "calculate_output": "0.5 * exact + 0.25 * near + 0.25 * min(py, 1)",
}


def _run(it: Context, grader: Any, sample: str = "four", item: Any = None) -> Any:
    return it.client.fine_tuning.alpha.graders.run(
        grader=grader, model_sample=sample, item={"answer": "four"} if item is None else item
    )


def every_type_is_validated_and_completed(it: Context) -> None:
    validate = it.loose.fine_tuning.alpha.graders.validate

    for grader in (EXACT, SIMILAR, PYTHON, JUDGE, MULTI, OURS):
        nameless = {name: value for name, value in grader.items() if name != "name"}
        whole, completed = (validate(grader=one).to_dict(warnings=False)["grader"] for one in (grader, nameless))
        assert {**whole, **grader} == whole, whole
        assert completed["name"]
        assert {**completed, "name": grader["name"]} == whole


def a_validated_grader_fits_the_clients_type(it: Context) -> None:
    for grader in (EXACT, SIMILAR, PYTHON, JUDGE):
        documented.whole(it.client.fine_tuning.alpha.graders.validate(grader=grader), ["grader"])


def a_grade_is_told_with_every_field(it: Context) -> None:
    for grader, reward in ((EXACT, 1.0), (SIMILAR, 1.0), (PYTHON, 1.0), (MULTI, 1.0)):
        told = documented.whole(_run(it, grader), documented.GRADED)
        raw = documented.sent(told)
        documented.has(raw["metadata"], documented.GRADED_METADATA)
        documented.has(raw["metadata"]["errors"], documented.GRADED_ERRORS)
        assert abs(told.reward - reward) < 1e-6, raw
        assert (told.metadata.name, told.metadata.type) == (grader["name"], grader["type"])
        assert not any(raw["metadata"]["errors"].values()), raw
        assert told.metadata.execution_time >= 0


def a_multi_tells_what_its_parts_gave(it: Context) -> None:
    told = _run(it, MULTI, "five")

    assert told.sub_rewards.keys() == {"exact", "near", "py"}
    assert (told.sub_rewards["exact"], told.sub_rewards["py"]) == (0.0, 1.0)
    assert abs(told.reward - (0.25 * told.sub_rewards["near"] + 0.25)) < 1e-6


def an_output_that_is_json_is_read_by_its_fields(it: Context) -> None:
    assert _run(it, FIELD, '{"total": "four"}').reward == 1.0
    told = _run(it, FIELD, "no json")
    assert (told.reward, told.metadata.errors.sample_parse_error) == (0.0, True)


def a_missing_variable_is_marked(it: Context) -> None:
    told = _run(it, EXACT, item={"other": 1})

    assert (told.reward, told.metadata.errors.invalid_variable_error) == (0.0, True)


def an_exception_of_a_python_grader_is_marked_and_told(it: Context) -> None:
    told = _run(it, {**PYTHON, "source": "def grade(sample, item):\n    raise ValueError('nine lives')\n"})

    assert (told.reward, told.metadata.errors.python_grader_runtime_error) == (0.0, True)
    assert "nine lives" in told.metadata.errors.python_grader_runtime_error_details


def a_python_grader_reaches_no_network(it: Context) -> None:
    source = (
        "import socket\n"
        "def grade(sample, item):\n"
        "    socket.create_connection(('127.0.0.1', int(item['port'])), 2)\n"
        "    return 1.0\n"
    )

    told = _run(it, {**PYTHON, "source": source}, item={"port": it.base_url.rpartition(":")[2].partition("/")[0]})

    assert (told.reward, told.metadata.errors.python_grader_runtime_error) == (0.0, True)


def a_judge_is_asked_and_its_tokens_are_told(it: Context) -> None:
    """Random weights make no rating: that is marked, and what they cost is counted all the same."""
    told = _run(it, JUDGE)

    usage = getattr(told, "api_model_grader_token_usage_per_model", None) or told.model_grader_token_usage_per_model
    assert told.metadata.sampled_model_name == MODEL
    assert 0 <= told.reward <= 10
    assert usage[MODEL]["total_tokens"] > 0
    assert told.metadata.token_usage == usage[MODEL]["total_tokens"]


def a_judge_needs_the_scope_write(it: Context) -> None:
    reader = it.with_scope("reader").fine_tuning.alpha.graders

    assert reader.run(grader=EXACT, model_sample="four", item={"answer": "four"}).reward == 1.0
    refused(lambda: reader.run(grader=JUDGE, model_sample="four", item={}), 403)


def our_own_types_grade_in_the_same_place(it: Context) -> None:
    assert _run(it, {**OURS}, "so it is 4", {"answer": "4"}).reward in (0.0, 1.0)


def what_is_no_grader_is_refused_by_its_field(it: Context) -> None:
    graders = it.client.fine_tuning.alpha.graders
    nested = {"type": "multi", "name": "m", "graders": {"m": MULTI}, "calculate_output": "m"}

    for bad, place in (
        ({**EXACT, "operation": "resembles"}, "operation"),
        ({**EXACT, "surprise": 1}, "surprise"),
        ({name: EXACT[name] for name in EXACT if name != "reference"}, "reference"),
        ({**SIMILAR, "evaluation_metric": "taste"}, "evaluation_metric"),
        ({**JUDGE, "range": [5, 1]}, "range"),
        ({**MULTI, "calculate_output": "exact +"}, "calculate_output"),
        ({**MULTI, "calculate_output": "exact + nobody"}, "calculate_output"),
        ({"type": "magic", "name": "m"}, "type"),
        (nested, ""),
        ({**EXACT, "input": "{{ secrets.key }}"}, ""),
    ):
        for call in (
            lambda bad=bad: graders.validate(grader=bad),
            lambda bad=bad: graders.run(grader=bad, model_sample="x", item={}),
        ):
            told = refused(call, 400)
            assert (told["param"] or "").startswith("grader"), told
            assert place in told["param"], told
    refused(lambda: it.client.post("/fine_tuning/alpha/graders/run", body={"grader": EXACT}, cast_to=object), 400)
