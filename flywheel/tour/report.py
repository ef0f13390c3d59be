"""var/turn.json: what a turn took in, made and decided, read from the rows."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Min

from tasks.models import ProofRun, Task, Upload
from tasks.states import TaskState
from trainer.models import AliasMove, BaseBuild, GateReport, Line, TrainingRun
from trainer.states import AliasName


def turn_report(
    line: Line, run: TrainingRun, report: GateReport, uploads: list[int], chat: dict[str, Any]
) -> dict[str, Any]:
    return {
        "rows": _rows(uploads),
        "mixture": _mixture(run),
        "suites": [_suite(row, report) for row in report.decision["rows"]],
        "plan": report.evaluation.plan.get("sentences", []),
        "kl_to_initial": run.kl,
        "verdict": {
            "verdict": report.verdict,
            "sentence": report.sentence,
            "reasons": [reason["sentence"] for reason in report.decision["reasons"]],
        },
        "champion": _champion(line, report),
        "chat": chat,
        "seconds": _seconds(line, run, report, uploads),
        "began": _began(run),
        "attempts": {"run": run.attempt, "evaluation": report.evaluation.attempt},
    }


def memory() -> dict[str, Any]:
    """Peak memory of each part of the stack so far, as its supervisor sampled it; {} outside of the stack."""
    path = Path(settings.DATA_DIR) / "stack" / "memory.json"
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming = path.with_name(f".{path.name}.{os.getpid()}")
    incoming.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    incoming.replace(path)


def _rows(uploads: list[int]) -> dict[str, Any]:
    counts = list(Upload.objects.filter(pk__in=uploads).values_list("counts", flat=True))
    rejected: dict[str, int] = {}
    for count in counts:
        for code, n in count.get("rejected", {}).items():
            rejected[code] = rejected.get(code, 0) + n
    states = Task.objects.filter(memberships__upload__in=uploads).order_by().values_list("state")
    by_state = dict(states.annotate(n=Count("pk", distinct=True)))
    proofs = ProofRun.objects.filter(upload__in=uploads).values_list("counts", flat=True)
    return {
        "uploaded": sum(count.get("rows", 0) for count in counts),
        "valid": sum(count.get("valid", 0) for count in counts),
        "rejected": rejected,
        "duplicates": sum(count.get("duplicates", 0) for count in counts),
        "conflicts": sum(count.get("conflicts", 0) for count in counts),
        "proved": sum(count.get("proved", 0) for count in proofs),
        "approved": by_state.get(TaskState.APPROVED, 0),
        "by_state": by_state,
    }


def _mixture(run: TrainingRun) -> dict[str, Any]:
    mixture = run.mixture
    assert mixture is not None
    return {
        "size": mixture.size,
        "digest": mixture.digest,
        "by_domain": mixture.by_domain,
        "by_contributor": mixture.by_contributor,
        "notes": mixture.notes,
    }


def _suite(row: dict[str, Any], report: GateReport) -> dict[str, Any]:
    planned = {suite["suite"]: suite for suite in report.evaluation.plan.get("suites", [])}
    kept = (
        "suite",
        "role",
        "n",
        "answers_per_item",
        "champion",
        "candidate",
        "difference",
        "low",
        "high",
        "margin",
        "finding",
        "sentence",
    )
    plan = planned.get(row["suite"], {})
    return {**{name: row[name] for name in kept}, "planned_minimal_effect": plan.get("minimal_effect")}


def _began(run: TrainingRun) -> dict[str, Any]:
    """Who started the run: a person, or the schedule at a fire time with its reason."""
    firing = run.firings.select_related("schedule").first()
    if firing is None:
        return {"by": str(run.started_by), "reason": "", "cron": "", "due_at": None, "after_seconds": 0.0}
    return {
        "by": "the schedule",
        "reason": firing.reason,
        "cron": f"{firing.schedule.cron} {firing.schedule.timezone}",
        "due_at": firing.due_at.isoformat(),
        "after_seconds": _between(firing.due_at, run.created_at),
    }


def _champion(line: Line, report: GateReport) -> dict[str, Any]:
    moved = AliasMove.objects.filter(report=report).first()
    now = line.alias(AliasName.CHAMPION)
    return {"before": report.evaluation.champion.name, "after": moved.new.name if moved else now.name}


def _seconds(line: Line, run: TrainingRun, report: GateReport, uploads: list[int]) -> dict[str, float]:
    rows = Upload.objects.filter(pk__in=uploads).aggregate(start=Min("created_at"), end=Max("finished_at"))
    proofs = ProofRun.objects.filter(upload__in=uploads).aggregate(start=Min("started_at"), end=Max("finished_at"))
    build = BaseBuild.objects.get(line=line)
    evaluation = report.evaluation
    return {
        "base": _between(build.started_at, build.finished_at),
        "import": _between(rows["start"], rows["end"]),
        "proof": _between(proofs["start"], proofs["end"]),
        "training": _between(run.started_at, run.finished_at),
        "evaluation": _between(evaluation.started_at, evaluation.finished_at),
        "gate": _between(evaluation.finished_at, report.created_at),
        "data_to_verdict": _between(rows["start"], report.created_at),
    }


def _between(start: datetime | None, end: datetime | None) -> float:
    return round((end - start).total_seconds(), 2) if start and end else 0.0
