"""Schedules of a line, and why each firing ran or was skipped."""

from typing import Any
from zoneinfo import ZoneInfo

from django.db import models
from django.db.models import Q

from tasks.models.accounts import Team, User
from trainer.fire_times import QuietHours
from trainer.models.lines import Line
from trainer.models.recipes import Recipe
from trainer.models.runs import TrainingRun


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def for_user(self, user: Any, team: Team | None = None) -> "ScheduleQuerySet":
        return self.filter(line__in=Line.objects.for_user(user, team))


class Schedule(models.Model):
    """When a line's next turn starts: at cron times in a time zone, if enough is new and enough time has passed.

    In quiet hours (by the zone's clock, over midnight where they end before they begin) no run begins: a fire time that
    comes in them is deferred to their end.
    """

    line = models.ForeignKey(Line, on_delete=models.CASCADE, related_name="schedules")
    recipe = models.ForeignKey(Recipe, on_delete=models.PROTECT, related_name="schedules")
    cron = models.CharField(max_length=100)  # five fields
    timezone = models.CharField(max_length=60, default="UTC")
    min_new_tasks = models.PositiveIntegerField(default=100)  # approved since the last run; 0: none needed
    min_hours = models.FloatField(default=0)  # since the last run started; 0: no minimum
    quiet_from = models.TimeField(null=True, blank=True)  # with quiet_to, or neither
    quiet_to = models.TimeField(null=True, blank=True)
    quiet_days = models.JSONField(default=list, blank=True)  # ISO weekdays on which they begin; []: every day
    enabled = models.BooleanField(default=True)
    decided_until = models.DateTimeField()  # fire times up to here have their Firing
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.line.slug}: {self.cron} {self.timezone}"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def quiet(self) -> QuietHours | None:
        if self.quiet_from is None or self.quiet_to is None:
            return None
        return QuietHours(self.quiet_from, self.quiet_to, frozenset(self.quiet_days))

    @property
    def deferred(self) -> "Firing | None":
        """The fire time that waits for the end of the quiet hours."""
        return self.firings.filter(outcome=Firing.Outcome.DEFERRED).first()


class Firing(models.Model):
    """One fire time, decided once: two beats are harmless. A deferred one waits, and then ran or was skipped."""

    class Outcome(models.TextChoices):
        RAN = "ran"
        SKIPPED = "skipped"
        DEFERRED = "deferred"  # by quiet hours, until deferred_to

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="firings")
    due_at = models.DateTimeField()
    decided_at = models.DateTimeField(auto_now_add=True)
    deferred_to = models.DateTimeField(null=True)  # kept once it is decided
    outcome = models.CharField(max_length=10, choices=Outcome)
    reason = models.CharField(max_length=500)
    run = models.ForeignKey(TrainingRun, null=True, on_delete=models.PROTECT, related_name="firings")

    class Meta:
        ordering = ["-due_at"]
        constraints = [
            models.UniqueConstraint(fields=["schedule", "due_at"], name="one_decision_per_fire_time"),
            models.UniqueConstraint(
                fields=["schedule"], condition=Q(outcome="deferred"), name="one_deferred_firing_per_schedule"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.due_at:%Y-%m-%d %H:%M} {self.outcome}"
