"""How often the items of a suite were looked at: every candidate that is chosen by them teaches something of them."""

import msgspec


class Exposure(msgspec.Struct, frozen=True):
    """Of one suite of a line, when an evaluation began: this candidate's look is counted in."""

    suite: str
    used: int  # candidates that were evaluated on its items since it was rotated last
    budget: int  # 0: no limit
    notes: list[str] = []  # what was retired and replaced before, what was left out, and why: sentences

    @property
    def over(self) -> int:
        return max(self.used - self.budget, 0) if self.budget else 0

    @property
    def share(self) -> str:
        return f"look {self.used} of {self.budget}" if self.budget else f"look {self.used}, no limit"

    @property
    def warning(self) -> str:
        """What stands under a verdict; "" within the budget."""
        if not self.over:
            return ""
        return (
            f"{self.suite} was looked at by {self.used} candidates, {self.over} more than its budget of {self.budget}: "
            "a gain on it may be one of chance that was selected for."
        )


def is_spent(used: int, budget: int) -> bool:
    """Whether the next candidate would be one too many."""
    return 0 < budget <= used


def carried(used: int, wanted: int, replaced: int) -> int:
    """Looks that stay counted behind a rotation that could replace `replaced` of the `wanted` items only: as large a
    share of them as of the items, rounded up. A whole rotation leaves none."""
    return -(-used * (wanted - replaced) // wanted) if replaced < wanted else 0
