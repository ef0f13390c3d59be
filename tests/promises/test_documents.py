"""Documents are tested like code: commands, addresses, links, rows, tables and settings are those of the product."""

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from django.urls import Resolver404, resolve

from flywheel.samples.families import FAMILIES
from tasks.formats import mapping
from tasks.formats.codes import CODES
from tasks.graders import json_match, registry
from tasks.states import APPEAL_MOVES, CHANGE_MOVES, PROOF_MOVES, TASK_MOVES, UPLOAD_MOVES, WRAPPER_MOVES
from tasks.types import Row
from tasks.validation import validate
from trainer.evaluation.policy import GatePolicy
from trainer.presets import PRESETS
from trainer.server.__main__ import parse_arguments
from trainer.states import DELIVERY_MOVES, EVALUATION_MOVES, RUN_MOVES

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
README, ARCHITECTURE, CONTRIBUTING, CHANGELOG, GRADERS, FORMATS, ERRORS = (
    REPOSITORY / name
    for name in (
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/graders.md",
        "docs/formats.md",
        "docs/errors.md",
    )
)
MODELS = REPOSITORY / "docs" / "models.md"
PORTAL = "http://127.0.0.1:8000"


def blocks(document: Path, language: str) -> list[str]:
    """The contents of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def sections(text: str, level: int) -> dict[str, str]:
    """Heading → what stands under it, for headings of one level. Fenced blocks hold no headings."""
    parts = re.split(rf"^{'#' * level} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table_rows(text: str) -> Iterator[list[str]]:
    """Cells of every table row without its head and rule."""
    for table in re.findall(r"(?:^\|.*\|\n)+", text + "\n", re.MULTILINE):
        for line in table.splitlines()[2:]:
            yield [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def named(text: str) -> set[str]:
    """Everything in backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


# Links, paths, commands, addresses


def links(document: Path) -> list[str]:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    return [target for target in targets if not target.startswith(("http://", "https://"))]


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading(document: Path):
    broken = []
    for link in links(document):
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_of_the_tree_that_a_document_names_exists(document: Path):
    roots = ("tasks/", "trainer/", "flywheel/", "tests/", "templates/", "docker/", "docs/")
    paths = {name for name in named(document.read_text()) if name.startswith(roots) and re.fullmatch(r"[\w./-]+", name)}
    examples = {"tests/tasks/graders/test_yes_no.py", "tests/a/b/test_c.py"}

    assert [path for path in sorted(paths - examples) if not (REPOSITORY / path).exists()] == []


def test_every_make_target_that_a_document_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    texts = [text for document in DOCUMENTS for text in [*blocks(document, "sh"), *named(document.read_text())]]
    asked = {
        word for text in texts for word in re.findall(r"(?:^|\s)make (?:[A-Z_]+=\S+ )*([a-z-]+)", text, re.MULTILINE)
    }

    assert {"up", "test", "turn", "install"} <= asked <= targets


def commands(document: Path) -> list[list[str]]:
    """Words of every `manage.py …` that a document shows."""
    texts = [*blocks(document, "sh"), *named(document.read_text())]
    joined = "\n".join(texts).replace("\\\n", " ")
    return [line.split() for line in re.findall(r"manage\.py ([a-z_][^\n|>#]*)", joined)]


@pytest.mark.parametrize("document", [README, GRADERS, MODELS], ids=lambda path: path.name)
def test_every_management_command_and_option_exists(document: Path):
    known, wrong = get_commands(), []
    for name, *words in commands(document):
        if name not in known:
            wrong.append(name)
            continue
        app = known[name]
        command = load_command_class(app, name) if isinstance(app, str) else app
        parser = command.create_parser("manage.py", name)
        options = {option for action in parser._actions for option in action.option_strings}
        wrong += [f"{name} {word}" for word in words if word.startswith("--") and word not in options]

    assert wrong == []


def addresses(document: Path) -> set[str]:
    found = re.findall(rf"{PORTAL}(/[^\s\"'`)?;]*)", document.read_text())
    return {path.rstrip(".,") for path in found} - {"/openai/v1"}  # a base address, with nothing of its own


@pytest.mark.parametrize("document", [README, MODELS], ids=lambda path: path.name)
def test_every_address_of_the_portal_in_a_document_exists(document: Path):
    unknown = []
    for path in addresses(document):
        try:
            if resolve(path).url_name == "unknown":
                unknown.append(path)
        except Resolver404:
            unknown.append(path)

    assert unknown == []


def test_every_reply_that_a_document_shows_is_json():
    shown = [block for document in DOCUMENTS for block in blocks(document, "json")]

    assert [block for block in shown if not isinstance(json.loads(block), dict)] == []


# Settings


def _first_argument(call: ast.Call) -> str | None:
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def environment_variables(path: Path) -> set[str]:
    """What a module reads: env.str("X"), _whole("X"), _secret("X"), os.environ.get("X"), claim_port("X")."""
    readers = {"str", "bool", "list", "db_url", "get", "pop", "_whole", "_word", "_one_of", "_secret", "claim_port"}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            variable = _first_argument(node) if name in readers else None
            if variable and re.fullmatch(r"[A-Z][A-Z0-9_]+", variable):
                found.add(variable)
    return found


def model_server_variables(capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    return set(re.findall(r"MODEL_SERVER_[A-Z_]+", capsys.readouterr().out))


def test_every_setting_is_in_the_readme(capsys: pytest.CaptureFixture[str]):
    modules = [REPOSITORY / "flywheel" / "settings.py", *(REPOSITORY / "flywheel" / "embedded").glob("*.py")]
    modules += [*(REPOSITORY / "trainer" / "server").glob("*.py"), *(REPOSITORY / "trainer" / "engine").glob("*.py")]
    modules += [REPOSITORY / "tasks" / name for name in ("graders/judges.py", "formats/hub.py")]
    modules += [*(REPOSITORY / "tasks" / "management" / "commands").glob("*.py")]
    read = set().union(*(environment_variables(path) for path in modules)) | model_server_variables(capsys)
    # The shell's, a key of Django's, and what `accelerate launch` tells each of its processes.
    not_ours = {"PATH", "OPTIONS", "RANK", "LOCAL_RANK", "WORLD_SIZE"}

    documented = named(sections(README.read_text(), 2)["Settings"])

    assert read - not_ours - documented == set()


def test_every_variable_of_the_compose_file_is_in_the_readme():
    read = set(re.findall(r"\$\{([A-Z_]+)", (REPOSITORY / "docker" / "compose.yaml").read_text()))
    told = sections(README.read_text(), 2)["Docker"]

    assert [name for name in sorted(read) if not re.search(rf"\b{name}\b", told)] == []


def test_every_variable_of_the_makefile_is_in_a_document():
    read = set(re.findall(r"^([A-Z_]+) \?=", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    text = README.read_text() + CONTRIBUTING.read_text()

    assert [name for name in sorted(read) if name not in text] == []


# var/turn.json, presets, policy


def keys_written_by(path: Path) -> set[str]:
    """Keys of every dictionary that a module writes as a literal, and the names that it keeps of another."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Dict):
            found |= {key.value for key in node.keys if isinstance(key, ast.Constant)}
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "kept":
            found |= set(ast.literal_eval(node.value))
    return found


def test_every_part_of_a_card_and_every_outcome_of_reproduce_is_in_the_page_of_models():
    from trainer import model_card
    from trainer.services.reproducing import Outcome

    facts = model_card.Facts("shared/v0", "Shared", "0" * 64, "2026-01-02", 1, 1, True)
    parts = set(sections(model_card.write(facts), 2)) | {"header"}

    assert {cells[0] for cells in table_rows(sections(MODELS.read_text(), 2)["The card"])} == parts
    told = table_rows(sections(MODELS.read_text(), 2)["Making a version again"])
    assert {cells[0].strip("`") for cells in told} == {str(outcome) for outcome in Outcome}


def test_every_field_of_the_turns_report_is_explained():
    command = REPOSITORY / "flywheel" / "pages" / "management" / "commands" / "tour.py"
    written = keys_written_by(REPOSITORY / "flywheel" / "tour" / "report.py") | keys_written_by(command)

    explained = named(sections(README.read_text(), 2)["The turn"])

    assert written - {part for name in explained for part in [name, *name.split(".")]} == set()


def test_every_preset_is_in_the_readme():
    assert set(PRESETS) - named(README.read_text()) == set()


def test_every_knob_of_a_gate_policy_is_in_the_readme():
    assert set(GatePolicy.__struct_fields__) - named(sections(README.read_text(), 2)["The gate"]) == set()


def test_the_readme_says_how_much_of_the_demonstrations_is_wrong():
    shares = [round(100 * family.flawed_share) for family in FAMILIES]

    told = sections(README.read_text(), 2)["What the demonstration shows, and what it does not"]

    assert f"{min(shares)} to {max(shares)} %, by family" in told


# States


@pytest.mark.parametrize(
    ("heading", "moves"),
    [
        ("Task", TASK_MOVES),
        ("Upload", UPLOAD_MOVES),
        ("Proof of an upload", PROOF_MOVES),
        ("Change of a dataset's grader", CHANGE_MOVES),
        ("Wrapper", WRAPPER_MOVES),
        ("Appeal", APPEAL_MOVES),
        ("Training run", RUN_MOVES),
        ("Evaluation, and the build of a base", EVALUATION_MOVES),
        ("Delivery of a webhook", DELIVERY_MOVES),
    ],
)
def test_the_tables_of_states_are_those_of_the_code(heading: str, moves: Mapping[StrEnum, frozenset[StrEnum]]):
    table = sections(sections(ARCHITECTURE.read_text(), 2)["States"], 3)[heading]

    told = {old.strip("`"): named(new) for old, new in table_rows(table)}

    assert told == {str(old): {str(state) for state in new} for old, new in moves.items()}


# Formats, graders, codes


@pytest.mark.parametrize("line", [line for block in blocks(FORMATS, "jsonl") for line in block.splitlines()])
def test_a_row_of_the_formats_page_is_valid(line: str):
    assert isinstance(validate(json.loads(line), line=1), Row)


def dialect_rows() -> list[tuple[str, str]]:
    return re.findall(r"^```jsonl dialect=(\w+)\n(.*)\n```$", FORMATS.read_text(), re.MULTILINE)


@pytest.mark.parametrize(("dialect", "line"), dialect_rows())
def test_a_row_of_another_system_is_recognised_and_valid(dialect: str, line: str):
    row = json.loads(line)
    guessed = mapping.guess(list(row), [row])

    native = mapping.apply(guessed.mapping, row, 1)

    assert guessed.mapping.dialect == dialect
    assert isinstance(native, dict)
    assert isinstance(validate(native, line=1, default=guessed.grader), Row)


def test_the_formats_page_shows_every_dialect():
    assert {dialect for dialect, _ in dialect_rows()} == set(mapping.DIALECTS) - {"native"}


def test_the_formats_page_shows_every_field_of_a_row():
    from tasks.formats.native import RESERVED

    told = named(sections(FORMATS.read_text(), 2)["The native row"])

    assert {*RESERVED, "reference"} - told == set()


def grader_sections() -> dict[str, str]:
    found = sections(GRADERS.read_text(), 2)
    return {heading: text for heading, text in found.items() if re.fullmatch(r"[a-z_]+", heading)}


def test_every_grader_has_its_section_and_no_section_is_left_over():
    assert list(grader_sections()) == [entry["type"] for entry in registry.describe()]


def graded_replies() -> list[Any]:
    cases = []
    for kind, text in grader_sections().items():
        row = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
        if registry.asks_a_model(row["grader"]):
            continue  # tests/tasks/graders/test_score_model.py runs these with the verdicts that the page shows
        replies = [cells for cells in table_rows(text.partition("| field |")[0]) if len(cells) == 3]
        cases += [pytest.param(kind, row, *cells, id=f"{kind}: {cells[0]}") for cells in replies]
    return cases


@pytest.mark.parametrize(("kind", "row", "reply", "outcome", "score"), graded_replies())
def test_a_reply_of_the_graders_page_earns_the_grade_it_says(
    kind: str, row: dict[str, Any], reply: str, outcome: str, score: str
):
    checked = validate(row, line=1)
    assert isinstance(checked, Row)
    assert row["grader"]["type"] == kind

    grade = registry.grade(row["grader"], reply.strip("`"), checked.item)

    assert (grade.outcome, round(grade.score, 4)) == (outcome, float(score))


@pytest.mark.parametrize("kind", sorted({param.values[0] for param in graded_replies()}))
def test_the_graders_page_shows_a_right_and_a_wrong_reply(kind: str):
    outcomes = {param.values[3] for param in graded_replies() if param.values[0] == kind}

    assert outcomes >= {"correct", "incorrect"}


@pytest.mark.parametrize("kind", [entry["type"] for entry in registry.describe()])
def test_every_field_of_a_grader_is_explained(kind: str):
    fields = set(registry.modules()[kind].Config.__struct_fields__) - {"name", "pass_threshold"}
    if kind == "json_match":
        fields |= set(json_match.Field.__struct_fields__)

    told = {cells[0].strip("`") for cells in table_rows(grader_sections()[kind])}

    assert fields - told == set()


# Where a flag stands among the arguments of what makes a finding
FLAG_ARGUMENTS = {
    "ModelFault": slice(0, 1),
    "AuthorFault": slice(0, 1),
    "NoVerdict": slice(0, 1),
    "CodeFault": slice(0, 1),
    "Invalid": slice(0, 1),
    "Unreadable": slice(1, 2),
    "ungradable": slice(1, None),
    "wrong": slice(2, None),
    "scored": slice(5, None),
    "Verdict": slice(1, 2),
}


def flags_of(path: Path) -> set[str]:
    """The flags that a module gives, written where they are given or in what the module names there."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    assigned = assignments(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "Verdict" and ast.unparse(node.args[0]) != "False":  # of another kind, with a score
            continue
        for given in node.args[FLAG_ARGUMENTS.get(name, slice(0, 0))]:
            found |= texts_of(given, assigned)
    return {text for text in found if re.fullmatch(r"[a-z]+(?:_[a-z]+)+", text)}


def assignments(tree: ast.Module) -> dict[str, ast.expr]:
    """Name → what it stands for, those of `a, b = …` too."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            pairs = zip(target.elts, value.elts, strict=True) if several else [(target, value)]  # type: ignore[attr-defined]
            found |= {each.id: worth for each, worth in pairs if isinstance(each, ast.Name)}
    return found


def texts_of(value: ast.expr, assigned: Mapping[str, ast.expr]) -> set[str]:
    """The texts that an expression may come to. What it merely asks about is none of them."""
    if isinstance(value, ast.Constant):
        return {value.value} if isinstance(value.value, str) else set()
    if isinstance(value, ast.Name):
        return texts_of(assigned[value.id], {}) if value.id in assigned else set()
    parts = [part for part in ast.iter_child_nodes(value) if isinstance(part, ast.expr)]
    if isinstance(value, ast.IfExp):
        parts = [value.body, value.orelse]
    elif isinstance(value, ast.Dict):
        parts = value.values
    elif isinstance(value, ast.Call):  # NAMES.get(what is looked up, otherwise)
        parts = [value.func, *value.args[1:]]
    return set().union(*(texts_of(part, assigned) for part in parts))


def test_the_table_of_flags_names_every_flag_of_the_code_and_no_other():
    modules = [*(REPOSITORY / "tasks" / "graders").glob("*.py"), REPOSITORY / "tasks" / "sandbox" / "programs.py"]
    given = set().union(*(flags_of(path) for path in modules))

    rows = table_rows(sections(GRADERS.read_text(), 2)["Flags"])

    assert sorted(set().union(*(named(row[0]) for row in rows))) == sorted(given)


def test_the_errors_page_is_the_table_of_codes():
    told = {cells[0].strip("`"): (cells[1], cells[2]) for cells in table_rows(ERRORS.read_text())}

    assert told == {code: (entry.sentence.replace("{detail}", "…"), entry.remedy) for code, entry in CODES.items()}


# The worked example of a grader


@pytest.fixture
def with_the_example_grader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The grader of CONTRIBUTING as one more file of the package."""
    from tasks import graders

    source = blocks(CONTRIBUTING, "python")[0]
    (tmp_path / "yes_no.py").write_text(source)
    monkeypatch.setattr(graders, "__path__", [*graders.__path__, str(tmp_path)])
    registry.modules.cache_clear()
    yield
    monkeypatch.undo()
    registry.modules.cache_clear()
    sys.modules.pop("tasks.graders.yes_no", None)
    vars(graders).pop("yes_no", None)


@pytest.mark.parametrize(
    ("reply", "outcome"), [("No, 91 is 7 × 13.", "correct"), ("Yes.", "incorrect"), ("Perhaps.", "incorrect")]
)
def test_the_example_of_a_grader_works_as_one_new_file(with_the_example_grader: None, reply: str, outcome: str):
    config = registry.modules()["yes_no"].EXAMPLE["grader"]

    assert registry.grade(config, reply, {"reference": "no"}).outcome == outcome


def test_the_example_of_a_grader_blames_the_author_for_a_bad_reference(with_the_example_grader: None):
    assert registry.grade({"type": "yes_no"}, "yes", {"reference": "maybe"}).outcome == "ungradable"


def test_the_example_of_a_grader_is_proved_by_its_own_gold(with_the_example_grader: None):
    from tasks import proof

    found = proof.prove({"type": "yes_no"}, {"reference": "no"}, None, "Is 91 prime?", ["yes"])

    assert found.outcome == proof.ProofOutcome.PROVED


# Changelog


def test_the_changelog_begins_with_the_version_of_the_package():
    version = re.search(r'^version = "(.+)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None

    newest = next(iter(sections(CHANGELOG.read_text(), 2)))

    assert newest.startswith(version[1])
