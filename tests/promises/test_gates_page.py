"""docs/gates.md: its table of settings is the policy's own, and its examples are what they claim to be."""

import re
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tasks.graders import registry
from tests.promises.test_documents import named, sections, table_rows
from trainer.evaluation.policy import GatePolicy, policy_from
from trainer.services import second_grading
from trainer.states import Verdict

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "gates.md").read_text()


def shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return ", ".join(f"{number:g}" for number in default) or "none"
    return str(default) if default != {} else "none"


def test_the_table_of_settings_is_that_of_the_code():
    rows = {cells[0]: cells[1] for cells in table_rows(policy_table())}

    assert rows == {f"`{name}`": shown(getattr(GatePolicy(), name)) for name in GatePolicy.__struct_fields__}


def policy_table() -> str:
    return sections(PAGE, 2)["The policy"].split("### ")[0]


def test_every_verdict_is_explained():
    assert {verdict.value for verdict in Verdict} <= named(PAGE.split("## The policy")[0])


def test_the_example_is_a_policy_whose_graders_can_be_built():
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)

    policy = policy_from(yaml.safe_load(example))

    assert [registry.compile(grader) for grader in policy.second_graders.values()]
    assert msgspec.to_builtins(policy)["target"] == "overall"


def test_the_numbers_of_items_that_are_graded_again_are_those_of_the_code():
    assert f"up to {second_grading.MOST_ITEMS} items of a suite ({second_grading.MOST_ASKED} where" in PAGE
