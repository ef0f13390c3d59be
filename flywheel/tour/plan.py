"""What the tour's operator decides: the gate's policy, the recipe and the knobs of its runs."""

from collections.abc import Iterable
from typing import Any

from flywheel.samples.families import FAMILIES

# Chosen before any result was seen: better on the pooled suites, and in no domain worse by 2 points. `cost_limit` was
# not: the usual tenth was found too tight when the gate began to ask for cost. This base's answers are a dozen tokens,
# its right ones longer than its wrong ones (a record is longer than a guess): the longest twentieth grows by 4 to 8 %.
POLICY: dict[str, Any] = {
    "target": "overall",
    "answers_per_item": 4,
    "expected_effect": 0.05,
    "expected_guard_effect": 0.03,
    "cost_limit": 1.25,
}
RECIPE_NAME = "tour"


def recipe(domains: Iterable[str]) -> dict[str, Any]:
    """Equal weights, because a mixture in balance keeps every domain; a cap, because one contributor owns two thirds.

    Only what the base was shown is trained on: on anything else so small a model earns no reward to learn from.
    """
    trained = sorted({family.domain for family in FAMILIES}.intersection(domains))
    return {"weights": {domain: round(1 / len(trained), 4) for domain in trained}, "cap_per_contributor": 0.6}


OVERRIDES: dict[str, Any] = {}
# While a later turn of the tour waits for its approvals, and afterwards.
EVERY_MINUTE: dict[str, Any] = {"cron": "* * * * *", "timezone": "UTC", "min_hours": 0}
NIGHTLY: dict[str, Any] = {"cron": "0 3 * * *", "timezone": "UTC", "min_new_tasks": 500, "min_hours": 12}
QUESTION = "Reverse xkcd"
