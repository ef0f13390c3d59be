"""GET /models and /models/{id}: the names that this caller may use. Ids contain slashes."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.openai_compat.surface import Surface
from trainer.models import ModelVersion
from trainer.services import serving


def shown(name: str, version: ModelVersion) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(version.created_at.timestamp()),
        "owned_by": version.line.team.slug,
    }


class Models(Surface):
    def get(self, request: Request) -> Response:
        names = serving.model_names(self.caller.user, self.caller.team)
        return Response({"object": "list", "data": [shown(model.name, model.version) for model in names]})


class Model(Surface):
    def get(self, request: Request, name: str) -> Response:
        return Response(shown(name, serving.resolve(name, self.caller.user, self.caller.team)))
