"""What templates need to say numbers, states and addresses the same way on every page."""

import json
import math
from collections.abc import Mapping
from typing import Any

from django import template
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

# State → (tone, sign). The sign carries the meaning for eyes that cannot tell the tones apart.
TONES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("approved", "proved", "succeeded", "imported", "done", "ran", "pass", "correct"), ("good", "✓")),
    "delivered": ("good", "✓"),
    **dict.fromkeys(("promote", "champion"), ("good", "▲")),
    **dict.fromkeys(("rejected", "failed", "refused", "incorrect", "withdrawn", "fail"), ("bad", "✕")),
    "hold": ("bad", "■"),
    "passed": ("bad", "✕"),  # a decoy that passed
    "conflict": ("warn", "≠"),
    **dict.fromkeys(("unproved", "ungradable", "error"), ("warn", "?")),
    **dict.fromkeys(("needs_grader", "waiting", "unmapped", "deferred"), ("warn", "…")),
    "inconclusive": ("warn", "≈"),
    "better": ("good", "▲"),
    "worse": ("bad", "▼"),
    "no difference shown": ("warn", "≈"),
    "too few rows to tell": ("", "…"),
    "invalid": ("warn", "!"),
    "champion fails": ("bad", "▼"),
    **dict.fromkeys(("thin for training", "thin for measuring"), ("warn", "…")),
    **dict.fromkeys(("nearly solved", "covered"), ("good", "✓")),
    **dict.fromkeys(("paused", "pausing"), ("warn", "❙❙")),
    "warn": ("warn", "!"),
    "rolled_back": ("warn", "↶"),
    **dict.fromkeys(("stop", "stopped", "spent"), ("bad", "■")),
    **dict.fromkeys(("running", "importing", "proving", "changing", "sending", "on"), ("live", "●")),
    **dict.fromkeys(("queued", "received", "pending", "validating", "valid", "parsed"), ("", "○")),
    **dict.fromkeys(("off", "deleted"), ("", "–")),
    **dict.fromkeys(("skipped", "cancelled", "watched", "superseded"), ("", "–")),
    **dict.fromkeys(
        ("near_duplicate", "suspect", "overlap", "secret", "personal", "language", "never_solved"), ("warn", "!")
    ),
    "granted": ("good", "✓"),
    "open": ("", "○"),
    "anchor": ("", "⚓"),
    "challenger": ("live", "△"),
    "contributed": ("live", "◇"),
    "private": ("", "◆"),
}


@register.filter
def badge(state: Any) -> SafeString:
    """A state as sign and word."""
    tone, sign = TONES.get(str(state).lower(), ("", "·"))
    word = str(state).replace("_", " ")
    return format_html(
        '<span class="badge {}"><span class="sign" aria-hidden="true">{}</span>{}</span>', tone, sign, word
    )


@register.filter
def percent(share: Any) -> str:
    """0.434 → 43.4 %"""
    return "–" if share is None or share == "" else f"{100 * float(share):.1f} %"


@register.filter
def likeness(share: Any) -> str:
    """0.9968 → 99.6 %: rounded down, so that 100 % is said of equal texts only."""
    if share is None or share == "":
        return "–"
    tenths = math.floor(round(1000 * float(share), 6))  # 0.857 * 1000 is a little less than 857
    return "100 %" if float(share) >= 1 else f"{min(tenths, 999) / 10:.1f} %"


@register.filter
def points(difference: Any) -> str:
    """0.031 → +3.1 pp; the minus is a minus sign."""
    if difference is None or difference == "":
        return "–"
    return f"{100 * float(difference):+.1f} pp".replace("-", "−")


@register.filter
def decimals(value: Any, places: int = 3) -> str:
    return "–" if value is None or value == "" else f"{float(value):.{places}f}".replace("-", "−")


@register.filter
def figure(value: Any, unit: str = "") -> str:
    """A measured value in four digits: 0.00031, 4.281, 12,400; shares in per cent."""
    if value is None or value == "":
        return "–"
    if unit == "share":
        return percent(value)
    number = float(value)
    told = f"{number:,.0f}" if abs(number) >= 1000 or number == int(number) else f"{number:.4g}"
    return told.replace("-", "−")


@register.filter
def measured(value: Any, unit: str) -> str:
    """What a check of a run measured: a score in two decimals, a share in per cent, a ratio with its sign."""
    if unit == "share":
        return percent(value)
    told = decimals(value, 2)
    return f"{told}\u202f×" if unit == "times" and value is not None else told


@register.filter
def duration(seconds: Any) -> str:
    """3725 → 1 h 2 min"""
    if seconds is None or seconds == "":
        return "–"
    whole = round(float(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@register.filter
def milliseconds(seconds: Any) -> str:
    """0.0123 → 12 ms; what takes less than one is said in microseconds."""
    if seconds is None or seconds == "":
        return "–"
    value = float(seconds)
    if value >= 1:
        return f"{value:.1f} s"
    return f"{1000 * value:.0f} ms" if value >= 0.001 else f"{1e6 * value:.0f} µs"


@register.filter
def short(digest: Any) -> str:
    return str(digest)[:12]


@register.filter
def as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


@register.filter
def rejected(counts: Mapping[str, Any]) -> int:
    """An upload's rejected rows over all codes."""
    return sum(counts.get("rejected", {}).values())


@register.filter
def words(name: Any) -> str:
    return str(name).replace("_", " ")


@register.filter
def elided(sentence: str) -> str:
    return sentence.replace("{detail}", "…")


@register.filter
def coded(sentence: Any) -> SafeString:
    """`name` in a sentence as code."""
    parts = [conditional_escape(part) for part in str(sentence).split("`")]
    if len(parts) % 2 == 0:
        return format_html("{}", str(sentence))
    told = "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))
    return mark_safe(told)  # noqa: S308  every part was escaped above


@register.filter
def pairs(data: Any) -> str:
    """A mapping on one line; "" where there is none."""
    if not isinstance(data, Mapping):
        return ""
    return ", ".join(f"{name} {value}" for name, value in data.items())


@register.filter
def add_float(value: float, more: float) -> float:
    return round(float(value) + float(more), 1)


@register.filter
def percents(share: Any) -> str:
    """A tick of an axis in percentage points: 0.05 → +5"""
    return f"{100 * float(share):+g}".replace("-", "−").replace("+0", "0") if share else "0"


@register.simple_tag(takes_context=True)
def nav_link(context: Mapping[str, Any], name: str, label: str) -> SafeString:
    """A link of the navigation, marked where its page or one below it is open."""
    address = reverse(name)
    here = context["request"].path
    below = address != "/" and here.startswith(f"{address}/")
    current = here == address or (below and not any(here.startswith(other) for other in _OWN_ENTRIES.get(name, ())))
    return format_html('<li><a href="{}"{}>{}</a></li>', address, _CURRENT if current else "", label)


# Addresses below an entry that have an entry of their own.
_OWN_ENTRIES = {
    "ops": ("/ops/recipes", "/ops/gates", "/ops/models", "/ops/schedules", "/ops/usage", "/ops/webhooks"),
    "review": ("/review/log",),
}
_CURRENT = SafeString(' aria-current="page"')


@register.simple_tag(takes_context=True)
def chosen(context: Mapping[str, Any], key: str, value: Any) -> SafeString:
    """aria-current where the address already filters by this value."""
    request: HttpRequest = context["request"]
    return SafeString(' aria-current="true"' if request.GET.get(key, "") == str(value) else "")


@register.inclusion_tag("_by_api.html", takes_context=True)
def by_api(
    context: Mapping[str, Any], method: str, path: str, *details: Any, label: str = "The same by API"
) -> dict[str, Any]:
    """The very curl that does what this page does. Details fill {} in the path; a last one beyond those is the body."""
    request: HttpRequest = context["request"]
    holes = path.count("{}")
    body = str(details[holes]) if len(details) > holes else ""
    lines = [f"curl -X {method}" if method != "GET" else "curl"]
    lines[0] += f" '{request.scheme}://{request.get_host()}{path.format(*details[:holes])}'"
    lines.append('-H "Authorization: Bearer $FLYWHEEL_KEY"')
    if body.startswith("-F"):
        lines.append(body)
    elif body:
        lines.append(f"-H 'Content-Type: application/json' -d '{body}'")
    return {"command": " \\\n  ".join(lines), "label": label}
