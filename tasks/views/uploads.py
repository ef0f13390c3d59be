"""/submit: my uploads, a new one, and what became of each row."""

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import FlywheelError, Invalid
from tasks.forms import UploadForm, grader_examples
from tasks.models import Dataset, RowIssue, Upload
from tasks.proof import DecoyKind, DecoyOutcome
from tasks.services import datasets, fetching, licences, progress, resumable, storage, uploads
from tasks.states import ProofState, UploadState, Visibility
from tasks.views import afterwards, examples, found, live
from tasks.views.listing import exported, facts_of, page_of, whole
from tasks.views.scope import signed_in
from tasks.views.tried import SAID
from tasks.views.waiting import no_worker

PIECE_BYTES = 8 << 20  # that submit.js sends at a time: what a broken connection may cost at most
ENDED = {UploadState.IMPORTED, UploadState.FAILED, UploadState.UNMAPPED}
SAID_BESIDE = {"slug": "name"}  # what a sentence is about → the field of the form that makes it
RESTING = {ProofState.DONE, ProofState.REFUSED, ProofState.WAITING}  # nothing moves until somebody does something


@login_required
def submit(request: HttpRequest) -> HttpResponse:
    initial = {"dataset": whole(request.GET.get("dataset"))} | _for_domain(request)
    form = UploadForm(signed_in(request), request.POST or None, request.FILES or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        if form.cleaned_data["hub"] and not form.cleaned_data["file"]:
            return _fetch(request, form)
        try:
            upload, created = _receive(request, form)
        except FlywheelError as refused:
            return refuse(request, form, refused)
        if not created:
            tell_again(request, upload)
        return _to(request, reverse("upload", args=[upload.pk]))
    return page(request, form)


def _for_domain(request: HttpRequest) -> dict[str, Any]:
    """Who comes for a domain that is wanted contributes to it, unless they choose otherwise."""
    domain = request.GET.get("domain", "")[:60]
    return {"domain": domain, "visibility": Visibility.CONTRIBUTED} if domain else {}


_AGAIN = {
    UploadState.IMPORTED: "These very bytes were uploaded before: this is that upload, nothing was added.",
    UploadState.RECEIVED: "These very bytes were uploaded before: nothing was added, that upload is imported now.",
    UploadState.UNMAPPED: "These very bytes were uploaded before: nothing was added, it waits for its mapping.",
}


def tell_again(request: HttpRequest, upload: Upload) -> None:
    messages.info(request, _AGAIN.get(UploadState(upload.state), _AGAIN[UploadState.IMPORTED]))


def refuse(request: HttpRequest, form: UploadForm, refused: FlywheelError) -> HttpResponse:
    """The form as it was filled in, and what a verb said beside the field that it is about."""
    field = SAID_BESIDE.get(refused.param or "", refused.param)
    form.add_error(field if field in form.fields else "file", refused.sentence)
    return page(request, form)


def page(request: HttpRequest, form: UploadForm) -> HttpResponse:
    """The form, and the uploads that are there."""
    mine = Upload.objects.for_user(request.user).select_related("dataset__team", "proof", "uploaded_by")
    rows = _narrowed(request, mine)
    if reply := exported(request, facts_of(rows[:10_000], _facts), name="uploads"):
        return reply
    context = {
        "form": form,
        "page": page_of(request, rows),
        "states": mine.order_by().values_list("state").annotate(n=Count("pk")),
        "limit": settings.UPLOAD_MAX_BYTES,
        "example": examples.ROWS,
        "consent": licences.CONSENT_TEXT,
        "waiting": no_worker(request.user),
        "graders": grader_examples(),
        "piece": PIECE_BYTES,
        "unfinished": resumable.unfinished(signed_in(request)),
    }
    return render(request, "tasks/submit.html", context, status=400 if form.errors else 200)


def _narrowed(request: HttpRequest, rows: QuerySet[Upload]) -> QuerySet[Upload]:
    if state := request.GET.get("state"):
        rows = rows.filter(state=state)
    if (dataset := whole(request.GET.get("dataset"))) is not None:
        rows = rows.filter(dataset=dataset)
    return rows


def _to(request: HttpRequest, address: str) -> HttpResponse:
    """A redirect; submit.js, which watches the upload go, follows it by itself."""
    if request.headers.get("X-Requested-With") == "upload":
        return HttpResponse(status=204, headers={"X-Location": address})
    return redirect(address)


def _fetch(request: HttpRequest, form: UploadForm) -> HttpResponse:
    """Ask for a file of a hub's dataset; what is wrong with its name is said beside it."""
    given = form.cleaned_data
    try:
        file = fetching.find(given["hub"], given["hub_revision"], given["hub_path"])
    except FlywheelError as refused:
        form.add_error("hub_path" if refused.param == "path" else "hub", refused.sentence)
        return page(request, form)
    options = uploads.Options(mode=given["mode"])
    fetching.begin(dataset_of(request, given), file, actor=signed_in(request), options=options)
    messages.success(request, f"{file.path} is being fetched: it stands below as soon as it is here.")
    return _to(request, reverse("submit"))


def _receive(request: HttpRequest, form: UploadForm) -> tuple[Upload, bool]:
    given = form.cleaned_data
    file = given["file"]
    if file and not file.size:  # said before a new dataset is made for it
        raise Invalid("empty_file", storage.EMPTY, "file")
    stream: Iterable[bytes] = file.chunks() if file else io.BytesIO(given["pasted"].encode())
    name = file.name if file else _pasted_name(given["pasted"])
    dataset, options = dataset_of(request, given), options_of(given)
    return uploads.receive(dataset, stream, filename=name, actor=signed_in(request), options=options)


def _pasted_name(text: str) -> str:
    return {"{": "pasted.jsonl", "[": "pasted.json"}.get(text.lstrip()[:1], "pasted.csv")


def dataset_of(request: HttpRequest, given: Mapping[str, Any]) -> Dataset:
    """The dataset chosen, or the new one described beside it."""
    chosen: Dataset | None = given["dataset"]
    return chosen or _new_dataset(request, given)


def options_of(given: Mapping[str, Any]) -> uploads.Options:
    return uploads.Options(mode=given["mode"])


def _new_dataset(request: HttpRequest, given: Mapping[str, Any]) -> Dataset:
    return datasets.create(
        given["team"],
        given["name"],
        actor=signed_in(request),
        domain=given["domain"],
        visibility=given["visibility"],
        licence=given["licence"],
        consent_version=licences.CONSENT_VERSION if given["consent"] else "",
        default_grader=given["grader"],
    )


@login_required
@require_safe
def upload_page(request: HttpRequest, pk: int) -> HttpResponse:
    upload = find(request, pk)
    if upload.state == UploadState.UNMAPPED:
        return redirect("upload-mapping", pk)
    issues = upload.issues.all()
    if code := request.GET.get("code"):
        issues = issues.filter(code=code)
    if reply := exported(request, _issues(issues), name=f"upload-{pk}-issues"):
        return reply
    after = whole(request.GET.get("after")) or 0
    shown = list(issues.filter(pk__gt=after).order_by("pk")[:51])
    context = {
        **_progress(upload),
        **afterwards.of(upload),
        "issues": [_with_facts(issue) for issue in shown[:50]],
        "more_after": shown[49].pk if len(shown) > 50 else None,
        "codes": upload.issues.order_by().values_list("code").annotate(n=Count("pk")).order_by("-n"),
        "waiting": no_worker(request.user) if upload.state == UploadState.RECEIVED else "",
    }
    return render(request, "tasks/upload.html", context)


def _with_facts(issue: RowIssue) -> RowIssue:
    issue.facts = found.facts(issue.evidence)  # type: ignore[attr-defined]
    return issue


@login_required
@require_safe
def upload_progress(request: HttpRequest, pk: int) -> HttpResponse:
    context = _progress(find(request, pk))
    context["waiting"] = no_worker(request.user)
    return live.fragment(request, "tasks/_upload_progress.html", context, finished=context["finished"])


@login_required
@require_POST
def correct(request: HttpRequest, pk: int) -> HttpResponse:
    """A file of this upload's rejected rows, corrected: only those are merged."""
    first = find(request, pk)
    file = request.FILES.get("file")
    if file is None:
        raise Invalid("file_missing", "Choose the file of corrected rows.", "file")
    options = uploads.Options(corrects=first.pk)
    upload, _ = uploads.receive(
        first.dataset, file.chunks(), filename=file.name or "", actor=signed_in(request), options=options
    )
    return _to(request, reverse("upload", args=[upload.pk]))


@login_required
@require_safe
def findings(request: HttpRequest, pk: int) -> HttpResponse:
    """What was found about the rows that came in, and which rows were there already."""
    upload = find(request, pk)
    kind = request.GET.get("kind", "")
    after = whole(request.GET.get("after")) or 0
    rows = found.page(upload, kind, after)
    context = {
        "upload": upload,
        "kind": kind,
        "kinds": found.kinds(upload),
        "rows": found.shown(rows[: found.PAGE], request.user),
        "more_after": rows[found.PAGE - 1].pk if len(rows) > found.PAGE else None,
        "duplicate": found.DUPLICATE,
    }
    return render(request, "tasks/upload_findings.html", context)


@login_required
@require_POST
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    upload = find(request, pk)
    uploads.retry(upload, actor=signed_in(request))
    messages.success(request, "The import goes on after the last row that was kept.")
    return redirect("upload", pk)


@login_required
@require_POST
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    upload = find(request, pk)
    uploads.withdraw(upload, actor=signed_in(request))
    messages.success(request, f"{upload.filename} was withdrawn: nothing of it was imported, the file is gone.")
    return redirect("submit")


def find(request: HttpRequest, pk: int) -> Upload:
    mine = Upload.objects.for_user(request.user).select_related(
        "dataset__team", "dataset__space", "dataset__default_grader", "proof", "corrects"
    )
    return get_object_or_404(mine, pk=pk)


def _progress(upload: Upload) -> dict[str, Any]:
    """Counts, rate and time left of the import, and what the proof has found so far."""
    proof = getattr(upload, "proof", None)
    proved = proof.state in RESTING if proof else upload.state in (UploadState.FAILED, UploadState.UNMAPPED)
    return {
        "upload": upload,
        "proof": proof,
        "first_issues": list(upload.issues.order_by("line", "id")[:3]) if upload.state == UploadState.IMPORTING else [],
        "kinds": found.kinds(upload),
        "mapped": _MAPPED.get(upload.detected.get("by", ""), ""),
        "rejected": upload.counts.get("rejected", {}),
        "rejected_total": sum(upload.counts.get("rejected", {}).values()),
        "rate": progress.rows_per_second(upload),
        "share": progress.share_read(upload),
        "seconds_left": progress.seconds_left(upload),
        "seconds": progress.seconds(upload),
        "decoys": _decoys(proof.counts.get("matrix", {})) if proof else [],
        "finished": upload.state in ENDED and proved,
    }


# By what the rows are read: tasks.services.mapping.By
_MAPPED = {
    "given": "as you said",
    "corrected": "like the file whose rows it corrects",
    "remembered": "as you read such columns the last time",
    "guessed": "as its columns are known",
}


def _decoys(matrix: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[dict[str, Any]]:
    """A row per grader and kind of wrong answer, the gold first: how many passed, were refused, were skipped."""
    rows: list[dict[str, Any]] = []
    for grader, tally in sorted(matrix.items()):
        gold = tally.get("gold", {})
        tried = {"passed": gold.get("earned", 0), "refused": gold.get("failed", 0), "skipped": gold.get("absent", 0)}
        rows.append({"grader": grader, "kind": "gold", "said": SAID["gold"], **tried})
        for kind in DecoyKind:
            counts = tally.get(kind, {})
            tried = {o.value: counts.get(o, 0) for o in DecoyOutcome}
            rows.append({"grader": grader, "kind": kind.value, "said": SAID[kind.value], **tried})
    return rows


def _facts(upload: Upload) -> dict[str, Any]:
    counts = upload.counts
    return {
        "id": upload.pk,
        "filename": upload.filename,
        "dataset": str(upload.dataset),
        "state": upload.state,
        "rows": counts.get("rows", 0),
        "valid": counts.get("valid", 0),
        "duplicates": counts.get("duplicates", 0),
        "conflicts": counts.get("conflicts", 0),
        "rejected": sum(counts.get("rejected", {}).values()),
        "uploaded_at": upload.created_at.isoformat(),
        "sha256": upload.sha256,
    }


def _issues(issues: QuerySet[RowIssue]) -> Iterator[dict[str, Any]]:
    rows = issues.values("line", "field", "code", "sentence", "remedy", "value").iterator(chunk_size=2000)
    return map(dict, rows)
