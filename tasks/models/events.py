"""The one table of events, append-only (a trigger refuses UPDATE and DELETE), and the hash chain behind it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection, models, transaction

_SEALER_LOCK = 0x464C5957  # one sealer at a time, across processes


@dataclass(frozen=True, slots=True)
class Subject:
    type: str
    id: str


class Event(models.Model):
    """One thing that happened. Written in the same transaction as the change it tells of; bulk: one event a chunk."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    kind = models.CharField(max_length=80, db_index=True)  # "task.approved", "upload.imported"
    team = models.ForeignKey("tasks.Team", null=True, on_delete=models.PROTECT, related_name="+")
    actor = models.ForeignKey("tasks.User", null=True, on_delete=models.PROTECT, related_name="+")
    subject_type = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=64)
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["subject_type", "subject_id"], name="event_subject")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_type}/{self.subject_id}"

    def content(self) -> str:
        """Canonical text of the event: what its seal is taken over."""
        return json.dumps(
            [
                self.pk,
                self.at.isoformat(),
                self.kind,
                self.team_id,
                self.actor_id,
                self.subject_type,
                self.subject_id,
                self.data,
            ],
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )


class EventSeal(models.Model):
    """A link of the hash chain: sha-256 of the link before and the event's content. Append-only as well."""

    event = models.OneToOneField(Event, on_delete=models.PROTECT, related_name="seal")
    digest = models.CharField(max_length=64)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.pk}: {self.digest[:12]}"


def record(
    kind: str, *, subject: Subject, team: int | None, actor: Any = None, data: Mapping[str, Any] | None = None
) -> Event:
    return Event.objects.create(
        kind=kind,
        subject_type=subject.type,
        subject_id=subject.id,
        team_id=team,
        actor_id=getattr(actor, "pk", actor),
        data=dict(data or {}),
    )


def _link(previous: str, event: Event) -> str:
    return hashlib.sha256(f"{previous}\n{event.content()}".encode()).hexdigest()


def seal(limit: int = 5000) -> int:
    """Append links for events that have none; returns how many. One sealer at a time: a second one walks away."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_SEALER_LOCK])
            if not cursor.fetchone()[0]:
                return 0
        last = EventSeal.objects.order_by("-id").first()
        previous = last.digest if last else ""
        links = []
        for event in Event.objects.filter(seal__isnull=True).order_by("id")[:limit]:
            previous = _link(previous, event)
            links.append(EventSeal(event=event, digest=previous))
        EventSeal.objects.bulk_create(links)
        return len(links)


def verify() -> tuple[int, int | None]:
    """Walk the chain. Returns (links that hold, id of the first event whose link does not, or None)."""
    previous, held = "", 0
    for link in EventSeal.objects.select_related("event").order_by("id").iterator(chunk_size=2000):
        previous = _link(previous, link.event)
        if previous != link.digest:
            return held, link.event_id
        held += 1
    return held, None
