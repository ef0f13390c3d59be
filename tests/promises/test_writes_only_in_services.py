"""Rows are written in services and nowhere else: views, commands, jobs and the admin call a verb."""

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("tasks", "trainer", "flywheel")
ALLOWED = ("services", "models", "migrations")
WRITES = {
    "save", "create", "bulk_create", "bulk_update", "update_or_create", "get_or_create", "delete",
    "acreate", "aupdate", "adelete", "asave", "advance", "advance_many", "advance_along",
    "set_password",
}  # fmt: skip
# `update` and `create` also name what hashes, dictionaries and services do: a write is one on a queryset or manager.
AMBIGUOUS = {"update", "create", "delete", "save"}
QUERYSET = {"objects", "filter", "exclude", "all", "for_user", "select_for_update", "order_by", "_base_manager"}


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            if not set(path.relative_to(REPOSITORY).parts) & set(ALLOWED):
                yield path


def _is_queryset(node: ast.expr) -> bool:
    """Whether an expression goes through a manager: Task.objects, rows.filter(…), self.get_queryset()."""
    while True:
        if isinstance(node, ast.Attribute):
            if node.attr in QUERYSET:
                return True
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return False


def writes(source: str) -> list[tuple[int, str]]:
    """(line, method) of every call that writes rows."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        (call.lineno, call.func.attr)
        for call in calls
        if isinstance(call.func, ast.Attribute) and _writes(call, call.func)
    ]


def _writes(call: ast.Call, method: ast.Attribute) -> bool:
    if method.attr in AMBIGUOUS:
        return _is_queryset(method.value) or (method.attr == "save" and not call.args)
    return method.attr in WRITES


# The API key's `last_used_at` is a note in passing, not a verb: nobody decides on it and no event tells of it.
EXCEPTIONS = {("flywheel/http/auth.py", "update")}


def test_rows_are_written_in_services_only():
    found = [
        f"{path.relative_to(REPOSITORY)}:{line} .{name}()"
        for path in _sources()
        for line, name in writes(path.read_text())
        if (str(path.relative_to(REPOSITORY)), name) not in EXCEPTIONS
    ]

    assert found == []


def test_the_scan_finds_a_write_through_a_manager():
    assert writes("Task.objects.filter(pk=1).update(state='approved')") == [(1, "update")]


def test_the_scan_finds_a_saved_row():
    assert writes("task.save()") == [(1, "save")]


def test_the_scan_lets_a_hash_and_a_verb_be():
    assert writes("digest.update(block); datasets.create(team, name)") == []
