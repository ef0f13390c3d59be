"""/ops/usage: what engines have spent, by team and month; a team sees its own, operators of the pool all."""

from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from tasks.errors import Invalid
from tasks.models import Team
from tasks.services import accounts
from tasks.states import Role
from tasks.views.listing import exported
from tasks.views.scope import signed_in
from trainer.forms import UsageBudgetForm
from trainer.models import Usage
from trainer.models.usage import seen_teams
from trainer.services import usage

MONTHS_SHOWN = 400  # rows


@login_required
@require_safe
def usage_page(request: HttpRequest) -> HttpResponse:
    spent = usage.by_month(Usage.objects.for_user(request.user))
    if reply := exported(request, (asdict(row) for row in spent), name="usage"):
        return reply
    rows = list(spent)
    context = {
        "rows": rows[:MONTHS_SHOWN],
        "more": max(0, len(rows) - MONTHS_SHOWN),
        "budgets": [_budget(team) for team in seen_teams(request.user).order_by("slug")[:100]],
        "may_set": bool(signed_in(request).roles_in(accounts.pool()) & {Role.OPERATOR, Role.ADMINISTRATOR}),
    }
    return render(request, "trainer/usage.html", context)


def _budget(team: Team) -> dict[str, Any]:
    budget, used = usage.budget_of(team), usage.minutes_this_month(team)
    return {"team": team, "budget": budget, "used": used, "spent": budget is not None and used >= budget}


@login_required
@require_POST
def set_budget(request: HttpRequest) -> HttpResponse:
    form = UsageBudgetForm(request.POST)
    if not form.is_valid():
        raise Invalid("bad_budget", "Give minutes from 0 up, or nothing for no limit.", "minutes_per_month")
    team = get_object_or_404(seen_teams(request.user), slug=form.cleaned_data["team"])
    minutes = form.cleaned_data["minutes_per_month"]
    usage.set_budget(team, minutes, actor=request.user)
    limit = "no limit" if minutes is None else f"{minutes:g} engine minutes"
    messages.success(request, f"{team.name} has {limit} a month.")
    return redirect("usage")
