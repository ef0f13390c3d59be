"""What a gate says, as values that encode to JSON whole. Differences are candidate − champion in score units."""

from typing import Literal

import msgspec

from trainer.evaluation.costs import Cost
from trainer.evaluation.exposure import Exposure
from trainer.evaluation.finding import Finding
from trainer.evaluation.invariants import Invariant
from trainer.evaluation.scorer_gap import GapAtStep, ScorerGap
from trainer.evaluation.scoring import Flips, Reading
from trainer.evaluation.slices import Slice
from trainer.states import Verdict


class Digests(msgspec.Struct, frozen=True):
    """What a comparison was made of. Frozen when it was asked for, computed again from what was really used."""

    policy: str
    champion: str
    candidate: str
    sampling: str
    suites: dict[str, str]
    graders: dict[str, str] = {}
    anchor: str = ""  # "" : no anchor test; the champion's: nothing to add


class Reason(msgspec.Struct, frozen=True):
    code: str
    sentence: str
    suite: str = ""


class Rate(msgspec.Struct, frozen=True):
    mean: float
    low: float
    high: float
    within: float | None = None  # variance between answers to one item; None where nothing was answered twice


class Bounds(msgspec.Struct, frozen=True):
    """A difference with its interval and what it was tested against."""

    difference: float
    low: float
    high: float
    threshold: float  # the lower bound must be above it
    finding: Finding
    p_value: float  # sign-flip, one-sided, H0: difference ≤ threshold


class ErrorBounds(msgspec.Struct, frozen=True):
    """The same row with every error counted against the candidate, and every error for it."""

    champion: int
    candidate: int
    share: float  # the larger of the two sides' shares
    against_difference: float
    against_low: float
    for_difference: float
    for_high: float


class GateRow(msgspec.Struct, frozen=True):
    """One suite. Differences are candidate − champion in score units; positive means the candidate is better."""

    suite: str
    role: Literal["target", "guard", "watched"]
    tier: str
    compares: Reading
    n: int
    answers_per_item: int
    clusters: int
    champion: Rate
    candidate: Rate
    difference: float
    standard_error: float
    low: float
    high: float
    method: str
    threshold: float
    margin: float  # 0 for a target
    minimal_effect: float  # the smallest effect this comparison could have seen
    p_value: float
    fall_p_value: float  # sign-flip, one-sided, H0: the candidate is not worse; Holm-adjusted across guards
    regressed: bool  # claimed only where the adjusted p-value is at most alpha
    finding: Finding
    undecided_because: str  # code, "" where the row is decided; of a guard that only a shown fall holds, why no proof
    flips: Flips
    discordant: int
    errors: ErrorBounds
    anchor: Bounds | None
    more_items: int | None
    more_answers: int | None
    sentence: str
    passes: str = ""  # of a guard: when_shown, unless_worse


class Taken(msgspec.Struct, frozen=True):
    """Which of the policy's looks this decision is, and what it could spend. Alpha is one-sided."""

    number: int  # the first is 1
    of: int
    answers: float  # by now, in multiples of the plan
    alpha: float  # of the intervals and tests of this look
    spent: float  # of the whole alpha, this look included
    whole: float  # the policy's alpha
    next: float | None  # answers at the next look, in multiples of the plan; None: this was the last


class GateDecision(msgspec.Struct, frozen=True):
    verdict: Verdict
    sentence: str
    reasons: list[Reason]
    rows: list[GateRow]
    policy: str  # digest
    sign_off: bool  # PROMOTE waits for a person
    alpha: float  # of its intervals and tests: that of its look
    digests: Digests
    invariants: list[Invariant] = []
    gaps: list[ScorerGap] = []
    costs: list[Cost] = []
    slices: list[Slice] = []
    exposure: list[Exposure] = []  # how often the suites had been looked at; [] of a report from before that was kept
    look: Taken | None = None  # None: of a report from before there were looks
    gap_steps: list[GapAtStep] = []  # the two graders over the steps of the candidate's run
