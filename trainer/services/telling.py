"""From the log of events to deliveries: each piece of news is written once for each webhook that wants it.

The cursor runs over the seals, not over the events: ids of events are given before they are committed, so that a
smaller one may turn up behind a larger one; seals are given out by one sealer at a time, to what is committed. Whoever
moves the cursor writes the deliveries in the same transaction.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.conf import settings
from django.db import transaction

from tasks.crash import crash_point
from tasks.models.events import Event, EventSeal
from trainer import news
from trainer.models import Delivery, Evaluation, GateReport, Line, NewsCursor, TrainingRun, Webhook
from trainer.news import News

AT_ONCE = 500  # events of a transaction
Facts = tuple[int, Mapping[str, Any]]  # id of the line, what the message holds


def tell() -> int:
    """Write what is due for all that was sealed since; how many deliveries that made. A second one walks away."""
    NewsCursor.objects.get_or_create(pk=1)
    made, more = 0, True
    while more:
        count, more = _tell()
        made += count
    return made


@transaction.atomic
def _tell() -> tuple[int, bool]:
    cursor = NewsCursor.objects.select_for_update(skip_locked=True).filter(pk=1).first()
    if cursor is None:
        return 0, False
    top = EventSeal.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    fresh = EventSeal.objects.filter(pk__gt=cursor.seal, pk__lte=top, event__kind__in=news.EVENT_KINDS)
    seals = list(fresh.select_related("event__actor").order_by("pk")[:AT_ONCE])
    more = len(seals) == AT_ONCE
    made = [delivery for seal in seals for delivery in _deliveries(seal.event)]
    Delivery.objects.bulk_create(made)
    NewsCursor.objects.filter(pk=1).update(seal=seals[-1].pk if more else top)
    crash_point("news.before_commit")
    return len(made), more


def _deliveries(event: Event) -> Iterable[Delivery]:
    """For the webhooks of the event's team that were there when it happened."""
    told = news.of_event(event.kind, event.data)
    hooks = [hook for hook in _listening(event) if told in hook.types]
    if not hooks:
        return
    line, data = _FACTS[told](event)
    message = news.body(told, event.at.isoformat(), data)
    for hook in hooks:
        if hook.line_id in (None, line):
            yield Delivery(hook=hook, event=event, type=told, body=message, due_at=event.at)


def _listening(event: Event) -> Any:
    return Webhook.objects.filter(team=event.team_id, enabled=True, deleted_at=None, created_at__lte=event.at)


def _of_run(event: Event) -> Facts:
    run = TrainingRun.objects.select_related("line", "start__line").get(pk=event.subject_id)
    version = getattr(run, "version", None)
    why = event.data.get("ending") or event.data
    return run.line_id, {
        "run": run.pk,
        "line": run.line.slug,
        "started_from": run.start.name,
        "version": version.name if version else None,
        "step": run.step,
        "total_steps": run.total_steps,
        "by": _by(event),
        "code": why.get("code"),
        "sentence": why.get("sentence") or why.get("reason") or "",
        "page": f"{settings.PORTAL_URL}/ops/runs/{run.pk}",
    }


def _of_evaluation(event: Event) -> Facts:
    evaluation = Evaluation.objects.select_related("line", "candidate__line", "champion__line").get(pk=event.subject_id)
    return evaluation.line_id, {
        "evaluation": evaluation.pk,
        "line": evaluation.line.slug,
        "candidate": evaluation.candidate.name,
        "champion": evaluation.champion.name,
        "code": event.data.get("code"),
        "sentence": event.data.get("sentence") or "",
        "page": f"{settings.PORTAL_URL}/ops/evaluations/{evaluation.pk}",
    }


def _of_gate(event: Event) -> Facts:
    report = GateReport.objects.select_related("line", "evaluation__candidate__line", "evaluation__champion__line").get(
        pk=event.subject_id
    )
    return report.line_id, {
        "gate": report.pk,
        "line": report.line.slug,
        "candidate": report.evaluation.candidate.name,
        "champion": report.evaluation.champion.name,
        "verdict": report.verdict,
        "sentence": report.sentence,
        "page": f"{settings.PORTAL_URL}/ops/gates/{report.pk}",
    }


def _of_alias(event: Event) -> Facts:
    line = Line.objects.get(pk=event.subject_id)
    return line.pk, {
        "line": line.slug,
        "version": event.data["new"],
        "before": event.data["old"],
        "by": _by(event),
        "gate": event.data["report"],
        "sentence": event.data["reason"],
        "page": f"{settings.PORTAL_URL}/ops/models/{line.slug}",
    }


def _by(event: Event) -> str | None:
    """None: the platform itself."""
    return event.actor.username if event.actor else None


_FACTS: Mapping[News, Callable[[Event], Facts]] = {
    News.RUN_SUCCEEDED: _of_run,
    News.RUN_FAILED: _of_run,
    News.RUN_CANCELLED: _of_run,
    News.RUN_PAUSED: _of_run,
    News.EVALUATION_FAILED: _of_evaluation,
    News.GATE_DECIDED: _of_gate,
    News.MODEL_PROMOTED: _of_alias,
    News.MODEL_ROLLED_BACK: _of_alias,
}
