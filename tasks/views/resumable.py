"""/submit/announced: the form of a file whose bytes follow in pieces, as submit.js sends them."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import FlywheelError
from tasks.forms import AnnouncedForm
from tasks.models import PartialUpload
from tasks.services import resumable
from tasks.views.scope import signed_in
from tasks.views.uploads import dataset_of, options_of, page, refuse, tell_again


@login_required
@require_POST
def announce(request: HttpRequest) -> HttpResponse:
    """201 with the address that takes the pieces, or the form with its errors."""
    form = AnnouncedForm(signed_in(request), request.POST)
    if not form.is_valid():
        return page(request, form)
    try:
        partial = _begin(request, form.cleaned_data)
    except FlywheelError as refused:
        return refuse(request, form, refused)
    address = reverse("api:resumable-detail", args=[partial.pk])
    return JsonResponse({"address": address, "dataset": partial.dataset_id}, status=201)


@transaction.atomic
def _begin(request: HttpRequest, given: Mapping[str, Any]) -> PartialUpload:
    """A new dataset stays only where its file is taken."""
    return resumable.begin(
        dataset_of(request, given),
        length=given["length"],
        filename=given["filename"],
        actor=signed_in(request),
        options=options_of(given),
    )


@login_required
@require_safe
def arrived(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """To the page of the upload that a whole file has become, or was before."""
    partial = get_object_or_404(PartialUpload.objects.select_related("upload"), pk=pk, user=signed_in(request))
    if partial.upload is None:
        return redirect("submit")
    if partial.upload.created_at < partial.created_at:
        tell_again(request, partial.upload)
    return redirect("upload", partial.upload.pk)
