"""/evals: a team's own measures, their runs, and what each row got. For members of the team."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from tasks.graders import multi, registry
from tasks.types import Outcome
from tasks.views import live
from tasks.views.listing import exported, facts_of, page_of, whole
from trainer.models import Eval, EvalItem, EvalRun, Line
from trainer.services import eval_runs
from trainer.states import EVALUATION_ENDED, EvaluationState
from trainer.views.scope import PATIENCE

ROWS = 25  # of a run, on a page


@login_required
@require_safe
def eval_list(request: HttpRequest) -> HttpResponse:
    rows = _evals(request)
    if reply := exported(request, facts_of(rows[:10_000], _eval_facts), name="evals"):
        return reply
    page = page_of(request, rows)
    newest = EvalRun.objects.select_related("eval").in_bulk([one.newest for one in page.rows if one.newest])
    context = {"page": page, "rows": [(one, newest.get(one.newest)) for one in page.rows]}
    return render(request, "trainer/evals.html", context)


def _evals(request: HttpRequest) -> QuerySet[Any]:
    newest = EvalRun.objects.filter(eval=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    mine = Eval.objects.for_user(request.user).select_related("team", "created_by")
    return mine.annotate(run_count=Count("runs"), newest=Subquery(newest))


def _eval_facts(one: Any) -> dict[str, Any]:
    return {
        "id": one.pk,
        "team": one.team.slug,
        "name": one.name,
        "criteria": ", ".join(criterion["name"] for criterion in one.criteria),
        "runs": one.run_count,
        "created_at": one.created_at.isoformat(),
    }


@login_required
@require_safe
def eval_page(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(_evals(request), pk=pk)
    rows = found.runs.select_related("version__line", "created_by", "eval")
    counts = dict(found.runs.order_by().values_list("state").annotate(n=Count("pk")))
    newest = rows.filter(state=EvaluationState.SUCCEEDED)[:2]
    if state := request.GET.get("state"):
        rows = rows.filter(state=state)
    if reply := exported(request, facts_of(rows[:10_000], _run_facts), name=f"eval-{pk}-runs"):
        return reply
    context = {
        "eval": found,
        "page": page_of(request, rows),
        "states": [(state, counts.get(state.value, 0)) for state in EvaluationState],
        "total": sum(counts.values()),
        "finding": _finding(list(newest)),
        "shown_lines": _lines(request),
    }
    return render(request, "trainer/eval.html", context)


def _lines(request: HttpRequest) -> set[int]:
    """Those whose pages the user may open: another team may have given leave to ask one of its models, no more."""
    return set(Line.objects.for_user(request.user).values_list("pk", flat=True))


def _run_facts(run: EvalRun) -> dict[str, Any]:
    return {
        "id": run.pk,
        "name": run.name,
        "model": run.model,
        "state": run.state,
        "total": run.total,
        "passed": run.passed,
        "failed": run.failed,
        "errored": run.errored,
        "created_at": run.created_at.isoformat(),
    }


def _finding(newest: list[EvalRun]) -> str:
    """Of the newest run that is through, beside the one before it. A difference of two numbers, no verdict."""
    if not newest:
        return "No run is through yet."
    shares = [run.passed / run.total if run.total else 0.0 for run in newest]
    told = f"{newest[0].passed:,} of {newest[0].total:,} rows passed in the newest run ({100 * shares[0]:.1f} %)"
    return f"{told}, {100 * shares[1]:.1f} % in the one before it." if len(newest) > 1 else f"{told}."


@login_required
@require_safe
def run_page(request: HttpRequest, pk: int, run: int) -> HttpResponse:
    found = _run(request, pk, run)
    criteria = {criterion["key"]: criterion for criterion in found.eval.criteria}
    rows = found.items.exclude(status="")
    if (status := request.GET.get("status")) in EvalItem.Status.values:
        rows = rows.filter(status=status)
    if reply := exported(request, facts_of(rows[:50_000], _item_facts), name=f"eval-run-{run}"):
        return reply
    after = whole(request.GET.get("after"))
    items = list((rows.filter(position__gt=after) if after is not None else rows)[: ROWS + 1])
    context = {
        **_shown(found),
        "shown_lines": _lines(request),
        "items": [_item(item, criteria) for item in items[:ROWS]],
        "after": items[ROWS - 1].position if len(items) > ROWS else None,
        "is_first": after is None,
        "filters": [("pass", found.passed), ("fail", found.failed), ("error", found.errored)],
    }
    return render(request, "trainer/eval_run.html", context)


@login_required
@require_safe
def run_status(request: HttpRequest, pk: int, run: int) -> HttpResponse:
    shown = _shown(_run(request, pk, run))
    return live.fragment(request, "trainer/_eval_run_status.html", shown, finished=shown["ended"])


@login_required
@require_POST
def cancel(request: HttpRequest, pk: int, run: int) -> HttpResponse:
    eval_runs.cancel(_run(request, pk, run), actor=request.user)
    messages.success(request, "The run is cancelled. What was graded until now stays.")
    return redirect("eval-run", pk, run)


def _run(request: HttpRequest, pk: int, run: int) -> EvalRun:
    rows = EvalRun.objects.for_user(request.user).select_related("eval__team", "version__line", "created_by")
    found: EvalRun = get_object_or_404(rows, pk=run, eval=pk)
    return found


def _shown(run: EvalRun) -> dict[str, Any]:
    ended = run.state in EVALUATION_ENDED
    return {
        "run": run,
        "eval": run.eval,
        "ended": ended,
        "share": run.passed / run.total if run.total else None,
        "criteria": [_counted(run, criterion) for criterion in run.eval.criteria],
        "usage": sorted(run.usage.items()),
        "waiting": "" if ended else _waiting(run),
    }


def _waiting(run: EvalRun) -> str:
    """A sentence where nobody works on it, or its model does not answer."""
    if run.error:
        return f"{run.error['sentence']} The run goes on by itself when that is over; after a few tries it fails."
    since = run.lease_until if run.state == EvaluationState.RUNNING else run.created_at
    if since is not None and since < timezone.now() - PATIENCE:
        return "It waits and nobody works on it: no worker seems to be running. An operator starts one with `make up`."
    return ""


def _counted(run: EvalRun, criterion: Mapping[str, Any]) -> dict[str, Any]:
    counts = run.by_criterion.get(criterion["key"], {"passed": 0, "failed": 0, "errored": 0})
    graded = counts["passed"] + counts["failed"]
    share = counts["passed"] / graded if graded else None
    return {"name": criterion["name"], "type": criterion["grader"]["type"], **counts, "share": share}


def _item(item: EvalItem, criteria: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "row": item,
        "answer": item.answer or {},
        "results": [_result(result, criteria[result["key"]]) for result in item.results],
    }


def _result(result: Mapping[str, Any], criterion: Mapping[str, Any]) -> dict[str, Any]:
    ungradable = result["outcome"] == Outcome.UNGRADABLE
    score = None if ungradable else multi.in_range(registry.parse(criterion["grader"]), result["score"])
    return {**result, "name": criterion["name"], "score": score}


def _item_facts(item: EvalItem) -> dict[str, Any]:
    return {
        "row": item.position + 1,
        "status": item.status,
        "item": item.item,
        "answer": (item.answer or {}).get("text", ""),
        "scores": [result["score"] for result in item.results],
        "reasons": [result["reason"] for result in item.results],
    }
