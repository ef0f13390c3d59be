"""Who is looking, and at which dataset."""

from django.http import HttpRequest
from django.shortcuts import get_object_or_404

from tasks.models import Dataset, User


def signed_in(request: HttpRequest) -> User:
    """The user of a view behind login_required, typed."""
    assert isinstance(request.user, User)
    return request.user


def dataset_of(request: HttpRequest, team: str, slug: str) -> Dataset:
    """The dataset that an address names; another team's is 404."""
    rows = Dataset.objects.for_user(request.user).select_related("team", "space", "default_grader", "created_by")
    found: Dataset = get_object_or_404(rows, team__slug=team, slug=slug)
    return found
