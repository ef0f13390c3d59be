"""Content negotiation of surfaces that speak one language."""

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request


class AlwaysFirst(DefaultContentNegotiation):
    """The view's first renderer, whatever Accept says: a client that asks for application/binary gets no 406."""

    def select_renderer(self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None) -> Any:
        first = next(iter(renderers))
        return first, first.media_type
