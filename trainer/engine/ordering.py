"""Which prompt comes when. The whole run is one pass over one list, so that a resumed run can go on where it was.

TRL's own sampler replays the order of the first epoch when it is resumed in a later one.
"""

from random import Random


def training_order(rows: int, needed: int, seed: int) -> list[int]:
    """Indices of `needed` prompts: first the file's order (the mixture's), then seeded orders of the same rows."""
    order: list[int] = []
    epoch = 0
    while len(order) < needed:
        once = list(range(rows))
        if epoch:
            Random(f"{seed}/{epoch}").shuffle(once)
        order += once
        epoch += 1
    return order[:needed]
