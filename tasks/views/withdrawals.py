"""/withdrawals: receipts of what your teams have withdrawn."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from tasks.models import Team, WithdrawalReceipt
from tasks.services import receipts
from tasks.views import examples
from tasks.views.listing import exported, facts_of, page_of
from tasks.views.scope import signed_in


@login_required
@require_safe
def receipt_list(request: HttpRequest) -> HttpResponse:
    rows = WithdrawalReceipt.objects.for_user(request.user).finished()
    rows = rows.select_related("team", "dataset__team", "withdrawn_by")
    if team := request.GET.get("team"):
        rows = rows.filter(team__slug=team)
    if reply := exported(request, facts_of(rows[:10_000], _facts), name="withdrawals"):
        return reply
    context = {
        "page": page_of(request, rows),
        "teams": Team.objects.filter(pk__in=signed_in(request).team_ids()),
        "example": examples.ROW,
    }
    return render(request, "tasks/withdrawals.html", context)


def _facts(receipt: WithdrawalReceipt) -> dict[str, Any]:
    return {
        "id": receipt.pk,
        "finished_at": receipt.finished_at.isoformat() if receipt.finished_at else "",
        "team": receipt.team.slug,
        "what": receipt.subject,
        "withdrawn": receipt.withdrawn,
        "kept": receipt.kept,
        "withdrawn_by": receipt.withdrawn_by.username if receipt.withdrawn_by else "",
        "reason": receipt.reason,
        "digest": receipt.digest,
    }


@login_required
@require_safe
def receipt_page(request: HttpRequest, pk: int) -> HttpResponse:
    rows = WithdrawalReceipt.objects.for_user(request.user).finished()
    found = rows.select_related("team", "dataset__team", "withdrawn_by", "event")
    receipt: WithdrawalReceipt = get_object_or_404(found, pk=pk)
    shown = receipts.shown(receipt)
    if request.GET.get("format") == "json":
        headers = {"Content-Disposition": f'attachment; filename="withdrawal-{pk}.json"'}
        return JsonResponse(shown, headers=headers, json_dumps_params={"indent": 2})
    context = {"receipt": receipt, "shown": shown, "seen": receipt.seen or {}, "holds": receipts.holds(receipt)}
    return render(request, "tasks/withdrawal.html", context)
