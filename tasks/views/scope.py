"""Who is looking."""

from django.http import HttpRequest

from tasks.models import User


def signed_in(request: HttpRequest) -> User:
    """The user of a view behind login_required, typed."""
    assert isinstance(request.user, User)
    return request.user
