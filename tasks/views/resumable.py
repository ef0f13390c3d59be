"""/submit/announced: the form of a file whose bytes follow in pieces, as submit.js sends them."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from tasks.forms import AnnouncedForm
from tasks.services import resumable
from tasks.views.scope import signed_in
from tasks.views.uploads import dataset_of, options_of, page


@login_required
@require_POST
def announce(request: HttpRequest) -> HttpResponse:
    """201 with the address that takes the pieces, or the form with its errors."""
    form = AnnouncedForm(signed_in(request), request.POST)
    if not form.is_valid():
        return page(request, form)
    given = form.cleaned_data
    partial = resumable.begin(
        dataset_of(request, given),
        length=given["length"],
        filename=given["filename"],
        actor=signed_in(request),
        options=options_of(given),
    )
    address = reverse("api:resumable-detail", args=[partial.pk])
    return JsonResponse({"address": address, "dataset": partial.dataset_id}, status=201)
