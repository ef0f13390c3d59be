"""Every variable that an operator may set stands in the README."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
READERS = {"str", "bool", "int", "list", "db_url", "_whole", "_word", "_one_of", "_secret", "getenv"}
# Set by one of our processes for another, never by an operator.
INTERNAL = re.compile(r"FLYWHEEL_\w+|PATH|HOME|DJANGO_\w+|TEST_DATABASE_NAME|PYTHON\w*|OMP_\w+|TOKENIZERS_\w+|HF_\w+")


def _named(tree: ast.AST) -> Iterator[str]:
    """Names that settings.py reads through its typed readers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            value = node.args[0].value
            if name in READERS and isinstance(value, str) and re.fullmatch(r"[A-Z][A-Z0-9_]+", value):
                yield value


def settings_read() -> list[str]:
    tree = ast.parse((REPOSITORY / "flywheel" / "settings.py").read_text())
    return sorted({name for name in _named(tree) if not INTERNAL.fullmatch(name)})


def test_the_settings_are_found():
    assert {"DATABASE_URL", "REDIS_URL", "DATA_DIR", "SECRET_KEY", "ENGINE_SLOTS"} <= set(settings_read())


@pytest.mark.parametrize("name", settings_read())
def test_a_setting_stands_in_the_readme(name: str):
    assert f"`{name}`" in README.read_text()
