"""The wheel: how far rows and models have come, as six live counts, and where they stand on a ring."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, IntegerField, Sum
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast
from django.urls import reverse

from tasks.models import Task, Team, Upload
from tasks.states import TaskState
from tasks.views.recent import recent
from trainer.models import AliasMove, Line, TrainingRun
from trainer.states import AliasName, RunState

CENTRE, RADIUS = 200, 140


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    count: int
    unit: str
    meaning: str
    address: str
    x: float
    y: float
    angle: int  # degrees, clockwise from the top


def stages(user: Any) -> list[Stage]:
    """What the user's teams and the shared pool hold. Of other teams' private spaces nothing is counted."""
    counts = _counts(user)
    told = (
        ("uploaded", "rows", "rows read out of uploads", reverse("submit")),
        ("valid", "tasks", "parsed, checked and unique, or further", reverse("datasets")),
        ("proved", "tasks", "their right answer passes and wrong ones do not, or approved", reverse("review")),
        ("approved", "tasks", "let in by a person or a policy", reverse("recipes")),
        ("trained", "runs", "training runs that ended well", reverse("ops")),
        ("promoted", "models", "times a better model became champion", reverse("models")),
    )
    return [_placed(n, counts[name], *rest, name=name) for n, (name, *rest) in enumerate(told)]


def _placed(number: int, count: int, unit: str, meaning: str, address: str, *, name: str) -> Stage:
    angle = 60 * number
    turn = math.radians(angle - 90)
    x, y = CENTRE + RADIUS * math.cos(turn), CENTRE + RADIUS * math.sin(turn)
    return Stage(name, count, unit, meaning, address, round(x, 1), round(y, 1), angle)


def _counts(user: Any) -> dict[str, int]:
    spaces = Team.objects.filter(pk__in=user.team_ids()) | Team.objects.filter(is_system=True)
    states = _states(sorted(spaces.values_list("pk", flat=True)))
    approved = states.get(TaskState.APPROVED, 0)
    proved = approved + states.get(TaskState.PROVED, 0)
    valid = proved + sum(states.get(state, 0) for state in (TaskState.VALID, TaskState.UNPROVED, TaskState.CONFLICT))
    rows = Cast(KeyTextTransform("rows", "counts"), IntegerField())
    lines = Line.objects.for_user(user)
    promotions = AliasMove.objects.filter(line__in=lines, name=AliasName.CHAMPION, new__number__gt=0)
    return {
        "uploaded": Upload.objects.filter(dataset__space__in=spaces).aggregate(n=Sum(rows))["n"] or 0,
        "valid": valid,
        "proved": proved,
        "approved": approved,
        "trained": TrainingRun.objects.filter(line__in=lines, state=RunState.SUCCEEDED).count(),
        "promoted": promotions.count(),
    }


def _states(spaces: Sequence[int]) -> dict[str, int]:
    """Tasks by state."""
    rows = Task.objects.filter(space__in=spaces).order_by().values_list("state").annotate(n=Count("pk"))
    return recent(("wheel", tuple(spaces)), lambda: dict(rows))
