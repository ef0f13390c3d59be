"""The gate policy as a form: every knob a field, every suite a row. What a knob may be the policy itself says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import msgspec
import yaml

from tasks.errors import Invalid
from trainer.evaluation.policy import TIER_MARGINS, GatePolicy, Guard
from trainer.evaluation.scoring import OVERALL, Reading
from trainer.evaluation.sequential import Spending

LONGEST = 20_000  # characters of a policy as text
# Of a suite, in the order of the select. "" : not named; where no suite is named, each is a guard.
PLACES: Mapping[str, str] = {
    "": "not named",
    **{str(tier): f"guard, {tier} ({100 * margin:g} pp)" for tier, margin in TIER_MARGINS.items()},
    "unless_worse": "guard that only a shown fall holds (2 pp)",
    "invariant": "invariant: nothing may fail",
}
GROUPS: Mapping[str, Sequence[tuple[str, str]]] = {
    "What it must show": (
        ("delta_min", "gain on the target that must be exceeded; 0.01 is 1 pp"),
        ("alpha", "one-sided chance of a false promotion; 0.025 is usual"),
        ("compares", "scores, or the share of answers with full marks"),
        ("cost_limit", "times the champion's tokens; 1.1: a tenth more, 0: no limit"),
        ("gap_limit", "of a gain that an independent grader does not see"),
        ("sign_off", "a person confirms before the champion moves"),
    ),
    "How much is asked": (
        ("answers_per_item", "K, at least"),
        ("expected_effect", "true gain on the target that planning assumes"),
        ("expected_guard_effect", "true change on a guard that planning assumes"),
        ("power", "chance to see that gain"),
        ("guard_power", "chance that a guard that did not change passes"),
        ("looks", "when a verdict may be read, in multiples of the plan: 1, 2"),
        ("spending", "how alpha is divided between looks"),
    ),
    "Seldom changed": (
        ("error_budget", "share of answers that may be ungradable"),
        ("weak_champion", "under this mean of the champion …"),
        ("weak_margin", "… a guard may lose this share of it at most"),
        ("anchor_factor", "margin against the anchor, in margins"),
        ("look_budget", "candidates until a quarter of a suite is replaced; 0: no limit"),
        ("minimum_clusters", "independent items that an interval needs"),
        ("permutations", "draws of the cross-check"),
        ("seed", "of these draws"),
        ("second_graders", "by suite, or “*” for all others: a grader that nobody trains against, as YAML"),
    ),
}
CHOICES = {"compares": get_args(Reading), "spending": get_args(Spending)}


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    label: str
    help: str
    value: Any
    kind: str  # number, words, list, flag, text
    choices: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Suite:
    name: str
    items: int  # that are sealed now
    place: str
    margin: float | None
    compares: str = ""  # of this guard alone


def fields(policy: GatePolicy, typed: Mapping[str, str] | None = None) -> dict[str, list[Field]]:
    """Of the policy; `typed`: what somebody wrote instead, which may be no policy."""
    made = {title: [_field(policy, name, told) for name, told in knobs] for title, knobs in GROUPS.items()}
    if typed is None:
        return made
    return {title: [replace(field, value=typed.get(field.name, "")) for field in some] for title, some in made.items()}


def _field(policy: GatePolicy, name: str, told: str) -> Field:
    value = getattr(policy, name)
    kind = "words" if name in CHOICES else "flag" if isinstance(value, bool) else "number"
    if isinstance(value, dict):
        kind, value = "text", yaml.safe_dump(value, sort_keys=False, allow_unicode=True) if value else ""
    if isinstance(value, tuple):
        kind, value = "list", ", ".join(f"{number:g}" for number in value)
    return Field(name, name.replace("_", " "), told, value, kind, CHOICES.get(name, ()))


def suites(policy: GatePolicy, available: Mapping[str, int]) -> list[Suite]:
    """Of every domain with sealed items, and of every suite that the policy names though it has none."""
    names = sorted({*available, *(guard.suite for guard in policy.guards), *policy.invariants})
    found = []
    for name in names:
        guard = policy.guard(name)
        place = _place(guard) if guard else "invariant" if name in policy.invariants else ""
        found.append(Suite(name, available.get(name, 0), place, _margin(guard), (guard and guard.compares) or ""))
    return found


def _margin(guard: Guard | None) -> float | None:
    """Its own; where the place does not say the tier, what the tier allows."""
    if guard is None:
        return None
    return guard.margin if guard.passes == "when_shown" else guard.allowed


def _place(guard: Guard) -> str:
    return guard.tier if guard.passes == "when_shown" else guard.passes


def targets(policy: GatePolicy, available: Iterable[str]) -> list[str]:
    return [OVERALL, *sorted({*available, policy.target} - {OVERALL})]


def read(given: Mapping[str, str]) -> dict[str, Any]:
    """The body that the fields say. Raises Invalid with the name of a field that is no number."""
    body: dict[str, Any] = {"target": given.get("target", OVERALL)}
    for name, _ in (knob for knobs in GROUPS.values() for knob in knobs):
        body[name] = _read(name, given.get(name, "").strip())
    guards, invariants = [], []
    for key in sorted(name for name in given if name.startswith("place:")):
        suite, place = key.removeprefix("place:"), given[key]
        if place == "invariant":
            invariants.append(suite)
        elif place:
            margin = given.get(f"margin:{suite}", "").strip()
            how: dict[str, Any] = {"passes": place} if place == "unless_worse" else {"tier": place}
            how |= {"compares": given.get(f"compares:{suite}") or None}
            guards.append({"suite": suite, **how, "margin": _number("margin", margin) if margin else None})
    return {**body, "guards": guards, "invariants": invariants}


def _read(name: str, text: str) -> Any:
    default = getattr(GatePolicy(), name)
    if name in CHOICES:
        return text or default
    if isinstance(default, bool):
        return text == "on"
    if isinstance(default, dict):
        return parsed(text) if text else {}
    if isinstance(default, tuple):
        return [_number(name, part) for part in text.replace(";", ",").split(",") if part.strip()]
    number = _number(name, text) if text else default
    return int(number) if isinstance(default, int) and number == int(number) else number


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Invalid("policy_invalid", f"{name.replace('_', ' ')}: “{text[:40]}” is no number.", name) from None


def parsed(text: str) -> dict[str, Any]:
    """A policy that was pasted, YAML or JSON."""
    if len(text) > LONGEST:
        raise Invalid("policy_invalid", f"A policy has at most {LONGEST:,} characters.", "policy")
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as fault:
        raise Invalid("policy_invalid", f"This is no YAML: {' '.join(str(fault).split())}.", "policy") from None
    if not isinstance(found, dict):
        raise Invalid("policy_invalid", "Write settings by name, such as target: overall.", "policy")
    return found


def text_of(policy: GatePolicy) -> str:
    """As YAML, in the order in which the policy lists its knobs."""
    return yaml.safe_dump(msgspec.to_builtins(policy), sort_keys=False, allow_unicode=True)
