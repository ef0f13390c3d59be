"""Samples: questions that a model answered wrongly, collected to be sent back as an upload."""

from typing import Any

from django.db import models
from django.db.models import Q

from tasks.models.accounts import Membership, Team, User
from tasks.models.uploads import Upload


class SampleQuerySet(models.QuerySet["Sample"]):
    def for_user(self, user: Any, team: Team | None = None) -> "SampleQuerySet":
        """In one's own teams: what one collected oneself, and what the team's programs did. A basket is its owner's."""
        teams = Membership.objects.filter(user=user).values("team")
        mine = Q(team__in=teams) & (Q(collected_by=user) | Q(source=Sample.Source.PROGRAM))
        return self.filter(mine if team is None else mine & Q(team=team))

    def waiting(self) -> "SampleQuerySet":
        """Not sent yet."""
        return self.filter(upload=None)


class Sample(models.Model):
    """Kept with a licence and the consent to it, or not at all. Sent, it says where it went, no longer what it said."""

    class Source(models.TextChoices):
        PLAYGROUND = "playground", "Marked wrong on the playground"
        PROGRAM = "program", "Sent by a program of the team"

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="samples")
    collected_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    source = models.CharField(max_length=10, choices=Source)
    row = models.JSONField(null=True)  # tasks.formats.native, without metadata; null: sent, the upload has it
    asked_as = models.CharField(max_length=160)  # the model's name as it was asked for: "champion"
    version = models.CharField(max_length=120)  # the version that this meant when it was collected: "shared/v3"
    answer = models.TextField(blank=True)
    score = models.FloatField(null=True)  # as its program or user scored the answer
    feedback = models.CharField(max_length=1000, blank=True)
    licence = models.CharField(max_length=60)
    consent_version = models.CharField(max_length=20)
    upload = models.ForeignKey(Upload, null=True, on_delete=models.PROTECT, related_name="samples")  # null: not sent
    line = models.PositiveIntegerField(null=True)  # of that upload
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)

    objects = SampleQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["team"], condition=Q(upload=None), name="sample_waiting")]

    def __str__(self) -> str:
        return f"sample {self.pk} for {self.team}"

    @property
    def prompt(self) -> str:
        return "\n".join(message["content"] for message in self.row["messages"]) if self.row else ""

    @property
    def grader(self) -> str:
        """The kind of grader."""
        return str(self.row["grader"]["type"]) if self.row else ""
