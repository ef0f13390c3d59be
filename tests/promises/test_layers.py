"""The pure modules load neither Django nor torch: checked in a fresh interpreter, for all that an import pulls in."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PURE = [
    "tasks/types.py",
    "tasks/errors.py",
    "tasks/states.py",
    "tasks/text.py",
    "tasks/wire.py",
    "tasks/validation.py",
    "tasks/proof.py",
    "tasks/formats",
    "tasks/graders",
    "tasks/sandbox",
    "tasks/dedup",
    "tasks/screening",
    "tasks/preparation.py",
    "tasks/splits.py",
    "tasks/crew.py",
    "trainer/contract.py",
    "trainer/runspec.py",
    "trainer/states.py",
    "trainer/mixing.py",
    "trainer/model_card.py",
    "trainer/weights.py",
    "trainer/rewards.py",
    "trainer/hacking.py",
    "trainer/fire_times.py",
    "trainer/evaluation",
    "trainer/launchers",
]
# What may not be loaded when every module of one entry has been imported.
HEAVY = {"django", "rest_framework", "celery", "psycopg", "torch", "transformers", "trl", "datasets"}


def _modules(entry: str) -> list[str]:
    """All modules of an entry by their dotted names; none where it does not exist yet."""
    path = REPOSITORY / entry
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path] * path.exists()
    return [".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__") for file in files]


def _loaded_by(modules: list[str]) -> set[str]:
    script = f"""
import importlib, sys
sys.path.insert(0, {str(REPOSITORY)!r})
for name in {modules!r}:
    importlib.import_module(name)
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("entry", [entry for entry in PURE if _modules(entry)])
def test_a_pure_module_loads_neither_django_nor_torch(entry: str):
    loaded = _loaded_by(_modules(entry))

    assert loaded & HEAVY == set()


@pytest.mark.parametrize("package", ["tasks", "trainer"])
def test_an_init_file_of_a_pure_package_stays_empty(package: str):
    inits = [REPOSITORY / package / "__init__.py", *(REPOSITORY / package).rglob("__init__.py")]

    filled = [str(path) for path in inits if path.read_text().strip() and path.parent.name != "models"]

    assert filled == []


def test_no_name_stands_for_leftovers():
    """import-linter's exhaustive layers keep them out of the first level; this does so on every level."""
    forbidden = {"utils", "util", "helpers", "helper", "common", "misc"}

    found = [path for app in ("flywheel", "tasks", "trainer") for path in (REPOSITORY / app).rglob("*")]

    assert [str(path) for path in found if path.stem in forbidden] == []
