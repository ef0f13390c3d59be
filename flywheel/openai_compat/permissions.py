"""/fine_tuning/checkpoints/{model}/permissions: other teams' leave to use a model. A project is a team, by its slug."""

from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.openai_compat import ids, lists
from flywheel.openai_compat.reading import Body, read, storable
from flywheel.openai_compat.retries import told_once
from flywheel.openai_compat.surface import Surface
from tasks.errors import NotFound
from tasks.states import Scope
from trainer.models import ModelPermission, ModelVersion, RunCheckpoint
from trainer.services import permissions, serving


class Grant(Body):
    project_ids: list[str]


def shown(permission: ModelPermission) -> dict[str, Any]:
    return {
        "id": ids.encode(ids.PERMISSION, permission.pk),
        "object": "checkpoint.permission",
        "created_at": int(permission.created_at.timestamp()),
        "project_id": permission.team.slug,
    }


class PermissionSurface(Surface):
    scope = Scope.ADMIN

    def named(self, name: str) -> ModelVersion | RunCheckpoint:
        """Of the key's own team: who was given leave cannot give it on."""
        found = serving.find(name, self.caller.user, self.caller.team)
        if not isinstance(found, ModelVersion | RunCheckpoint) or found.line.team != self.caller.team:
            raise NotFound("model_not_found", f"There is no model {name[:120]} of your team.", "model")
        return found

    def permissions(self, name: str) -> QuerySet[ModelPermission]:
        found: QuerySet[ModelPermission] = self.named(name).permissions.select_related("team")
        return found


class Permissions(PermissionSurface):
    def get(self, request: Request, name: str) -> Response:
        rows = self.permissions(name)
        if project := request.query_params.get("project_id"):
            rows = rows.filter(team__slug=project)
        return Response(lists.page(request, rows, shown, prefix=ids.PERMISSION, usual=10, with_ends=True))

    @told_once
    def post(self, request: Request, name: str) -> Response:
        model = self.named(name)
        granted = permissions.grant(model, read(storable(self.body()), Grant).project_ids, actor=self.caller.user)
        return Response(lists.envelope([shown(one) for one in granted], has_more=False, with_ends=True))


class Permission(PermissionSurface):
    @told_once
    def delete(self, request: Request, name: str, permission: str) -> Response:
        key = ids.decode(ids.PERMISSION, permission)
        found = None if key is None else self.permissions(name).filter(pk=key).first()
        if found is None:
            raise NotFound("not_found", f"There is no permission {permission[:80]} of this model.", None)
        permissions.revoke(found, actor=self.caller.user)
        return Response({"id": permission, "object": "checkpoint.permission", "deleted": True})
