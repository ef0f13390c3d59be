"""Every call of the contract, from three majors of the official client, against one live server."""

import ast
import sys
from pathlib import Path

import pytest

from tests.contracts.conftest import Runner
from tests.contracts.setting import MAJORS

FOLDER = Path(__file__).parent
OWN = ("scenario.py", "documented.py", "relay.py")
AREAS = sorted((FOLDER / "scenarios").glob("*.py"))


def _sentences(area: Path) -> list[str]:
    """Its scenarios, found without importing it: functions that nobody calls private."""
    told = ast.parse(area.read_text()).body
    return [one.name for one in told if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")]


SCENARIOS = [f"{area.stem}.{sentence}" for area in AREAS for sentence in _sentences(area)]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("major", MAJORS)
def test_the_client_finds(major: str, scenario: str, runners: dict[str, Runner]):
    outcome = runners[major].outcome(scenario)

    if outcome["skipped"]:
        pytest.skip(outcome["skipped"])
    assert outcome["ok"], f"{scenario} in {major}.x:\n{outcome['traceback']}"


@pytest.mark.parametrize("path", [*AREAS, *(FOLDER / name for name in OWN)], ids=lambda path: path.name)
def test_scenarios_need_the_client_and_nothing_else(path: Path):
    told = list(ast.walk(ast.parse(path.read_text())))

    modules = {one.module or "" for one in told if isinstance(one, ast.ImportFrom)}
    modules |= {alias.name for one in told if isinstance(one, ast.Import) for alias in one.names}

    of_ours = {"tests.contracts", *(f"tests.contracts.{name.removesuffix('.py')}" for name in OWN)}
    assert {name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names} <= {"openai", *of_ours}
