"""Whether somebody works at all: nothing is worse than a bar that stands still and does not say why."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from tasks.models import ProofRun, Upload
from tasks.states import ProofState, UploadState

PATIENCE = timedelta(seconds=15)


def no_worker(user: Any) -> str:
    """A sentence where the user's oldest waiting upload or proof has waited too long; "" where all is well."""
    late = timezone.now() - PATIENCE
    uploads = Upload.objects.for_user(user)
    upload = uploads.filter(state=UploadState.RECEIVED, created_at__lt=late).order_by("pk").first()
    if upload is not None:
        return _sentence(f"Upload {upload.pk} has been waiting to be read", upload.created_at)
    proof = ProofRun.objects.filter(
        upload__in=uploads, state=ProofState.PENDING, upload__finished_at__lt=late
    ).order_by("pk").first()  # fmt: skip
    if proof is not None:
        return _sentence(f"The proof of upload {proof.upload_id} has been waiting", proof.upload.finished_at)
    return ""


def _sentence(what: str, since: Any) -> str:
    seconds = (timezone.now() - since).total_seconds()
    waited = f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    return f"{what} for {waited}: no worker seems to be running. An operator starts one with `make up`."
