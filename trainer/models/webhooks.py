"""Webhooks, what was sent to them, and how far the log of events has been told."""

import uuid
from typing import Any

from django.db import models
from django.db.models import Q

from tasks.models.accounts import Team, User
from tasks.models.events import Event
from tasks.models.moves import Moving, StateModel
from tasks.states import Role
from trainer.models.lines import Line
from trainer.states import DELIVERY_MOVES, DeliveryState


class WebhookQuerySet(models.QuerySet["Webhook"]):
    def for_user(self, user: Any, team: Team | None = None) -> "WebhookQuerySet":
        """Of teams that the user operates, to nobody else: such an address often is a key by itself."""
        operated = user.memberships.filter(role__in=[Role.OPERATOR, Role.ADMINISTRATOR])
        if team is not None:
            operated = operated.filter(team=team)
        return self.filter(team__in=operated.values("team"))


class Webhook(models.Model):
    """Where news of a team go: an address that is posted to, or one of e-mail."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="webhooks")
    name = models.CharField(max_length=80)
    url = models.CharField(max_length=500, blank=True)
    email = models.EmailField(blank=True)
    types = models.JSONField(default=list)  # of trainer.news.News
    line = models.ForeignKey(Line, null=True, on_delete=models.PROTECT, related_name="+")  # None: every line
    salt = models.CharField(max_length=64, blank=True)  # with the platform's key: the secret (trainer.signing)
    fingerprint = models.CharField(max_length=16, blank=True)  # of the secret: another key would sign with another
    old_salt = models.CharField(max_length=64, blank=True)
    old_until = models.DateTimeField(null=True)  # until then the secret before signs as well
    enabled = models.BooleanField(default=True)
    off_because = models.CharField(max_length=300, blank=True)
    failing_since = models.DateTimeField(null=True)  # the first failed try since anything arrived
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True)  # its log stays

    objects = WebhookQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.CheckConstraint(condition=Q(url="") ^ Q(email=""), name="url_or_email")]

    def __str__(self) -> str:
        return self.name

    @property
    def sends(self) -> bool:
        return self.enabled and self.deleted_at is None

    @property
    def target(self) -> str:
        return self.url or self.email

    @property
    def state(self) -> str:
        return "deleted" if self.deleted_at else "on" if self.enabled else "off"


class DeliveryQuerySet(Moving):
    def for_user(self, user: Any, team: Team | None = None) -> "DeliveryQuerySet":
        return self.filter(hook__in=Webhook.objects.for_user(user, team))


def _message_id() -> str:
    return f"msg_{uuid.uuid4().hex}"


class Delivery(StateModel):
    """One piece of news for one webhook. `message` and `body` are the same at every try."""

    MOVES = DELIVERY_MOVES

    hook = models.ForeignKey(Webhook, on_delete=models.PROTECT, related_name="deliveries")
    event = models.ForeignKey(Event, null=True, on_delete=models.PROTECT, related_name="+")  # None: a test
    message = models.CharField(max_length=40, unique=True, default=_message_id)
    type = models.CharField(max_length=30)
    body = models.TextField()
    state = models.CharField(
        max_length=12, choices=[(s.value, s.value) for s in DeliveryState], default=DeliveryState.PENDING
    )
    attempt = models.PositiveIntegerField(default=0)  # tries altogether; fences a worker that was given up
    tries = models.PositiveIntegerField(default=0)  # since it was written, or sent again by hand
    due_at = models.DateTimeField()
    lease_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["hook", "event"], name="one_delivery_of_an_event")]
        indexes = [
            models.Index(fields=["hook", "-id"], name="delivery_log"),
            models.Index(fields=["due_at"], name="delivery_due", condition=Q(state__in=["pending", "sending"])),
        ]

    def __str__(self) -> str:
        return f"{self.type} to {self.hook_id} ({self.state})"

    @property
    def owner_team_id(self) -> int | None:
        return self.hook.team_id


class DeliveryTry(models.Model):
    """One try. Written before it is sent: one without an end was cut short, and may have arrived."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="log")
    number = models.PositiveIntegerField()
    at = models.DateTimeField(auto_now_add=True)
    milliseconds = models.PositiveIntegerField(null=True)
    status = models.PositiveIntegerField(null=True)  # of HTTP or SMTP; None: there was no answer
    reply = models.TextField(blank=True)  # the beginning of it
    fault = models.CharField(max_length=300, blank=True)  # why it counts as failed

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["delivery", "number"], name="one_row_per_try")]

    def __str__(self) -> str:
        return f"try {self.number} of {self.delivery_id}"


class NewsCursor(models.Model):
    """How far the sealed log of events has been turned into deliveries. One row."""

    seal = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"told up to {self.seal}"
