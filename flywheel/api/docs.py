"""The API's own description: OpenAPI at /schema, browsable at /docs, offline and under the strict CSP."""

from typing import Any

from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from flywheel.http.negotiation import AlwaysFirst
from tasks.errors import NotFound


class Schema(SpectacularAPIView):
    """The same for everybody: it names no row."""

    permission_classes = [AllowAny]


class Docs(SpectacularSwaggerSplitView):
    permission_classes = [AllowAny]
    url_name = "api:schema"
    template_name = "api/docs.html"


class Unknown(APIView):
    """Every other path."""

    content_negotiation_class = AlwaysFirst

    @extend_schema(exclude=True)
    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound("no_such_path", f"There is no {request.path[:200]} here: see /api/v1/docs.")
