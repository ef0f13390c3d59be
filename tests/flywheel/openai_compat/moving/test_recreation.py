import ast
from typing import Any

import pytest

from flywheel.openai_compat.moving import recreation
from tasks.errors import Invalid

GRADER = {
    "type": "string_check",
    "name": "same",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}
JOB: dict[str, Any] = {
    "id": "ftjob-old",
    "object": "fine_tuning.job",
    "model": "o4-mini-2025-04-16",
    "status": "succeeded",
    "training_file": "file-a",
    "validation_file": "file-b",
    "fine_tuned_model": "ft:o4-mini-2025-04-16:acme:cities:Bx12",
    "seed": 7,
    "metadata": None,
    "method": {
        "type": "reinforcement",
        "dpo": None,
        "supervised": None,
        "reinforcement": {
            "grader": GRADER,
            "hyperparameters": {"n_epochs": 2, "batch_size": "auto", "eval_interval": None},
            "response_format": None,
        },
    },
}
FILES = {"file-a": "file-new-a", "file-b": "file-new-b"}


def call(job: Any = None, **changes: Any) -> recreation.Call:
    given = {"files": FILES, "models": {}, "default": "champion"}
    return recreation.call_of({**JOB, **(job or {})}, **{**given, **changes})


def test_a_job_is_asked_for_again_with_the_new_files_and_model():
    assert call().arguments == {
        "model": "champion",
        "training_file": "file-new-a",
        "validation_file": "file-new-b",
        "suffix": "cities",
        "seed": 7,
        "method": {
            "type": "reinforcement",
            "reinforcement": {"grader": GRADER, "hyperparameters": {"n_epochs": 2, "batch_size": "auto"}},
        },
        "metadata": {"imported_from": "ftjob-old"},
    }


def test_a_model_has_another_name_here():
    assert call(models={"o4-mini-2025-04-16": "shared/v0"}).arguments["model"] == "shared/v0"


def test_full_metadata_stay_as_they_are():
    full = {f"k{n}": "v" for n in range(16)}

    assert call({"metadata": full}).arguments["metadata"] == full


def test_integrations_and_a_start_from_another_job_are_told():
    notes = call({"integrations": [{"type": "wandb"}], "model": "ft:o4-mini:acme:x:1"}).notes

    assert [note.split(" ")[1] for note in notes] == ["integrations", "went"]


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"training_file": "file-c"}, "its training_file file-c was not taken"),
        ({"method": {"type": "supervised", "supervised": {}}}, "'supervised' is not done here"),
        ({"method": None}, "'supervised' is not done here"),
        ({"user_provided_suffix": "a/b"}, "A suffix has letters"),
        ({"id": None}, "it has no id"),
        ({"metadata": {"by": "me\x00"}}, "NUL character"),
    ],
)
def test_what_cannot_be_made_again_is_refused_with_what_to_do(job: dict[str, Any], words: str):
    with pytest.raises(Invalid, match=words):
        call(job)


def test_the_script_holds_the_calls_as_they_are():
    odd = {**GRADER, "reference": "'\"\\ {{ item.answer }} \u2028 Zürich\n" + "long " * 60}
    method = {"type": "reinforcement", "reinforcement": {"grader": odd}}
    made = call({"method": method, "status": "odd\nimport os #\x00\ud800"})

    text = recreation.script([made, call()])

    tree = ast.parse(text.encode())
    (jobs,) = (node.value for node in tree.body if isinstance(node, ast.Assign))
    assert ast.literal_eval(jobs) == [("ftjob-old", made.arguments), ("ftjob-old", call().arguments)]
