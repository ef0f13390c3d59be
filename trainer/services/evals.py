"""Evals of a team: created with their criteria, renamed, deleted."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from django.db import transaction

from tasks.errors import Invalid
from tasks.graders import registry
from tasks.models import Team
from tasks.models.events import Subject, record
from tasks.services import trying
from tasks.services.access import require_role
from tasks.states import Role
from tasks.text import json_bytes
from trainer.evaluation import eval_items
from trainer.models import Eval

MOST_CRITERIA = 50
MOST_SCHEMA_BYTES = registry.MAX_CONFIG_BYTES
MOST_CRITERIA_BYTES = 1_000_000  # of all together: every list of evals tells them
ANY_ROLE = tuple(Role)  # whoever is in the team: an eval decides nothing


def create(
    team: Team,
    *,
    actor: Any,
    item_schema: Mapping[str, Any],
    criteria: Sequence[Mapping[str, Any]],
    name: str = "",
    include_sample_schema: bool = False,
    metadata: Mapping[str, str] | None = None,
    tried: bool = False,
) -> Eval:
    """`criteria`: configurations of graders. May take seconds: a program among them is tried, unless it was `tried`."""
    require_role(actor, team, *ANY_ROLE)
    _require_schema(item_schema)
    _require_few(criteria)
    kept = [_criterion(number, given, actor, team, tried) for number, given in enumerate(criteria)]
    with transaction.atomic():
        made = Eval.objects.create(
            team=team,
            created_by=actor,
            name=name.strip()[:200],
            item_schema=dict(item_schema),
            include_sample_schema=include_sample_schema,
            criteria=kept,
            metadata=dict(metadata or {}),
        )
        _tell("created", made, actor, criteria=[one["grader"]["type"] for one in kept])
    return made


def require_works(criteria: Sequence[Mapping[str, Any]], *, actor: Any, team: Team) -> None:
    """Try each; may take seconds: ask before a transaction, then create them as `tried`."""
    require_role(actor, team, *ANY_ROLE)
    _require_few(criteria)
    for number, given in enumerate(criteria):
        _criterion(number, given, actor, team, tried=False)


def _require_schema(item_schema: Mapping[str, Any]) -> None:
    if json_bytes(item_schema) > MOST_SCHEMA_BYTES:
        sentence = f"The item schema is larger than {MOST_SCHEMA_BYTES:,} bytes: shorten it."
        raise Invalid("bad_schema", sentence, "item_schema")
    try:
        eval_items.schema_fits(item_schema)
    except ValueError as fault:
        raise Invalid("bad_schema", str(fault), "item_schema") from None


def _require_few(criteria: Sequence[Mapping[str, Any]]) -> None:
    if not 1 <= len(criteria) <= MOST_CRITERIA:
        raise Invalid("bad_criteria", f"Give from 1 to {MOST_CRITERIA} criteria.", "criteria")
    if json_bytes(criteria) > MOST_CRITERIA_BYTES:
        sentence = f"The criteria are larger than {MOST_CRITERIA_BYTES:,} bytes together: make several evals of them."
        raise Invalid("bad_criteria", sentence, "criteria")


def _criterion(number: int, given: Mapping[str, Any], actor: Any, team: Team, tried: bool) -> dict[str, Any]:
    """As it was given, with a name and a key that its results are kept under."""
    place = f"criteria[{number}]"
    try:
        named = msgspec.to_builtins(registry.parse(given))
        if not tried:
            named = trying.check(given, actor=actor, space=team.pk).grader
    except Invalid as fault:
        param = place + (fault.param or "").removeprefix("grader")
        raise Invalid(fault.code, f"Criterion {number + 1}: {fault.sentence}", param) from None
    name = str(named.get("name") or f"{given['type']}-{number + 1}")[:200]
    return {"key": str(uuid.uuid4()), "name": name, "grader": {**given, "name": name}}


@transaction.atomic
def change(changed: Eval, *, actor: Any, **changes: Any) -> Eval:
    """Its name and its metadata. Other criteria are another eval: the runs of one compare."""
    require_role(actor, changed.team, *ANY_ROLE)
    held = Eval.objects.select_for_update(of=("self",)).select_related("team").get(pk=changed.pk)
    if "name" in changes:
        held.name = str(changes["name"]).strip()[:200]
    if "metadata" in changes:
        held.metadata = dict(changes["metadata"] or {})
    held.save()
    _tell("changed", held, actor, fields=sorted(changes))
    return held


@transaction.atomic
def delete(deleted: Eval, *, actor: Any) -> None:
    """With its runs and their rows, for good; a run that is under way ends. The log keeps that it was there."""
    require_role(actor, deleted.team, *ANY_ROLE)
    runs = deleted.runs.count()
    _tell("deleted", deleted, actor, runs=runs)
    deleted.delete()


def _tell(verb: str, subject: Eval, actor: Any, **data: Any) -> None:
    named = {"name": subject.name, **data}
    record(f"eval.{verb}", subject=Subject("eval", str(subject.pk)), team=subject.team_id, actor=actor, data=named)
