"""How the API describes itself: bearer keys, and one error shape for every refusal."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from tasks.states import ProofState, TaskState, UploadState
from trainer.news import CHOICES, News
from trainer.states import DeliveryState, EvaluationState, RunState

# Several resources have a `state`; the settings name each set of values (ENUM_NAME_OVERRIDES).
UPLOAD_STATES, TASK_STATES, PROOF_STATES, RUN_STATES, EVALUATION_STATES, DELIVERY_STATES, NEWS, SENT = (
    [(state.value, state.value) for state in states]
    for states in (UploadState, TaskState, ProofState, RunState, EvaluationState, DeliveryState, CHOICES, News)
)
HOOK_STATES = [(state, state) for state in ("on", "off", "deleted")]


class Problem(serializers.Serializer[Any]):
    """Every refusal: what was wrong, in one sentence that says what to do."""

    type = serializers.CharField(help_text="Where the code is explained.")
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="Stable; for programs.")
    detail = serializers.CharField(help_text="One sentence; for people.")
    param = serializers.CharField(allow_null=True, help_text="The field or parameter that it is about.")


class BearerKey(OpenApiAuthenticationExtension):
    target_class = "flywheel.http.auth.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key, made under /api/v1/keys."}


class ApiSchema(AutoSchema):
    """Adds the refusal to every operation, and Idempotency-Key to every POST."""

    def get_override_parameters(self) -> list[Any]:
        given = super().get_override_parameters()
        streams = getattr(self.view, "action", "") in getattr(self.view, "streams_body", ())
        if self.method != "POST" or streams or not getattr(self.view, "remembers_replies", False):
            return given
        note = "The same key and body again: the same answer, nothing done twice. Another body: 422."
        return [*given, OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description=note)]

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies = super()._get_response_bodies(direction)
        refusal = self._get_response_for_code(
            OpenApiResponse(Problem, "A refusal."), "default", ["application/problem+json"]
        )
        return {**bodies, "default": refusal}
