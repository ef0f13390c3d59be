"""Which other teams may use what a run made, and taking a version out of service."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.utils import timezone

from tasks.errors import Conflict, NotFound
from tasks.models import Team
from tasks.models.events import Subject, record
from tasks.services.access import require_role
from tasks.states import Role
from trainer.models import ModelPermission, ModelVersion, RunCheckpoint
from trainer.states import AliasName

Model = ModelVersion | RunCheckpoint


@transaction.atomic
def grant(model: Model, teams: Iterable[str], *, actor: Any) -> list[ModelPermission]:
    """Give teams (by slug) leave to use the model; whoever has it keeps the first. All of them or none."""
    require_role(actor, model.line.team, Role.ADMINISTRATOR)
    wanted = list(dict.fromkeys(teams))
    known = {team.slug: team for team in Team.objects.filter(slug__in=wanted, is_system=False)}
    missing = next((slug for slug in wanted if slug not in known), None)
    if missing is not None:
        raise NotFound("not_found", f"There is no team {missing[:60]} here: give the slug of a team.", "project_ids")
    found = []
    for slug in wanted:
        row, is_new = ModelPermission.objects.get_or_create(
            **_of(model), team=known[slug], defaults={"granted_by": actor}
        )
        found.append(row)
        if is_new:
            _record("model.granted", model, actor, {"team": slug})
    return found


@transaction.atomic
def revoke(permission: ModelPermission, *, actor: Any) -> None:
    model = permission.version or permission.checkpoint
    assert model is not None
    require_role(actor, model.line.team, Role.ADMINISTRATOR)
    slug = permission.team.slug
    permission.delete()
    _record("model.revoked", model, actor, {"team": slug})


@transaction.atomic
def retire(version: ModelVersion, *, actor: Any) -> None:
    """No name leads to the version from now on. Its record stays: runs, reports and lineage refer to it."""
    require_role(actor, version.line.team, Role.OPERATOR, Role.CONTRIBUTOR)
    if version.run is None:
        raise Conflict("is_base", f"{version.name} is what its line began with: it stays.")
    kept = version.aliases.filter(name__in=[AliasName.CHAMPION, AliasName.ANCHOR]).first()
    if kept is not None:
        raise Conflict("in_use", f"{version.name} is the {kept.name} of its line: move that name first.")
    if ModelVersion.objects.filter(pk=version.pk, retired_at=None).update(retired_at=timezone.now()):
        _record("model.retired", version, actor, {"digest": version.digest})


@transaction.atomic
def restore(version: ModelVersion, *, actor: Any) -> None:
    """Undo of `retire`."""
    require_role(actor, version.line.team, Role.OPERATOR, Role.CONTRIBUTOR)
    if ModelVersion.objects.filter(pk=version.pk).exclude(retired_at=None).update(retired_at=None):
        _record("model.restored", version, actor, {"digest": version.digest})


def _of(model: Model) -> dict[str, Any]:
    return {"version": model} if isinstance(model, ModelVersion) else {"checkpoint": model}


def _record(kind: str, model: Model, actor: Any, data: dict[str, Any]) -> None:
    name = "modelversion" if isinstance(model, ModelVersion) else "runcheckpoint"
    record(kind, subject=Subject(name, str(model.pk)), team=model.line.team_id, actor=actor, data=data)
