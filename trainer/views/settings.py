"""The settings of a run as rows of a table: what is set, in which unit, why, and what 0 would do."""

from collections.abc import Mapping
from typing import Any

import msgspec

from trainer.runspec import RunSpec, knobs

ASKED, DEFAULT = "as asked for", "the default"


def rows(
    spec: RunSpec | Mapping[str, Any], reasons: Mapping[str, str], fields: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Every knob in order. `fields`: those of a form by name, where knobs can be set beside their values."""
    values = msgspec.to_builtins(spec) if isinstance(spec, RunSpec) else spec
    found = []
    for knob in knobs():
        value = values.get(knob.name, knob.default)
        why = reasons.get(knob.name) or (DEFAULT if value == knob.default else ASKED)
        field = fields.get(knob.name) if fields else None
        found.append({"knob": knob, "value": shown(value), "why": why, "field": field})
    return found


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def asked_for(spec: Mapping[str, Any], reasons: Mapping[str, str]) -> list[str]:
    """Names of the knobs that somebody has set: neither decided by the preset nor left at their default."""
    return [
        knob.name
        for knob in knobs()
        if knob.name != "preset" and knob.name not in reasons and spec.get(knob.name, knob.default) != knob.default
    ]
