"""/submit/<id>/grader: what the graders of an upload let through, and a bench to try a better one on its rows."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from tasks.errors import Invalid
from tasks.forms import CostForm, DefaultGraderForm, grader_examples, teams_with
from tasks.models import Task, Upload
from tasks.services import matrix, regrading, reproving, tombstones
from tasks.states import ChangeState, Role, TaskState
from tasks.views import bench, live
from tasks.views.listing import whole
from tasks.views.scope import signed_in
from tasks.views.tried import SAID
from tasks.views.uploads import RESTING
from tasks.views.waiting import no_worker

GOING = (ChangeState.PENDING, ChangeState.CHANGING)
CELL_ROWS = 25


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def grader_page(request: HttpRequest, pk: int) -> HttpResponse:
    """POST works at the bench and stores nothing: what was typed comes back with what was found."""
    upload = find(request, pk)
    found = bench.lay_out(request, upload)
    context = {
        **_state(upload),
        **_cell(request, upload),
        "bench": found,
        "waiting": no_worker(request.user),
        "may_write": teams_with(signed_in(request), Role.CONTRIBUTOR).filter(pk=upload.dataset.team_id).exists(),
        "examples": grader_examples(),
        "api_body": _same_by_api(found),
        "change": upload.dataset.grader_changes.filter(state__in=GOING).select_related("new").first(),
        **_consequences(upload, found),
    }
    return render(request, "tasks/upload_grader.html", context, status=found.status)


def _consequences(upload: Upload, found: bench.Bench) -> dict[str, Any]:
    """What using the checked configuration would do, told before it is done."""
    if found.checked is None:
        return {}
    dataset = upload.dataset
    old = Task.objects.filter(memberships__dataset=dataset, grader=dataset.default_grader_id)
    approved = old.filter(state=TaskState.APPROVED).distinct().count() if dataset.default_grader_id else 0
    affected = regrading.affected(dataset) if found.checked.digest != dataset.default_grader_id else 0
    return {"affected": affected, "affected_approved": approved if affected else 0}


def _same_by_api(found: bench.Bench) -> str:
    """The body of POST /graders/run for the row in work."""
    row = {"task": found.member.task_id} if found.member else {"grader": {"type": "number"}, "item": {"reference": 42}}
    return json.dumps({**row, "completion": "It is 42."})


def find(request: HttpRequest, pk: int) -> Upload:
    mine = Upload.objects.for_user(request.user)
    return get_object_or_404(mine.select_related("dataset__team", "dataset__default_grader", "proof"), pk=pk)


@login_required
@require_safe
def grader_progress(request: HttpRequest, pk: int) -> HttpResponse:
    context = _state(find(request, pk))
    context["waiting"] = no_worker(request.user)
    return live.fragment(request, "tasks/_matrix.html", context, finished=context["finished"])


def _state(upload: Upload) -> dict[str, Any]:
    """The matrix, and how far the proof behind it is."""
    proof = getattr(upload, "proof", None)
    counts = proof.counts if proof else {}
    kinds = matrix.of(upload)
    done, total = counts.get("tasks", 0), upload.counts.get("valid", 0) + upload.counts.get("conflicts", 0)
    seconds = (timezone.now() - proof.started_at).total_seconds() if proof and proof.started_at else 0.0
    rate = done / seconds if seconds > 0 else 0.0
    finished = proof is not None and proof.state in RESTING
    stopped = _other_refusals(proof.refusals if proof else [], kinds)
    return {
        "upload": upload,
        "proof": proof,
        "kinds": sorted(map(_table, kinds), key=_worst_first),
        "unproved": _why_unproved(counts, kinds),
        "faults": _faults(counts.get("ungradable", {})),
        "done": done,
        "total": max(total, done),
        "rate": rate,
        "seconds_left": (total - done) / rate if rate and total > done else None,
        "finished": finished,
        "refusals": stopped,
        "again": finished and (bool(stopped) or any(c.outcome == "ungradable" and c.count for c in _cells(kinds))),
    }


def _other_refusals(refusals: list[str], kinds: list[matrix.KindMatrix]) -> list[str]:
    """Those that the matrix does not explain: a grader that failed too often, a proof that stopped its worker."""
    told = {sentence for kind in kinds for sentence in kind.refusals}
    return [sentence for sentence in refusals if sentence not in told]


def _cells(kinds: list[matrix.KindMatrix]) -> Iterator[matrix.Cell]:
    return (cell for kind in kinds for line in kind.lines for cell in line.cells)


_MUST = {True: "must pass", False: "must not pass"}
_COLUMNS = ("wrong", "right", "ungradable", "open")  # what matters most first: narrow screens show two


def _table(kind: matrix.KindMatrix) -> dict[str, Any]:
    """Cells under their columns: as it should be, a false accept or reject, not gradable, left out."""
    wrong = {"false_accept": 0, "false_reject": 0}
    lines = []
    for line in kind.lines:
        cells: dict[str, list[matrix.Cell]] = {column: [] for column in _COLUMNS}
        for cell in line.cells:
            cells[_column(cell)].append(cell)
            if cell.meaning in wrong:
                wrong[cell.meaning] += cell.count
        columns = [cells[column] for column in _COLUMNS]
        lines.append(
            {"name": line.name, "said": SAID[line.name], "must": _MUST[line.name == "gold"], "columns": columns}
        )
    count = Counter({cell.outcome: cell.count for cell in kind.lines[0].cells}) if kind.lines else Counter[str]()
    ungradable = sum(cell.count for line in kind.lines for cell in line.cells if cell.outcome == "ungradable")
    tried = count["earned"] + count["failed"] + count["ungradable"]
    return {"kind": kind, "lines": lines, "tried": tried, "ungradable": ungradable, **wrong}


def _worst_first(table: Mapping[str, Any]) -> tuple[bool, bool, str]:
    kind: matrix.KindMatrix = table["kind"]
    return not kind.refusal, not table["false_accept"] + table["false_reject"], kind.type


def _column(cell: matrix.Cell) -> str:
    if cell.outcome == "ungradable":
        return "ungradable"
    return {"right": "right", "open": "open"}.get(cell.meaning, "wrong")


def _why_unproved(counts: Mapping[str, Any], kinds: list[matrix.KindMatrix]) -> list[tuple[str, int]]:
    """Sentence → rows. What the matrix does not explain as missing or not sampled is a decoy that passed."""
    absent = sum(cell.count for cell in _cells(kinds) if cell.outcome == "absent")
    unsampled = sum(cell.count for cell in _cells(kinds) if cell.outcome == "not_sampled")
    left = counts.get("unproved", 0) - absent - unsampled
    reasons = (
        ("have no right answer to try: nobody can prove their grader on them", absent),
        ("were not in the sample that the judges were asked about", unsampled),
        ("have a wrong answer that passed, or that could not be graded", left),
    )
    return [(sentence, count) for sentence, count in reasons if count > 0]


def _faults(ungradable: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str, int]]:
    """(grader, flag, rows), the most frequent first."""
    rows = [(kind, flag, count) for kind, flags in ungradable.items() for flag, count in flags.items() if count]
    return sorted(rows, key=lambda row: -row[2])


def _cell(request: HttpRequest, upload: Upload) -> dict[str, Any]:
    """The rows of the cell that the address names."""
    kind, line, outcome = (request.GET.get(name, "") for name in ("grader", "row", "cell"))
    if not (kind and line and outcome):
        return {}
    after = whole(request.GET.get("after")) or 0
    try:
        found = matrix.rows(upload, kind, line, outcome, after=after, limit=CELL_ROWS)
    except Invalid as refused:
        return {"cell": {"kind": kind, "line": line, "outcome": outcome}, "cell_problem": refused.sentence}
    held = list(Task.objects.filter(pk__in=[row.task_id for row in found.rows]))
    tombstones.bury(held, request.user)
    prompts = {task.pk: task.prompt for task in held}
    return {
        "cell": {"kind": kind, "line": line, "outcome": outcome},
        "cell_rows": [(row, prompts.get(row.task_id, "")) for row in found.rows],
        "more_after": found.next_after,
    }


@login_required
@require_POST
def use_grader(request: HttpRequest, pk: int) -> HttpResponse:
    """The checked configuration becomes the dataset's; its rows are proved again."""
    upload = find(request, pk)
    form = DefaultGraderForm(request.POST)
    if not form.is_valid():
        raise Invalid("bad_grader", " ".join(map(str, form.errors["grader"])), "grader")
    rows = regrading.affected(upload.dataset)
    regrading.change_grader(upload.dataset, form.cleaned_data["grader"], actor=signed_in(request))
    again = f"{rows:,} rows are proved again with it now." if rows else "It is for rows to come that name none."
    messages.success(request, f"The dataset has its new grader. {again}")
    return redirect("upload-grader", pk)


@login_required
@require_POST
def prove_again(request: HttpRequest, pk: int) -> HttpResponse:
    rows = reproving.again(find(request, pk), actor=signed_in(request))
    messages.success(request, f"{rows:,} rows that could not be graded are proved again.")
    return redirect("upload-grader", pk)


@login_required
@require_POST
def confirm_cost(request: HttpRequest, pk: int) -> HttpResponse:
    """The go-ahead for judges; 0 rows: ask none."""
    upload = find(request, pk)
    form = CostForm(request.POST)
    if not form.is_valid():
        raise Invalid("bad_rows", "Say on how many rows the judges are asked: a whole number, 0 for none.", "rows")
    rows = form.cleaned_data["rows"]
    reproving.confirm_cost(upload, actor=signed_in(request), rows=rows)
    messages.success(request, "The judges are asked now." if rows else "No judge is asked: a person decides.")
    return redirect("upload-grader", pk)
