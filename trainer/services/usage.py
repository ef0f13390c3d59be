"""What engines spend, by team and month: seconds, steps and tokens of every attempt, kept when the work is gone."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, FloatField, Sum
from django.db.models.functions import Cast, Greatest, TruncMonth
from django.utils import timezone

from tasks.errors import Conflict, Invalid
from tasks.models import Team
from tasks.models.events import Subject, record
from tasks.services import accounts
from tasks.services.access import require_role
from tasks.states import Role
from trainer.contract import Result
from trainer.launchers.protocol import Status
from trainer.models import Usage, UsageBudget

COUNTED_BY_STEP = "run"  # what such a result counts is of all its attempts; its metrics say which of them spent it


# What supervision writes


def open_attempt(kind: str, work: Any) -> None:
    """With the claim, in its transaction."""
    Usage.objects.get_or_create(
        kind=kind,
        work=work.pk,
        attempt=work.attempt,
        defaults={
            "team_id": work.owner_team_id,
            "began_at": timezone.now(),
            "slots": max(1, settings.ENGINE_GPUS),
        },
    )


def measure(kind: str, work: Any, status: Status) -> None:
    """Wall time from the claim, or from when a scheduler began, to the engine's last sign of life.

    Not to now: an engine that died while nobody looked has not worked since. Waiting for a scheduler costs nothing.
    """
    beat = status.heartbeat
    if status.waiting or beat is None:
        return
    rows = _attempt(kind, work)
    began = rows.values_list("began_at", flat=True).first()
    if began is not None:
        seconds = beat.at - (status.started_at or began.timestamp())
        rows.update(seconds=Greatest(F("seconds"), float(seconds)))


def add_steps(work: Any, steps: int, tokens: int) -> None:
    """Steps of a run as its metrics tell them, those of a step that was trained again too."""
    _attempt(COUNTED_BY_STEP, work).update(steps=F("steps") + steps, tokens=F("tokens") + tokens)


def close_attempt(kind: str, work: Any, result: Result) -> None:
    if kind != COUNTED_BY_STEP:
        _attempt(kind, work).update(tokens=result.tokens)


def _attempt(kind: str, work: Any) -> Any:
    return Usage.objects.filter(kind=kind, work=work.pk, attempt=work.attempt)


# Reading


def seconds_of(kind: str, pk: int) -> float:
    """Of all attempts of one piece of work."""
    return float(Usage.objects.filter(kind=kind, work=pk).aggregate(sum=Sum("seconds"))["sum"] or 0)


def attempts_of(kind: str, pk: int) -> int:
    return Usage.objects.filter(kind=kind, work=pk).count()


@dataclass(frozen=True, slots=True)
class Spent:
    """What a team's work of one kind took in one calendar month (UTC), counted where its attempts began."""

    month: str  # 2026-05
    team: str
    kind: str
    works: int
    attempts: int
    seconds: float
    slot_seconds: float  # seconds × slots
    steps: int
    tokens: int


def by_month(rows: Any) -> Iterator[Spent]:
    """Newest month first. `rows` are those of Usage.objects.for_user."""
    grouped = (
        rows.order_by()
        .annotate(month=TruncMonth("began_at", tzinfo=UTC))
        .values("month", "team__slug", "kind")
        .annotate(
            works=Count("work", distinct=True),
            attempts=Count("pk"),
            wall=Sum("seconds"),
            held=Sum(F("seconds") * Cast("slots", FloatField())),
            trained=Sum("steps"),
            drawn=Sum("tokens"),
        )
        .order_by("-month", "team__slug", "kind")
    )
    for row in grouped:
        yield Spent(
            month=f"{row['month']:%Y-%m}",
            team=row["team__slug"],
            kind=row["kind"],
            works=row["works"],
            attempts=row["attempts"],
            seconds=round(row["wall"], 1),
            slot_seconds=round(row["held"], 1),
            steps=row["trained"],
            tokens=row["drawn"],
        )


# Budgets


def minutes_this_month(team: Team) -> float:
    rows = Usage.objects.filter(team=team, began_at__gte=_month_began())
    return float(rows.aggregate(sum=Sum("seconds"))["sum"] or 0) / 60


def budget_of(team: Team) -> float | None:
    """Minutes a month; None: no limit."""
    return UsageBudget.objects.filter(team=team).values_list("minutes_per_month", flat=True).first()


def require_left(team: Team) -> None:
    """Refuse a start where the team's month is spent. What already runs goes on, and its evaluation follows it: a
    version that nobody may measure would be wasted work."""
    budget = budget_of(team)
    if budget is None:
        return
    spent = minutes_this_month(team)
    if spent >= budget:
        raise Conflict(
            "month_spent",
            f"{team.name} has used {spent:.0f} of its {budget:g} engine minutes of this month: start again next month, "
            "or ask an operator of the pool for more.",
        )


@transaction.atomic
def set_budget(team: Team, minutes_per_month: float | None, *, actor: Any) -> None:
    """Operators of the pool give out its engines. None takes the limit away."""
    require_role(actor, accounts.pool(), Role.OPERATOR)
    if minutes_per_month is not None and not 0 <= minutes_per_month < 1e9:
        raise Invalid("bad_budget", "Give minutes from 0 up, or nothing for no limit.", "minutes_per_month")
    old = budget_of(team)
    if minutes_per_month is None:
        UsageBudget.objects.filter(team=team).delete()
    else:
        UsageBudget.objects.update_or_create(
            team=team, defaults={"minutes_per_month": minutes_per_month, "set_by": actor}
        )
    data = {"old": old, "new": minutes_per_month}
    record("team.usage_budget", subject=Subject("team", str(team.pk)), team=team.pk, actor=actor, data=data)


def _month_began() -> datetime:
    return timezone.now().astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
