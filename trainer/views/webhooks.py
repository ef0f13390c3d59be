"""/ops/webhooks: who is told what happens, what was sent, and sending it again. For operators of a team."""

import json
from datetime import timedelta
from statistics import median
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import Invalid
from tasks.models import Team
from tasks.states import Role
from tasks.views import documents, live
from tasks.views.listing import exported, facts_of, page_of
from trainer.forms import WebhookChangeForm, WebhookForm
from trainer.models import Delivery, DeliveryTry, Line, Webhook
from trainer.news import CHOICES, News
from trainer.services import deliveries, webhooks
from trainer.states import DELIVERY_ENDED, DeliveryState

DAYS = 7  # that a finding looks back
MEASURED = 1000  # tries, the newest


@login_required
@require_safe
def hook_list(request: HttpRequest) -> HttpResponse:
    rows = _filtered(request, _hooks(request))
    if reply := exported(request, facts_of(rows, _hook_facts), name="webhooks"):
        return reply
    return _list(request, rows, _new_form(request.user))


def _list(request: HttpRequest, rows: Any, form: WebhookForm, status: int = 200) -> HttpResponse:
    found = _hooks(request)
    counts = found.aggregate(
        on=Count("pk", filter=Q(deleted_at=None, enabled=True)),
        off=Count("pk", filter=Q(deleted_at=None, enabled=False)),
        deleted=Count("pk", filter=~Q(deleted_at=None)),
        failing=Count("pk", filter=Q(deleted_at=None, failing_since__isnull=False)),
    )
    context = {
        "page": page_of(request, rows),
        "counts": counts,
        "states": [(name, counts[name]) for name in ("on", "off", "deleted")],
        "form": form,
        "may_add": _teams(request.user).exists(),
        "chosen_types": form["types"].value() or [],
        "types": CHOICES.items(),
        "mail_is_off": webhooks.mail_is_off(),
        "tries": deliveries.TRIES,
    }
    return render(request, "trainer/webhooks.html", context, status=status)


def _hooks(request: HttpRequest) -> QuerySet[Webhook]:
    newest = Delivery.objects.filter(hook=OuterRef("pk")).order_by("-pk")
    return (
        Webhook.objects.for_user(request.user)
        .select_related("team", "line", "created_by")
        .annotate(last_at=Subquery(newest.values("created_at")[:1]), last_state=Subquery(newest.values("state")[:1]))
    )


def _filtered(request: HttpRequest, rows: QuerySet[Webhook]) -> QuerySet[Webhook]:
    state = request.GET.get("state")
    if state == "deleted":
        return rows.exclude(deleted_at=None)
    rows = rows.filter(deleted_at=None)
    return rows.filter(enabled=state == "on") if state in ("on", "off") else rows


def _hook_facts(hook: Any) -> dict[str, Any]:
    return {
        "id": hook.pk,
        "team": hook.team.slug,
        "name": hook.name,
        "target": hook.target,
        "types": hook.types,
        "line": hook.line.slug if hook.line else "",
        "state": hook.state,
        "off_because": hook.off_because,
        "last_delivery": hook.last_at.isoformat() if hook.last_at else "",
        "last_state": hook.last_state or "",
    }


def _teams(user: Any) -> QuerySet[Team]:
    operated = user.memberships.filter(role__in=[Role.OPERATOR, Role.ADMINISTRATOR])
    return Team.objects.filter(pk__in=operated.values("team")).order_by("name")


def _lines(teams: Any) -> QuerySet[Line]:
    return Line.objects.filter(team__in=teams).order_by("slug")


def _new_form(user: Any, data: Any = None) -> WebhookForm:
    teams = _teams(user)
    return WebhookForm(teams, _lines(teams), data)


@login_required
@require_POST
@never_cache
def create(request: HttpRequest) -> HttpResponse:
    """The secret is on this reply and nowhere else. What cannot be right comes back with what was typed."""
    form = _new_form(request.user, request.POST)
    if form.is_valid():
        try:
            hook, secret = webhooks.create(form.cleaned_data.pop("team"), actor=request.user, **form.cleaned_data)
        except Invalid as refused:
            form.add_error(refused.param if refused.param in form.fields else None, refused.sentence)
        else:
            return _page(request, _find(request, hook.pk), secret)
    return _list(request, _filtered(request, _hooks(request)), form, status=400)


def _find(request: HttpRequest, pk: int) -> Webhook:
    found: Webhook = get_object_or_404(_hooks(request), pk=pk)
    return found


@login_required
@require_safe
def hook_page(request: HttpRequest, pk: int) -> HttpResponse:
    hook = _find(request, pk)
    if reply := exported(request, facts_of(_log(request, hook)[:10_000], _facts), name=f"webhook-{pk}-deliveries"):
        return reply
    return _page(request, hook)


def _log(request: HttpRequest, hook: Webhook) -> QuerySet[Delivery]:
    newest = DeliveryTry.objects.filter(delivery=OuterRef("pk")).order_by("-number")
    rows = hook.deliveries.annotate(
        last_status=Subquery(newest.values("status")[:1]),
        last_fault=Subquery(newest.values("fault")[:1]),
        last_milliseconds=Subquery(newest.values("milliseconds")[:1]),
    )
    asked = {name: request.GET[name] for name in ("state", "type") if request.GET.get(name)}
    return rows.filter(**asked)


def _facts(delivery: Any) -> dict[str, Any]:
    return {
        "id": delivery.pk,
        "webhook_id": delivery.message,
        "type": delivery.type,
        "state": delivery.state,
        "tries": delivery.attempt,
        "status": delivery.last_status,
        "fault": delivery.last_fault or "",
        "milliseconds": delivery.last_milliseconds,
        "created_at": delivery.created_at.isoformat(),
        "finished_at": delivery.finished_at.isoformat() if delivery.finished_at else "",
    }


def _page(request: HttpRequest, hook: Webhook, secret: str = "") -> HttpResponse:
    counts = dict(hook.deliveries.order_by().values_list("state").annotate(n=Count("pk")))
    context = {
        "hook": hook,
        "secret": secret,
        "page": page_of(request, _log(request, hook)),
        "states": [(state, counts.get(state, 0)) for state in DeliveryState],
        "total": sum(counts.values()),
        "types": list(News),
        "choices": CHOICES.items(),
        "lines": _lines([hook.team_id]),
        "finding": _finding(hook),
        "rotating": hook.old_until is not None and hook.old_until > timezone.now(),
        "mail_is_off": webhooks.mail_is_off() if hook.email else "",
        "tries": deliveries.TRIES,
    }
    return render(request, "trainer/webhook.html", context)


def _finding(hook: Webhook) -> str:
    since = timezone.now() - timedelta(days=DAYS)
    ended = hook.deliveries.filter(created_at__gt=since, state__in=DELIVERY_ENDED)
    total, arrived = ended.count(), ended.filter(state=DeliveryState.DELIVERED).count()
    if not total:
        return f"Nothing was sent in the last {DAYS} days."
    tries = DeliveryTry.objects.filter(delivery__hook=hook, at__gt=since, fault="", milliseconds__isnull=False)
    took: list[Any] = list(tries.order_by("-pk").values_list("milliseconds", flat=True)[:MEASURED])
    quick = f"; the median of what was answered well is {median(took):.0f} ms" if took else ""
    return f"{arrived} of {total} deliveries of the last {DAYS} days arrived{quick}."


@login_required
@require_POST
def change(request: HttpRequest, pk: int) -> HttpResponse:
    hook = _find(request, pk)
    form = WebhookChangeForm(_lines([hook.team_id]), request.POST)
    if not form.is_valid():
        field, errors = next(iter(form.errors.items()))
        raise Invalid("webhook_invalid", f"{field}: {' '.join(map(str, errors))}", field)
    webhooks.change(hook, actor=request.user, **form.cleaned_data)
    messages.success(request, "The webhook is changed: it holds for what happens from now on.")
    return redirect("webhook", pk)


@login_required
@require_POST
@never_cache
def rotate(request: HttpRequest, pk: int) -> HttpResponse:
    """As with a new one, the secret is on this reply and nowhere else."""
    secret = webhooks.rotate(_find(request, pk), actor=request.user)
    return _page(request, _find(request, pk), secret)


@login_required
@require_POST
def steer(request: HttpRequest, pk: str, verb: str) -> HttpResponse:
    hook = _find(request, int(pk))
    match verb:
        case "test":
            delivery = webhooks.send_test(hook, actor=request.user)
            return redirect("delivery", hook.pk, delivery.pk)
        case "on":
            webhooks.switch(hook, True, actor=request.user)
            messages.success(request, "It is on: what happens from now on is told.")
        case "off":
            webhooks.switch(hook, False, actor=request.user)
            messages.success(request, "It is off: nothing is sent, and what waited is cancelled.")
        case _:
            webhooks.delete(hook, actor=request.user)
            messages.success(request, f"{hook.name} is deleted. Its log stays, under the filter “deleted”.")
            return redirect("webhooks")
    return redirect("webhook", hook.pk)


def _delivery(request: HttpRequest, pk: int, delivery: int) -> Delivery:
    rows = Delivery.objects.for_user(request.user).select_related("hook__team", "event")
    found: Delivery = get_object_or_404(rows, pk=delivery, hook=pk)
    return found


@login_required
@require_safe
def delivery_page(request: HttpRequest, pk: int, delivery: int) -> HttpResponse:
    found = _delivery(request, pk, delivery)
    return render(request, "trainer/delivery.html", {**_shown(found), "body": json.loads(found.body)})


@login_required
@require_safe
def delivery_status(request: HttpRequest, pk: int, delivery: int) -> HttpResponse:
    shown = _shown(_delivery(request, pk, delivery))
    return live.fragment(request, "trainer/_delivery.html", shown, finished=shown["ended"])


def _shown(delivery: Delivery) -> dict[str, Any]:
    return {
        "delivery": delivery,
        "hook": delivery.hook,
        "log": list(delivery.log.all()),
        "ended": delivery.state in DELIVERY_ENDED,
        "left": max(deliveries.TRIES - delivery.tries, 0),
        "tries": deliveries.TRIES,
        "late": delivery.state == DeliveryState.PENDING and delivery.due_at < timezone.now() - timedelta(seconds=30),
    }


@login_required
@require_POST
def again(request: HttpRequest, pk: int, delivery: int) -> HttpResponse:
    webhooks.send_again(_delivery(request, pk, delivery), actor=request.user)
    messages.success(request, "It is on its way again, under the same id.")
    return redirect("delivery", pk, delivery)


@login_required
@require_safe
def explained(request: HttpRequest) -> HttpResponse:
    told = documents.sections("webhooks.md")
    context = {
        "introduction": documents.html(documents.introduction("webhooks.md")),
        "sections": [(documents.anchor(heading), heading, documents.html(text)) for heading, text in told.items()],
    }
    return render(request, "trainer/docs_webhooks.html", context)
