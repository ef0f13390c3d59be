"""Grader configurations as rows: equal configurations are one row."""

from collections.abc import Mapping
from typing import Any

import msgspec

from tasks.errors import Invalid
from tasks.graders import judges, registry
from tasks.models import Grader


def keep(config: Mapping[str, Any]) -> Grader:
    """The row of this configuration. Raises Invalid where it cannot be right."""
    parsed = registry.parse(config)
    grader, _ = Grader.objects.get_or_create(
        digest=registry.digest(parsed),
        defaults={"type": str(parsed.__struct_config__.tag), "config": msgspec.json.decode(registry.canonical(parsed))},
    )
    return grader


def require_usable(config: Mapping[str, Any], space: int) -> None:
    """Raises Invalid where this machine cannot run the grader or a trial shows that it cannot work. May take seconds:
    ask before a transaction. `space`: whose served models may judge."""
    parsed = registry.parse(config)
    with judges.for_team(space):
        if sentence := registry.unavailable(parsed):
            raise Invalid("grader_unavailable", sentence, "grader")
        if sentence := registry.trial_problem(parsed):
            raise Invalid("bad_grader", sentence, "grader")
