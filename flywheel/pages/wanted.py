"""/wanted: the domains that more tasks are wanted of. Anybody may read it; it holds figures of the shared line only."""

from collections.abc import Iterator, Mapping, Sequence

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from tasks.views.listing import exported
from trainer.evaluation import wanted
from trainer.evaluation.wanted import FEWEST_UNTAUGHT, RULE, Reason, Wanted, facts
from trainer.models import Line
from trainer.services import coverage, lines
from trainer.states import LinePurpose
from trainer.views.drawing import Rates, rates

TONES: Mapping[Reason, str] = {Reason.FAILS: "hold", Reason.NEARLY_SOLVED: "pass"}  # the word stands beside
DRAWN = 40  # domains; the table has more
SHOWN = 500  # of the table; the files have all
NAME_DRAWN = 24  # characters
ON_HOME = 3


@require_safe
def wanted_page(request: HttpRequest) -> HttpResponse:
    shared = Line.objects.filter(purpose=LinePurpose.SHARED).order_by("pk")
    asked = request.GET.get("line")
    line = get_object_or_404(shared, slug=asked) if asked else lines.shared_line()
    listed = coverage.listed(line) if line else None
    if listed and (reply := exported(request, map(facts, listed.rows), name="wanted")):
        return reply
    chosen = _chosen(listed.rows, request.GET.get("reason", "")) if listed else []
    context = {
        "listed": listed,
        "lines": shared[:50],
        "reasons": [(reason.value, _count(reason, listed.rows)) for reason in Reason] if listed else [],
        "rows": chosen[:SHOWN],
        "left_out": max(len(chosen) - SHOWN, 0),
        "drawing": _drawing(chosen),
        "drawn": DRAWN,
        "finding": wanted.finding(listed.rows) if listed else "",
        "rule": RULE,
        "fewest": FEWEST_UNTAUGHT,
        "fails_below": wanted.FAILS_BELOW,
        "solved_from": wanted.SOLVED_FROM,
    }
    return render(request, "wanted.html", context)


def _chosen(rows: Sequence[Wanted], reason: str) -> list[tuple[int, Wanted]]:
    """With their places, which a filter does not change. A domain is found under each of its reasons."""
    return [(place, row) for place, row in enumerate(rows, start=1) if not reason or reason in row.reasons]


def _count(reason: Reason, rows: Sequence[Wanted]) -> int:
    return sum(reason in row.reasons for row in rows)


def _drawing(rows: Sequence[tuple[int, Wanted]]) -> Rates | None:
    drawn = [
        (_short(f"{place}. {row.have.domain}"), row.reason.value, TONES.get(row.reason, "watched"), row.have.rate)
        for place, row in rows
        if row.have.rate is not None
    ]
    return rates(drawn[:DRAWN], marked=(wanted.FAILS_BELOW, wanted.SOLVED_FROM)) if drawn else None


def _short(name: str) -> str:
    return name if len(name) <= NAME_DRAWN else f"{name[: NAME_DRAWN - 1]}…"


def most_wanted() -> Iterator[Wanted]:
    """The first of the shared line, for the home page."""
    line = lines.shared_line()
    yield from coverage.listed(line).wanted[:ON_HOME] if line else ()
