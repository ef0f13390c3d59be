"""/ops/gates: verdicts, and one report with everything that made it."""

import json
from typing import Any

import msgspec
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from tasks.views.listing import exported, facts_of, page_of
from trainer.evaluation import markdown
from trainer.evaluation.decision import GateDecision
from trainer.evaluation.exposure import Exposure
from trainer.evaluation.points import pp
from trainer.models import Evaluation, GateReport, Line
from trainer.services import data_changes, known_answers, looks, policies
from trainer.states import AliasName, Verdict
from trainer.views import history
from trainer.views.drawing import curve, forest, score_chart
from trainer.views.scope import may_operate

NEXT_STEPS = {
    Verdict.PROMOTE: "The candidate may become champion.",
    Verdict.HOLD: "The candidate stays a candidate. Look at the suites named below: their regressions say what was "
    "lost. Then change the mixture's weights or the recipe, and train again.",
    Verdict.INCONCLUSIVE: "Nothing moves. More sealed items or more answers per item would settle it; the table says "
    "how many. Approve more tasks of those domains, then evaluate again.",
    Verdict.INVALID: "Nothing moves, and nothing may be read off these numbers. Repair the reason named, then evaluate "
    "again.",
}

TONES = {Verdict.PROMOTE: "good", Verdict.HOLD: "bad", Verdict.INCONCLUSIVE: "warn", Verdict.INVALID: "warn"}


@login_required
@require_safe
def report_list(request: HttpRequest) -> HttpResponse:
    rows = GateReport.objects.for_user(request.user).select_related(
        "line", "evaluation__candidate__line", "evaluation__champion__line"
    )
    if verdict := request.GET.get("verdict"):
        rows = rows.filter(verdict=verdict)
    if line := request.GET.get("line"):
        rows = rows.filter(line__slug=line)
    if reply := exported(request, facts_of(rows[:10_000], _facts), name="gate-reports"):
        return reply
    context = {
        "page": page_of(request, rows),
        "verdicts": list(Verdict),
        "lines": Line.objects.for_user(request.user).order_by("slug")[:50],
    }
    return render(request, "trainer/gates.html", context)


def _facts(report: GateReport) -> dict[str, Any]:
    return {
        "id": report.pk,
        "line": report.line.slug,
        "candidate": report.evaluation.candidate.name,
        "champion": report.evaluation.champion.name,
        "verdict": report.verdict,
        "sentence": report.sentence,
        "decided_at": report.created_at.isoformat(),
    }


@login_required
@require_safe
def report_page(request: HttpRequest, pk: int) -> HttpResponse:
    reports = GateReport.objects.for_user(request.user).select_related(
        "line__team", "evaluation__candidate__line", "evaluation__candidate__run__mixture", "evaluation__champion__line"
    )
    report = get_object_or_404(reports, pk=pk)
    shown = report.line.shows_rows_to(request.user)
    if request.GET.get("format") == "json":
        return _as_json(report, with_flips=shown)
    if request.GET.get("format") == "markdown":
        return _as_markdown(report)
    decision, rows = report.decision, report.decision.get("rows", [])
    exposure = msgspec.convert(decision.get("exposure", []), list[Exposure])
    flips = [flip for flip in report.flips if request.GET.get("suite") in (None, "", flip.get("suite"))]
    context = {
        "report": report,
        "evaluation": report.evaluation,
        "decision": decision,
        "rows": rows,
        "forest": forest(rows) if rows else None,
        "has_anchor": any(row.get("anchor") for row in rows),
        "confidence": f"{100 * (1 - 2 * decision.get('alpha', 0.025)):.3g}",
        "changes": data_changes.between(report.evaluation.champion, report.evaluation.candidate),
        **_versions(report.line),
        "offer": looks.offer(report),
        "followed": report.evaluation.extensions.select_related("report").order_by("-pk").first(),
        "tone": TONES[Verdict(report.verdict)],
        "finding": _finding(rows),
        "checks": _checks(decision),
        "known": known_answers.told(report.evaluation),
        "over_steps": _over_steps(decision.get("gap_steps", [])),
        "slices": decision.get("slices", []),
        "next_step": _next_step(report),
        "exposure": exposure,
        "over_budget": [one.warning for one in exposure if one.warning],
        "digests": _digests(decision.get("digests", {})),
        "flips": flips[:40] if shown else [],
        "flip_count": len(report.flips),
        "regressions": sum(flip.get("kind") == "regression" for flip in report.flips),
        "suites": sorted({flip.get("suite", "") for flip in report.flips}),
        "shows_rows": shown,
        "moves": report.line.alias_moves.filter(report=report).select_related("new__line", "old__line"),
        "may_operate": may_operate(request.user, report.line),
        "outdated": report.verdict in (Verdict.PROMOTE, Verdict.INCONCLUSIVE) and not policies.still_holds(report),
        "lock": report.line.locked(AliasName.CHAMPION),
        "waits_for_person": policies.still_holds(report)
        and report.verdict == Verdict.PROMOTE
        and not report.evaluation.candidate.aliases.filter(name="champion").exists(),
    }
    return render(request, "trainer/gate.html", context)


@login_required
@require_POST
def go_on(request: HttpRequest, pk: int) -> HttpResponse:
    report = get_object_or_404(GateReport.objects.for_user(request.user).select_related("evaluation__line"), pk=pk)
    evaluation: Evaluation = looks.go_on(report, actor=request.user)
    messages.success(request, f"Look {evaluation.look} is queued: the verdict will be read on all answers together.")
    return redirect("evaluation", evaluation.pk)


def _versions(line: Line) -> dict[str, Any]:
    """How good every champion was until now, and which one a person approved last."""
    scores = history.champion_scores(line)
    return {
        "scores": scores,
        "chart": score_chart(scores, width=900) if scores else None,
        "versions_finding": history.finding(scores),
        "anchor": line.alias(AliasName.ANCHOR),
    }


def _next_step(report: GateReport) -> str:
    """What a person does about the verdict; where another look is declared, that is it."""
    if looks.offer(report) is None:
        return NEXT_STEPS[Verdict(report.verdict)]
    if looks.within_plan(report):
        return "Nothing moves yet. The planned answers are not all in: the next look follows of itself."
    return (
        "Nothing moves. The policy has kept a part of alpha for more answers: run them, and the verdict is read again "
        "on all of them together."
    )


def _finding(rows: list[dict[str, Any]]) -> str:
    """The plot in one sentence."""
    passed = [row["suite"] for row in rows if row["finding"] == "pass"]
    held = [row["suite"] for row in rows if row["finding"] == "hold"]
    open_ = [row["suite"] for row in rows if row["finding"] == "inconclusive"]
    parts = [f"{len(passed)} of {sum(row['finding'] != 'watched' for row in rows)} tests pass"]
    parts += [f"{', '.join(held)} fell too far"] if held else []
    parts += [f"{', '.join(open_)} cannot be told"] if open_ else []
    return f"{'; '.join(parts)}."


def _checks(decision: dict[str, Any]) -> list[dict[str, Any]]:
    """What was asked beside the differences; a report of an earlier day has none of it."""
    named = [("cost", "costs"), ("invariant", "invariants"), ("scorer gap", "gaps")]
    return [{"what": what, **one} for what, field in named for one in decision.get(field, [])]


def _over_steps(steps: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What training paid for its own answers, beside what a grader gives that nobody trained against."""
    if not steps:
        return None
    first, last = steps[0], steps[-1]
    drawn = {
        name: curve([(one["step"], one[name]) for one in steps], marked=last["step"], wanted=0.0, width=900)
        for name in ("reward", "independent")
    }
    apart = [pp(one["reward"] - one["independent"]) for one in (first, last)]
    return {
        "steps": steps,
        "chart": drawn["reward"],
        "other": drawn["independent"].path,
        "finding": f"At step {last['step']} training paid {pp(last['reward'])} %, and the independent grader gives "
        f"{pp(last['independent'])} %: a gap of {apart[1]} pp; at step {first['step']} it was {apart[0]} pp.",
    }


def _digests(digests: dict[str, Any]) -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for name, value in sorted(digests.items()):
        if isinstance(value, dict):
            flat += [(f"{name.rstrip('s')} {inner}", digest) for inner, digest in sorted(value.items())]
        elif value:
            flat.append((name, value))
    return flat


def _as_json(report: GateReport, *, with_flips: bool) -> HttpResponse:
    changes = data_changes.between(report.evaluation.champion, report.evaluation.candidate)
    body = {
        **_facts(report),
        "decision": report.decision,
        "data": msgspec.to_builtins(changes),
        "known": known_answers.told(report.evaluation),
        "flips": report.flips if with_flips else [],
    }
    headers = {"Content-Disposition": f'attachment; filename="gate-{report.pk}.json"'}
    return HttpResponse(
        json.dumps(body, indent=2, ensure_ascii=False), content_type="application/json", headers=headers
    )


def _data_in_words(report: GateReport) -> list[str]:
    changes = data_changes.between(report.evaluation.champion, report.evaluation.candidate)
    return ["", f"Data: {changes.sentence}"] if changes else []


def _known_in_words(report: GateReport) -> list[str]:
    known = known_answers.told(report.evaluation)
    return ["", *(f"- {sentence}" for sentence in known)] if known else []


def _as_markdown(report: GateReport) -> HttpResponse:
    decision = msgspec.convert(report.decision, GateDecision)
    headers = {"Content-Disposition": f'attachment; filename="gate-{report.pk}.md"'}
    text = "\n".join([*markdown.lines(decision), *_known_in_words(report), *_data_in_words(report)])
    return HttpResponse(text, content_type="text/markdown; charset=utf-8", headers=headers)
