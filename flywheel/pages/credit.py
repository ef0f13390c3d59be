"""/datasets/…/credit: what each version did on one dataset's own held-out rows."""

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from flywheel.pages.leaderboard import TONES
from tasks.models import Dataset
from tasks.views.listing import exported, facts_of, page_of
from tasks.views.scope import dataset_of
from trainer.evaluation.claim import Claim
from trainer.models import CreditEntry
from trainer.services import credit
from trainer.views.drawing import Forest, forest

DRAWN = 20  # versions; the table goes on


@login_required
@require_safe
def dataset_credit(request: HttpRequest, team: str, slug: str) -> HttpResponse:
    dataset = dataset_of(request, team, slug)
    rows = entries_of(dataset, request.user)
    if claim := request.GET.get("claim"):
        rows = rows.filter(claim=claim)
    if reply := exported(request, facts_of(rows[:10_000], facts), name=f"credit-{slug}"):
        return reply
    page = page_of(request, rows)
    context = {
        "dataset": dataset,
        "page": page,
        "shown": [(entry, credit.effect_of(entry)) for entry in page.rows],
        "forest": _forest(page.rows),
        "claims": list(Claim),
        "finding": newest_sentence(page.rows),
    }
    return render(request, "dataset_credit.html", context)


def entries_of(dataset: Dataset, user: Any) -> Any:
    """Newest first. `for_user` asks for the report's line as well: another team's expert tells nothing."""
    return credit.of_reports(CreditEntry.objects.for_user(user).filter(dataset=dataset)).order_by("-pk")


def newest_sentence(entries: Sequence[CreditEntry]) -> str:
    """The newest version that its rows have trained; else the newest that was measured."""
    trained = next((entry for entry in entries if entry.rows), entries[0] if entries else None)
    return credit.sentence(trained, whose="its") if trained else ""


def _forest(entries: Sequence[CreditEntry]) -> Forest | None:
    measured = [(entry, effect) for entry in entries[:DRAWN] if (effect := credit.effect_of(entry))]
    rows = [
        {
            "suite": entry.report.evaluation.candidate.name.rpartition("/")[2],
            "role": entry.claim,
            "finding": TONES.get(entry.claim, "watched"),
            "difference": effect.difference,
            "low": effect.low,
            "high": effect.high,
            "threshold": 0.0,
        }
        for entry, effect in measured
    ]
    return forest(rows) if rows else None


def facts(entry: CreditEntry) -> dict[str, Any]:
    effect = entry.effect or {}
    fields = ("items", "clusters", "before", "after", "difference", "low", "high")
    return {
        "report": entry.report_id,
        "version": entry.report.evaluation.candidate.name,
        "champion": entry.report.evaluation.champion.name,
        "verdict": entry.report.verdict,
        "rows": entry.rows,
        **{name: effect.get(name) for name in fields},
        "adjusted_p": entry.adjusted_p,
        "claim": entry.claim,
    }
