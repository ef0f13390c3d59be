"""docs/openai.md against the code: calls, codes of refusals, hyperparameters, and what it says to type."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.management import load_command_class
from django.test import Client
from django.urls import URLPattern

from flywheel.openai_compat import eval_bodies, job_requests, lists, urls
from flywheel.openai_compat.graders import RunGrader
from flywheel.openai_compat.jobs import JobVerb
from flywheel.samples import openai_export
from tasks import errors
from tasks.graders import registry
from tasks.services import parts
from tasks.states import Scope
from tests import cast
from tests.promises.test_documents import REPOSITORY, blocks, commands, named, sections, table_rows
from trainer import hyperparameters
from trainer.hyperparameters import Asked
from trainer.runspec import RunSpec
from trainer.services import evals, file_runs

DOCUMENT = REPOSITORY / "docs" / "openai.md"
TEXT = DOCUMENT.read_text()
PARTS = sections(TEXT, 2)


# Calls


def told_calls() -> dict[tuple[str, str], str]:
    """(method, path) → scope. Names of parameters are the page's own."""
    found = {}
    for cells in table_rows(PARTS["Calls and scopes"]):
        for call in named(cells[0]):
            method, path = call.split(" ")
            found[method, re.sub(r"\{\w+\}", "{}", path)] = cells[1].split(" ")[0]
    return found


def served_calls() -> Iterator[tuple[str, str, Any]]:
    for pattern in urls.urlpatterns:
        if isinstance(pattern, URLPattern) and pattern.name != "unknown":
            path = re.sub(r"<[^>]+>", "{}", str(pattern.pattern))
            view = pattern.callback.view_class  # type: ignore[attr-defined]
            methods = [name for name in ("get", "post", "delete") if hasattr(view, name)]
            yield from ((name.upper(), f"/{path}", view) for name in methods if name in view.http_method_names)


def test_every_call_is_on_the_page_and_no_other():
    assert set(told_calls()) == {(method, path) for method, path, _ in served_calls()}


def test_every_call_needs_the_scope_that_the_page_says():
    def scope(method: str, view: Any) -> str:
        return Scope.READ if method == "GET" else view().scope

    assert told_calls() == {(method, path): scope(method, view) for method, path, view in served_calls()}
    assert RunGrader.scope == Scope.READ


def test_the_verbs_of_a_job_are_on_the_page():
    assert set(JobVerb.verbs) <= named(PARTS["Calls and scopes"])


# Refusals

RAISING = [
    *(REPOSITORY / "flywheel" / "openai_compat").glob("*.py"),
    *(REPOSITORY / "flywheel" / "http" / f"{name}.py" for name in ("auth", "bodies", "json_bodies", "idempotency")),
    *(
        REPOSITORY / "tasks" / f"{name}.py"
        for name in (
            *("services/files", "services/parts", "services/storage", "services/trying", "services/access"),
            *("services/graders", "services/idempotency", "graders/registry"),
        )
    ),
    *(
        REPOSITORY / "trainer" / "services" / f"{name}.py"
        for name in ("file_runs", "permissions", "offering", "serving", "evals", "eval_runs", "checkpoints")
    ),
]
MODEL_SERVER = [
    REPOSITORY / "trainer" / "server" / f"{name}.py"
    for name in ("answering", "chat", "faults", "residents", "store", "worker")
]
REFUSALS = {name for name in vars(errors) if isinstance(getattr(errors, name), type)}
REFUSALS |= {"ModelServerDown", "KeyReusedError"}
OTHERS = {"AuthenticationFailed", "ParseError", "ModelServerRefused", "Fault", "invalid"}
VERBS = {  # of modules that do more than this surface asks of them
    REPOSITORY / "trainer" / "services" / "runs.py": {"pause", "resume", "cancel", "_require_more"},
    REPOSITORY / "trainer" / "services" / "usage.py": {"require_left"},
    REPOSITORY / "tasks" / "services" / "licences.py": {"check"},
}
A_CODE = re.compile(r"[a-z0-9]+(_[a-z0-9]+)+|busy|timeout|unloaded|refused")


def codes_of(path: Path, makers: set[str], verbs: set[str] | None = None) -> set[str]:
    """What stands as a code where a refusal is made: its first word, or the named one. `verbs`: only in these."""
    found: set[str] = set()
    tree: ast.AST = ast.parse(path.read_text())
    chosen = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in (verbs or ())]
    for node in (inner for part in (chosen if verbs else [tree]) for inner in ast.walk(part)):
        if not isinstance(node, ast.Call):
            continue
        maker = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if maker in makers:
            given = node.args[:1] if maker in REFUSALS else node.args[1:2]
            given += [word.value for word in node.keywords if word.arg == "code"]
            found |= {one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return {code for code in found if A_CODE.fullmatch(code)}


def raised_codes() -> set[str]:
    found = set().union(*(codes_of(path, REFUSALS | OTHERS) for path in RAISING))
    found |= {f"upload_{state}" for state in parts._OVER}
    found = found.union(*(codes_of(path, REFUSALS, verbs) for path, verbs in VERBS.items()))
    return found.union(*(codes_of(path, OTHERS) for path in MODEL_SERVER))


def told_codes() -> dict[str, list[str]]:
    return {code: cells[1:] for cells in table_rows(PARTS["Errors"]) for code in named(cells[0])}


def test_every_code_that_is_raised_has_a_line():
    assert raised_codes() - set(told_codes()) == set()


def test_a_line_says_status_and_remedy():
    for code, (status, remedy) in told_codes().items():
        assert re.fullmatch(r"\d{3}(, \d{3})*", status), code
        assert remedy.endswith("."), code


# Hyperparameters


def told_hyperparameters() -> dict[str, list[str]]:
    return {cells[0].strip("`"): cells[1:] for cells in table_rows(PARTS["Hyperparameters"])}


def test_every_hyperparameter_is_on_the_page_and_no_other():
    assert set(told_hyperparameters()) == set(job_requests.Hyperparameters.__struct_fields__)


@pytest.mark.parametrize("name", sorted(job_requests.Hyperparameters.__struct_fields__))
def test_the_ends_of_a_range_are_accepted_and_what_is_beyond_is_not(name: str):
    ends = [float(end.replace(",", "")) for end in re.findall(r"[\d,]*\d(?:\.\d+)?", told_hyperparameters()[name][0])]
    if not ends:
        assert named(told_hyperparameters()[name][0]) == set(hyperparameters.EFFORTS)
        return

    def accepted(value: float) -> bool:
        try:
            given = {name: int(value) if value == int(value) else value}
            return bool(msgspec.convert(given, job_requests.Hyperparameters))
        except msgspec.ValidationError:
            return False

    low, high = ends[0], ends[-1]
    assert accepted(high)
    assert accepted(low if low else 0.01)
    assert not accepted(low - 1 if low else 0)
    assert not accepted(high + 1) or "or more" in told_hyperparameters()[name][0]


def test_what_a_hyperparameter_sets_is_a_knob_of_a_run():
    for _, knob, _ in told_hyperparameters().values():
        assert named(knob) <= set(RunSpec.__struct_fields__)


def test_steps_are_as_the_page_counts_them():
    asked = Asked(epochs=3, prompts_per_step=32)

    resolved, _ = hyperparameters.resolve(asked, rows=100, validation=10, parameters=10**6, seed=1)

    assert "⌈100 / 32⌉ = 12" in PARTS["Hyperparameters"]
    assert resolved.spec.steps == 12


def test_efforts_multiply_the_room_for_an_answer_as_the_page_says():
    cell = told_hyperparameters()["reasoning_effort"][2]
    told = {name: float(factor) for name, factor in re.findall(r"`(\w+)` (?:× )?([\d.]+)", cell)}

    assert told == dict(hyperparameters.EFFORTS)


def test_the_page_says_how_large_what_lists_repeat_may_be():
    told = next(cells[1] for cells in table_rows(PARTS["What differs"]) if cells[0] == "what lists repeat")

    assert {evals.MOST_SCHEMA_BYTES, file_runs.MOST_FORMAT_BYTES, eval_bodies.MOST_BYTES} == {registry.MAX_CONFIG_BYTES}
    numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", told)]
    assert numbers == [registry.MAX_CONFIG_BYTES, evals.MOST_CRITERIA_BYTES, lists.PAGE_BYTES >> 20]


# What it says to type


def test_the_command_takes_the_options_that_the_page_shows():
    command = load_command_class("flywheel.openai_compat.moving", "import_openai")
    parser = command.create_parser("manage.py", "import_openai")
    known = {option for action in parser._actions for option in action.option_strings}

    shown = [words for name, *words in commands(DOCUMENT) if name == "import_openai"]

    assert shown
    assert {word for words in shown for word in words if word.startswith("--")} <= known


def test_the_script_that_exports_is_the_one_of_the_samples():
    assert blocks(DOCUMENT, "python")[1].strip() == Path(openai_export.__file__).read_text().strip()


def test_the_layout_of_an_export_names_what_the_script_writes():
    layout = PARTS["Bring along what you have"]

    assert {"files.json", "jobs.json", "evals.json", "graders/*.json"} <= named(layout)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["openai", "openai-graders", "openai-evals"])
def test_the_page_is_shown_in_the_portal(name: str, client: Client):
    client.force_login(cast.of_own_team("carla").user, backend="django.contrib.auth.backends.ModelBackend")

    page = client.get(f"/docs/{name}").content.decode()

    for heading in sections((REPOSITORY / "docs" / f"{name}.md").read_text(), 2):
        assert f">{heading.replace(chr(39), '&#x27;')}</h2>" in page


def test_the_readme_shows_the_session_as_it_is():
    session = (REPOSITORY / "flywheel" / "samples" / "rft_session.py").read_text()

    assert f"```python\n{session}```" in (REPOSITORY / "README.md").read_text()
