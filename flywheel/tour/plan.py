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
# Equal weights, because a mixture in balance keeps every domain; a cap, because one contributor owns two thirds.
RECIPE: dict[str, Any] = {
    "weights": {"choices": 0.2, "maxima": 0.2, "records": 0.2, "reversals": 0.2, "vowels": 0.2},
    "cap_per_contributor": 0.6,
}
OVERRIDES: dict[str, Any] = {}
QUESTION = "Reverse xkcd"
