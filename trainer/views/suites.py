"""/ops/models/<line>/suites: what a line is measured on, how often it was looked at, and what takes its place."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from tasks.errors import FlywheelError, Invalid
from tasks.services.storage import EMPTY
from tasks.states import Role
from tasks.views.listing import exported, facts_of, page_of
from trainer import catalogue
from trainer.forms import BringForm, ReasonForm, SuiteForm
from trainer.models import ImportedSuite, Line, SuiteVersion
from trainer.services import imported_suites, rotation, standings
from trainer.views.versions import find_line


@login_required
@require_safe
def suite_list(request: HttpRequest, slug: str) -> HttpResponse:
    return _page(request, find_line(request, slug))


def _page(request: HttpRequest, line: Line, form: SuiteForm | None = None) -> HttpResponse:
    versions = SuiteVersion.objects.filter(line=line)
    if name := request.GET.get("name"):
        versions = versions.filter(name=name)
    if reply := exported(request, facts_of(versions[:10_000], _facts), name=f"{line.slug}-suites"):
        return reply
    found = standings.of(line)
    context = {
        "line": line,
        "standings": found,
        "finding": standings.finding(found),
        "page": page_of(request, versions),
        "names": [(one.name, versions.filter(name=one.name).count()) for one in found] if not name else [],
        "name": name or "",
        "rotations": line.rotations.select_related("actor", "suite")[:20],
        "may_operate": _operates(request, line),
        "may_see_rows": line.shows_rows_to(request.user),
        "form": form or SuiteForm(),
        "catalogue": catalogue.entries().values(),
    }
    return render(request, "trainer/suites.html", context, status=400 if form else 200)


def _operates(request: HttpRequest, line: Line) -> bool:
    """An expert's contributors train it, and bring no suite: they must not know what is asked."""
    return bool(request.user.roles_in(line.team) & {Role.OPERATOR, Role.ADMINISTRATOR})  # type: ignore[union-attr]


def _facts(suite: SuiteVersion) -> dict[str, Any]:
    return {
        "id": suite.pk,
        "name": suite.name,
        "number": suite.number,
        "items": suite.item_count,
        "looks": suite.looks,
        "digest": suite.digest,
        "frozen_at": suite.created_at.isoformat(),
    }


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def rotate(request: HttpRequest, slug: str) -> HttpResponse:
    """Consequences first; the very rotation that would follow of a spent budget."""
    line, name = find_line(request, slug), request.GET.get("name", "")
    if request.method == "POST":
        form = ReasonForm(request.POST)
        reason = form.cleaned_data["reason"] if form.is_valid() else ""
        done = rotation.rotate(line, name, actor=request.user, reason=reason)
        messages.success(request, f"{name} was rotated: {done.sentence}")
        return redirect("line-suites", slug)
    get_object_or_404(SuiteVersion.objects.filter(line=line, name=name)[:1])
    context = {
        "line": line,
        "name": name,
        "prospect": rotation.prospect(line, name),
        "used": rotation.used(line, name),
        "may_operate": _operates(request, line),
    }
    return render(request, "trainer/suite_rotate.html", context)


@login_required
@require_POST
def create(request: HttpRequest, slug: str) -> HttpResponse:
    """A suite with its first file."""
    line, form = find_line(request, slug), SuiteForm(request.POST, request.FILES)
    if not form.is_valid():
        return _page(request, line, form)
    try:
        upload = _brought(request, _created(request, line, form), form)
    except FlywheelError as refused:
        form.add_error(refused.param if refused.param in form.fields else None, refused.sentence)
        return _page(request, line, form)
    return redirect("upload", upload.pk)


def _created(request: HttpRequest, line: Line, form: SuiteForm) -> ImportedSuite:
    given = form.cleaned_data
    if not given["file"].size:
        raise Invalid("empty_file", EMPTY, "file")
    entry = catalogue.find(given["catalogue"]) if given["catalogue"] else None
    return imported_suites.create(
        line,
        given["name"],
        source=given["source"] or (entry.source if entry else ""),
        licence=given["licence"] or (entry.licence if entry else ""),
        revision=given["revision"],
        grader=given["grader"],
        entry=entry,
        actor=request.user,
    )


@login_required
@require_POST
def bring(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """One more file for a suite that is there."""
    line, form = find_line(request, slug), BringForm(request.POST, request.FILES)
    suite = get_object_or_404(line.imported_suites.select_related("line__team", "dataset__team"), pk=pk)
    if not form.is_valid():
        raise Invalid("empty_file", EMPTY, "file")
    return redirect("upload", _brought(request, suite, form).pk)


def _brought(request: HttpRequest, suite: ImportedSuite, form: BringForm) -> Any:
    entry = catalogue.entries().get(suite.catalogue)
    file = form.cleaned_data["file"]
    upload, _ = imported_suites.bring(
        suite,
        file.chunks(),
        filename=file.name,
        actor=request.user,
        mapping=entry.mapping if entry else None,
    )
    return upload
