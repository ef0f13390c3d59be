"""docs/openai-files.md against the code: every refusal of the services and the surface, every status, every purpose."""

import re
from pathlib import Path

from tasks.services import files, parts
from tasks.states import FilePurpose, PartsState

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "openai-files.md").read_text()
SOURCES = (
    *("tasks/services/files.py", "tasks/services/parts.py", "tasks/services/storage.py"),
    *("flywheel/openai_compat/files.py", "flywheel/openai_compat/uploads.py", "flywheel/http/bodies.py"),
)
# Said of any request on this surface.
OF_EVERYTHING = {"not_found", "no_space", "unknown_parameter", "missing_required_parameter"}


def raised() -> set[str]:
    found = re.compile(r'(?:Invalid|TooLarge|NotFound|NoSpace|Conflict|Gone)\(\s*"(\w+)"')
    return {code for path in SOURCES for code in found.findall((REPOSITORY / path).read_text())}


def told() -> set[str]:
    table = PAGE.partition("## What it may refuse")[2]
    return {
        code for row in re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE) for code in re.findall(r"`(\w+)`", row)
    }


def test_every_refusal_is_told():
    ended = {f"upload_{state}" for state in PartsState if state is not PartsState.PENDING}

    assert raised() - OF_EVERYTHING | ended == told()


def test_every_purpose_is_told():
    assert {str(purpose) for purpose in FilePurpose} <= set(re.findall(r"`([\w-]+)`", PAGE))


def test_the_limits_are_those_of_the_code():
    assert f"at most {parts.PART_BYTES // 2**20} MiB" in PAGE
    assert parts.LIFETIME.total_seconds() == 3600
    assert files.REPEATED_WITHIN.total_seconds() == 1800
