"""/ops/models/<line>/policy: what a candidate must show, what that takes, and how it came about."""

import json
from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from tasks.errors import FlywheelError
from trainer.evaluation.planning import power_curve
from trainer.evaluation.policy import UNKNOWN, GatePolicy, policy_from
from trainer.evaluation.scoring import OVERALL
from trainer.models import Line, PolicyVersion
from trainer.services import planning, policies, suites
from trainer.views import policy_form
from trainer.views.drawing import curve
from trainer.views.scope import may_operate
from trainer.views.versions import find_line

SHOWN = 20  # versions of the history
SIZES = 40  # points of the power curve


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def policy_page(request: HttpRequest, slug: str) -> HttpResponse:
    """A preview shows what a policy would take and keeps what was typed; so does one that is refused."""
    line = find_line(request, slug)
    if request.GET.get("format") == "yaml":
        return _as_yaml(line)
    policy, refused = policies.of(line), ""
    if request.method == "POST":
        try:
            body = _given(request)
            policy = policy_from(body)
            if "preview" not in request.POST:
                version = policies.change(line, body, actor=request.user, reason=request.POST.get("reason", ""))
                messages.success(request, f"Policy {version.number} is in force. Verdicts of before stay as they are.")
                return redirect("line-policy", slug)
        except FlywheelError as wrong:
            refused = wrong.sentence
    context = _context(request, line, policy)
    if refused and "policy" not in request.POST:
        context["fields"] = policy_form.fields(policy, request.POST.dict())
    context |= {"refused": refused, "previewed": request.method == "POST" and not refused, "typed": _typed(request)}
    return render(request, "trainer/policy.html", context, status=400 if refused else 200)


def _given(request: HttpRequest) -> dict[str, Any]:
    if "policy" in request.POST:
        return policy_form.parsed(request.POST["policy"])
    return policy_form.read({name: str(value) for name, value in request.POST.items()})


def _typed(request: HttpRequest) -> str:
    return request.POST.get("policy", "")


def _context(request: HttpRequest, line: Line, policy: GatePolicy) -> dict[str, Any]:
    available = suites.available(line)
    return {
        "line": line,
        "policy": policy,
        "yaml": policy_form.text_of(policy),
        "fields": policy_form.fields(policy),
        "suites": policy_form.suites(policy, available),
        "places": policy_form.PLACES,
        "targets": policy_form.targets(policy, available),
        "history": _history(line),
        "may_operate": may_operate(request.user, line),
        **(_planned(line, policy, available) if available else {}),
    }


def _planned(line: Line, policy: GatePolicy, available: Mapping[str, int]) -> dict[str, Any]:
    """What the policy would ask of each side, and the chance to see a gain by how many items are asked."""
    planned = planning.planned(line, policy, available)
    plan = planned.plan
    target = next((one for one in plan.suites if one.suite == policy.target), None)
    whole = sum(available.values()) if policy.target == OVERALL else available.get(policy.target, 0)
    distance = max(policy.expected_effect - policy.delta_min, 0.0)
    most = max(2 * whole, 100)
    sizes = sorted({max(round(most * part / SIZES), 1) for part in range(1, SIZES + 1)})
    alpha = policy.look(policy.planned_look).alpha
    known = planned.known.get(policy.target, UNKNOWN)
    spread = known.spread.under(policy.expected_effect, known.mean)
    drawn = power_curve(spread, plan.answers_per_item, distance, sizes, alpha=alpha)
    return {
        "plan": plan,
        "target": target,
        "drawing": curve(drawn, marked=target.n if target else whole, wanted=policy.power),
        "finding": _finding(policy, target, plan.answers_per_item),
        "alarms": [guard.suite for guard in planned.policy.guards if guard.passes == "unless_worse"],
        "measured": bool(planned.known),
        "answers": planned.answers,
        "seconds": planning.seconds_for(line, planned.answers),
        "beyond_first": policy.looks[-1],
    }


def _finding(policy: GatePolicy, target: Any, answers: int) -> str:
    if target is None:
        return f"The target “{policy.target}” has no sealed items yet: no candidate can be evaluated on it."
    gain = 100 * policy.expected_effect
    return (
        f"With {target.n:,} items × {answers} answers a candidate that is {gain:g} pp better on the target is seen to "
        f"be so in {100 * target.power:.0f} of 100 cases; {100 * policy.power:.0f} are asked for."
    )


def _history(line: Line) -> list[dict[str, Any]]:
    """Newest first, each with what it changed."""
    rows: list[PolicyVersion] = list(line.policies.select_related("set_by")[: SHOWN + 1])
    return [
        {"version": new, "changes": _told(policies.differences(old.body, new.body)) if old else []}
        for new, old in zip(rows[:SHOWN], [*rows[1:], None], strict=False)
    ]


def _told(changes: list[tuple[str, Any, Any]]) -> list[tuple[str, str, str]]:
    return [(name, json.dumps(old), json.dumps(new)) for name, old, new in changes]


def _as_yaml(line: Line) -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{line.slug}-policy.yaml"'}
    text = policy_form.text_of(policies.of(line))
    return HttpResponse(text, content_type="application/yaml; charset=utf-8", headers=headers)
