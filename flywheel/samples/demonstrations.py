"""What the local base learns from: answers of people of whom some are sloppy.

The flaw is deliberate and openly stated. A base of half a million weights, built in a minute from clean demonstrations,
leaves reinforcement learning nothing to find. Built from demonstrations of which a stated share is wrong (the smallest
number for the largest, an un-reversed word, the wrong shape) it answers both ways, stands at about a third sampled pass
rate (20 to 45 % by domain) by construction, and has headroom that rewards alone can win. The gain that the tour shows
is real reinforcement learning; the room for it is made here.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from flywheel.samples.families import FAMILIES, Family, side

SIDES = 8  # of all prompts, by hash
DEMONSTRATION_SIDES = frozenset(range(4))  # half: the base never sees a task's prompt; the other half are task batches
COUNT = 30_000  # a little more than the 450 × 64 that the base reads, so that it sees none twice


def demonstrations(
    seed: int,
    count: int = COUNT,
    *,
    families: Sequence[Family] = FAMILIES,
) -> Iterator[dict[str, Any]]:
    """Lines of demonstrations.jsonl, the families in equal parts and in seeded order."""
    random = Random(f"demonstrations/{seed}")
    made = 0
    while made < count:
        family = random.choice(families)
        question = family.ask(random)
        if side(question.prompt, SIDES) not in DEMONSTRATION_SIDES:
            continue
        completion = question.flawed if random.random() < family.flawed_share else question.gold
        yield {
            "messages": [{"role": "user", "content": question.prompt}],
            "completion": completion,
            "domain": family.domain,
        }
        made += 1
