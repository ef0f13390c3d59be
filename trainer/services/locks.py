"""Locks on aliases: while one is on, neither the gate nor a person moves that name."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from tasks.errors import Conflict, Invalid
from tasks.models.events import Subject, record
from tasks.services.access import require_role
from trainer.models import Alias, Line
from trainer.services.promotion import shippers
from trainer.states import AliasName

LONGEST_REASON = 300


def lock(line: Line, name: AliasName, *, actor: Any, reason: str) -> Alias:
    """A PROMOTE that comes meanwhile waits for a person. Locked already, it keeps who did it first, and why."""
    require_role(actor, line.team, *shippers(line))
    if not reason.strip():
        raise Invalid("reason_missing", "Say why in a few words: whoever wants to move it sees it.", "reason")
    with transaction.atomic():
        alias = _held(line, name)
        if alias.locked_at is not None:
            return alias
        alias.locked_at, alias.locked_by, alias.lock_reason = timezone.now(), actor, reason.strip()[:LONGEST_REASON]
        alias.save(update_fields=["locked_at", "locked_by", "lock_reason"])
        _tell("alias.locked", alias, actor, {"reason": alias.lock_reason})
    return alias


def unlock(line: Line, name: AliasName, *, actor: Any) -> Alias:
    """Nothing moves by this: what the gate promoted meanwhile waits on its report."""
    require_role(actor, line.team, *shippers(line))
    with transaction.atomic():
        alias = _held(line, name)
        if alias.locked_at is None:
            return alias
        alias.locked_at, alias.locked_by, alias.lock_reason = None, None, ""
        alias.save(update_fields=["locked_at", "locked_by", "lock_reason"])
        _tell("alias.unlocked", alias, actor, {})
    return alias


def _held(line: Line, name: AliasName) -> Alias:
    Line.objects.select_for_update().get(pk=line.pk)  # as whoever moves an alias does
    alias = Alias.objects.select_related("version__line").filter(line=line, name=name).first()
    if alias is None:
        raise Conflict("alias_unset", f"{line.name} has no {name} yet: there is nothing to lock.")
    return alias


def _tell(kind: str, alias: Alias, actor: Any, data: dict[str, Any]) -> None:
    record(
        kind,
        subject=Subject("line", str(alias.line_id)),
        team=alias.line.team_id,
        actor=actor,
        data={"alias": alias.name, "version": alias.version.name, **data},
    )
