"""GET /models, GET and DELETE /models/{id}: the names that this caller may use. Ids contain slashes and colons."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.openai_compat.retries import told_once
from flywheel.openai_compat.surface import Surface
from tasks.errors import NotFound
from tasks.states import Scope
from trainer.models import ModelVersion, RunCheckpoint
from trainer.services import checkpoints, naming, permissions, serving
from trainer.services.serving import Served


def shown(name: str, version: Served) -> dict[str, Any]:
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
    scope = Scope.TRAIN

    def get(self, request: Request, name: str) -> Response:
        return Response(shown(name, serving.find(name, self.caller.user, self.caller.team)))

    @told_once
    def delete(self, request: Request, name: str) -> Response:
        """Only what a run made, by that name: other names move, and lead to another version tomorrow."""
        found = serving.find(name, self.caller.user, self.caller.team)
        if not name.startswith(naming.PREFIX) or found.line.team != self.caller.team:
            raise NotFound("model_not_found", f"{name[:120]} is no fine-tuned model of your team.", "model")
        if isinstance(found, RunCheckpoint):
            checkpoints.delete(found, actor=self.caller.user)
        elif isinstance(found, ModelVersion):
            permissions.retire(found, actor=self.caller.user)
        return Response({"id": name, "object": "model", "deleted": True})
