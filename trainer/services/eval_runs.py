"""Runs of an eval: begun over rows or a file, cancelled, deleted. What they do is in eval_running."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.db import transaction
from django.utils import timezone

from tasks.errors import Invalid, TooSlow
from tasks.models import File
from tasks.models.events import Subject, record
from tasks.services.access import require_role
from trainer.evaluation import eval_items, prompting
from trainer.evaluation.prompting import Prompt
from trainer.models import Eval, EvalItem, EvalRun, ModelVersion, RunCheckpoint
from trainer.services import wake
from trainer.services.evals import ANY_ROLE
from trainer.services.serving import Served
from trainer.states import EVALUATION_ENDED, EvaluationState

MOST_ROWS = 50_000
AT_ONCE = 1000  # rows of one INSERT
CHECK_SECONDS = 20  # for the schema of a request's rows: the request waits for it


@dataclass(frozen=True, slots=True)
class Asked:
    """A model that answers each item. None in its place: the rows bring their samples."""

    model: str  # its public name, as it was asked for
    served: Served
    prompt: Prompt
    sampling: Mapping[str, Any] = field(default_factory=dict)


def start(
    of: Eval,
    *,
    actor: Any,
    source: Mapping[str, Any],
    rows: Sequence[Any] | None = None,
    file: File | None = None,
    asked: Asked | None = None,
    name: str = "",
    metadata: Mapping[str, str] | None = None,
) -> EvalRun:
    """Queue a run over these rows, or over a file's. `source`: as it was asked for, kept for whoever asks again."""
    require_role(actor, of.team, *ANY_ROLE)
    if asked is not None and (problem := prompting.problem(asked.prompt)):
        raise Invalid("bad_prompt", problem, "prompt")
    if rows is not None:
        _require_usable(of, rows)
    with transaction.atomic():
        run = EvalRun.objects.create(
            eval=of,
            created_by=actor,
            name=name.strip()[:200],
            source=dict(source),
            file=file,
            loaded=rows is not None,
            total=len(rows or ()),
            metadata=dict(metadata or {}),
            **(_of_model(asked) if asked else {}),
        )
        add_items(run, 0, rows or ())
        _tell("created", run, actor, rows=run.total, model=asked.served.name if asked else None)
        wake.eval_run(run.pk)
    return run


def _of_model(asked: Asked) -> dict[str, Any]:
    return {
        "model": asked.model,
        "version": asked.served if isinstance(asked.served, ModelVersion) else None,
        "checkpoint": asked.served if isinstance(asked.served, RunCheckpoint) else None,
        "prompt": msgspec.to_builtins(asked.prompt),
        "sampling": dict(asked.sampling),
    }


def _require_usable(of: Eval, rows: Sequence[Any]) -> None:
    if not 1 <= len(rows) <= MOST_ROWS:
        raise Invalid("bad_rows", f"Give from 1 to {MOST_ROWS:,} rows.", "rows")
    fits, until = eval_items.schema_fits(of.item_schema), time.monotonic() + CHECK_SECONDS
    for number, row in enumerate(rows):
        if time.monotonic() > until:
            told = f"{number:,} of {len(rows):,} rows were checked in {CHECK_SECONDS} seconds: send the rows as a file."
            raise TooSlow("schema_too_slow", told, "rows")
        if wrong := eval_items.row_problem(row, fits):
            raise Invalid("bad_row", f"Row {number + 1} cannot be used: {wrong[1]}", f"rows[{number}].{wrong[0]}")


def add_items(run: EvalRun, first: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows that fit, from this position on."""
    items = (
        EvalItem(run=run, position=first + number, item=row["item"], sample=row.get("sample"))
        for number, row in enumerate(rows)
    )
    EvalItem.objects.bulk_create(items, batch_size=AT_ONCE)


@transaction.atomic
def cancel(run: EvalRun, *, actor: Any) -> EvalRun:
    """Nothing more is begun; what is being asked at this moment is thrown away. What was graded stays."""
    require_role(actor, run.eval.team, *ANY_ROLE)
    held = EvalRun.objects.select_for_update().get(pk=run.pk)
    state = EvaluationState(held.state)
    if state is EvaluationState.CANCELLED:
        return run
    if state in EVALUATION_ENDED:
        raise Invalid("run_ended", f"This run has {state.value} already: there is nothing left to cancel.")
    EvalRun.objects.advance(run.pk, state, EvaluationState.CANCELLED, actor=actor, finished_at=timezone.now())
    run.refresh_from_db()
    return run


@transaction.atomic
def delete(run: EvalRun, *, actor: Any) -> None:
    """With its rows, for good. One that is under way ends."""
    require_role(actor, run.eval.team, *ANY_ROLE)
    _tell("deleted", run, actor, state=run.state)
    run.delete()


def _tell(verb: str, run: EvalRun, actor: Any, **data: Any) -> None:
    subject = Subject("evalrun", str(run.pk))
    named = {"eval": run.eval_id, "name": run.name, **data}
    record(f"evalrun.{verb}", subject=subject, team=run.owner_team_id, actor=actor, data=named)
