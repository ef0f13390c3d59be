"""What the paths of /openai/v1 share: bearer keys, the envelope of errors, JSON whatever Accept says."""

from typing import Any, ClassVar

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from flywheel.http.auth import ApiKeyAuthentication, Caller, SignedInWithScope, caller
from flywheel.http.errors import openai_envelope
from flywheel.http.json_bodies import ObjectParser
from flywheel.http.negotiation import AlwaysFirst
from tasks.errors import Invalid, NotFound, TooLarge
from tasks.models import ApiKey, Team
from tasks.states import Scope


@extend_schema(exclude=True)
class Surface(APIView):
    authentication_classes = [ApiKeyAuthentication]
    content_negotiation_class = AlwaysFirst
    parser_classes = [ObjectParser]
    scope = Scope.READ
    schema = None
    streams: ClassVar[frozenset[str]] = frozenset()  # methods that read their body as it arrives

    def get_exception_handler(self) -> Any:
        return openai_envelope

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if "\0" in request.path or any("\0" in text for pair in request.query_params.items() for text in pair):
            raise Invalid(
                "invalid_value", "The URL has a NUL character, which stands in no id and no name: leave it out."
            )
        if request.method in self.streams:
            return
        if int(request.META.get("CONTENT_LENGTH") or 0) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 2**20
            raise TooLarge("body_too_large", f"The request is larger than {limit} MiB: shorten it.")

    @property
    def caller(self) -> Caller:
        return caller(self.request)

    @property
    def team(self) -> Team:
        """Whose key it is."""
        assert self.caller.team is not None  # keys are the only way in
        return self.caller.team

    def require(self, scope: Scope) -> None:
        """Of what only some requests to this path do."""
        if isinstance(self.request.auth, ApiKey) and not self.request.auth.allows(scope):
            self.permission_denied(self.request, SignedInWithScope.message)

    def body(self) -> dict[str, Any]:
        return dict(self.request.data)


class Unknown(Surface):
    """Every other path."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound("unknown_url", f"Unknown request URL: {request.method} {request.path[:200]}.")
