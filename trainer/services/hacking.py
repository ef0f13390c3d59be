"""The engine's report of a run: could its reward be hacked? Stored with the run, shown to whom it may be shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tasks.models import Team
from trainer.contract import Report
from trainer.models import TrainingRun
from trainer.services import rows


def read(directory: Path) -> dict[str, Any] | None:
    """report.json as it is stored; None where the engine wrote none that can be read."""
    try:
        report = msgspec.json.decode((directory / "report.json").read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError):
        return None
    told: dict[str, Any] = _storable(msgspec.to_builtins(report))
    return told


def without_rows(report: Mapping[str, Any]) -> dict[str, Any]:
    """For those who may not read prompts: a check's sentence may name an answer too, its numbers tell nothing."""
    checks = [{**check, "examples": [], "sentence": _plain(check)} for check in report["checks"]]
    return {**report, "checks": checks}


def _plain(check: Mapping[str, Any]) -> str:
    if check["name"] != "one_answer" or check["value"] is None:
        return str(check["sentence"])
    share, limit = (f"{100 * check[name]:.0f} %" for name in ("value", "limit"))
    return f"{share} of {check['n']:,} answers are the same; up to {limit} would be no surprise."


def shown(run: TrainingRun, user: Any, team: Team | None = None) -> dict[str, Any]:
    """For a page and a reply: the report as the user may read it, and what did not hold."""
    report = run.report
    if report and not run.line.shows_rows_to(user, team):
        report = without_rows(report)
    return {"report": report, "report_failed": failed(report)}


def failed(report: Mapping[str, Any] | None) -> list[str]:
    """Titles of the checks that did not hold."""
    return [check["title"] for check in (report or {}).get("checks", []) if check["holds"] is False]


def _storable(value: Any) -> Any:
    """What a model says may hold what the database cannot store, wherever it stands."""
    if isinstance(value, str):
        return rows.storable(value)
    if isinstance(value, list):
        return [_storable(entry) for entry in value]
    return {name: _storable(entry) for name, entry in value.items()} if isinstance(value, dict) else value
