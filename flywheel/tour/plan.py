"""What the tour's operator decides: the gate's policy, the recipe and the knobs of its runs."""

from typing import Any

# Chosen before any result was seen: better on the pooled suites, and in no domain worse by 2 points.
POLICY: dict[str, Any] = {
    "target": "overall",
    "answers_per_item": 4,
    "expected_effect": 0.05,
    "expected_guard_effect": 0.03,
}
RECIPE_NAME = "tour"
RECIPE: dict[str, Any] = {"cap_per_contributor": 0.6}
OVERRIDES: dict[str, Any] = {}
QUESTION = "Reverse xkcd"
