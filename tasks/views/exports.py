"""Files out: a dataset in any dialect, and the rejected rows of an upload."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_safe

from tasks.formats.writing import DIALECTS
from tasks.models import Dataset, Upload
from tasks.services import exporting, rejections
from tasks.services.rejections import File
from tasks.views.listing import whole
from tasks.views.scope import dataset_of, signed_in

LABELS = {
    "native": "Native JSON Lines: everything",
    "parquet": "Parquet: everything, in columns",
    "csv": "CSV: everything, for spreadsheets",
    "openai_rft": "OpenAI reinforcement fine-tuning",
    "trl": "TRL (GRPOTrainer)",
    "verl": "verl (Parquet)",
    "open_instruct": "open-instruct RLVR",
    "dolci": "Dolci",
    "verifiers": "verifiers",
    "nemo_gym": "NeMo-Gym",
    "reasoning_gym": "reasoning-gym (its own entries only)",
}
assert LABELS.keys() == DIALECTS.keys()


def sent(file: File) -> HttpResponse:
    """A download that is made while it is sent."""
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"', "X-Content-Type-Options": "nosniff"}
    reply: HttpResponse = StreamingHttpResponse(file.pieces, content_type=file.kind, headers=headers)  # type: ignore[assignment]
    return reply


@login_required
@require_safe
def export(request: HttpRequest, team: str, slug: str) -> HttpResponse:
    dataset, asked = dataset_of(request, team, slug), request.GET
    number = whole(asked.get("version"))
    selection = exporting.select(
        dataset,
        actor=signed_in(request),
        version=exporting.version_of(dataset, number) if number is not None else None,
        split=asked.get("split", ""),
        sealed=asked.get("sealed") == "1",
    )
    dialect = asked.get("format", "native")
    if asked.get("archive") == "1":
        address = request.build_absolute_uri(reverse("dataset", args=[team, slug]))
        return sent(exporting.archive(selection, dialect, actor=signed_in(request), address=address))
    compressed = asked.get("gzip") == "1"
    return sent(exporting.file(selection, dialect, actor=signed_in(request), compressed=compressed))


@login_required
@require_safe
def rejected(request: HttpRequest, pk: int) -> HttpResponse:
    upload = get_object_or_404(Upload.objects.for_user(request.user).select_related("dataset"), pk=pk)
    return sent(rejections.file(upload))


def box(dataset: Dataset, user: Any) -> dict[str, Any]:
    """What the export box of the dataset's page offers."""
    return {"formats": LABELS.items(), "may_unseal": exporting.may_unseal(dataset, user)}
