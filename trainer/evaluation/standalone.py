"""The gate on a table of scores: policy and answers in, a decision out; the same rule as for our own versions."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml

from tasks.errors import Invalid
from trainer.evaluation.decision import Digests, GateDecision
from trainer.evaluation.gates import decide
from trainer.evaluation.policy import GatePolicy, policy_from, with_guards
from trainer.evaluation.scoring import ANCHOR, CANDIDATE, CHAMPION, SuiteScores
from trainer.evaluation.table import read_suites
from trainer.states import Verdict

EXIT_CODES = {Verdict.PROMOTE: 0, Verdict.HOLD: 1, Verdict.INCONCLUSIVE: 2, Verdict.INVALID: 3}
EXAMPLE = """\
# What a candidate must show. Differences are in score units: 0.02 is 2 percentage points.
target: overall        # a suite of the table, or "overall": all of its items
delta_min: 0.0         # the lower bound of the gain on the target must be above it
compares: score        # or "outcome": the share of answers whose score is 1
answers_per_item: 1    # of each side, at least
alpha: 0.025           # one-sided; intervals are shown at 95 %
looks: [1]             # [1, 2]: a second look at twice the answers (--look 2), alpha divided between them
spending: late         # how: late, even or early
guards:                # suites on which the candidate must not be worse than a margin
  - suite: arithmetic
    tier: critical     # 0.01
  - suite: style
    margin: 0.03       # instead of the tier's; tier supporting is 0.02
"""


def read_policy(path: Path) -> GatePolicy:
    """A policy of a YAML or JSON file. Raises Invalid with what is wrong in it."""
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Invalid("policy_missing", f"There is no file {path}.", "policy") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as fault:
        told = " ".join(str(fault).split())
        raise Invalid("policy_unreadable", f"{path} is no YAML: {told}.", "policy") from None
    if not isinstance(read, dict):
        raise Invalid("policy_invalid", f"{path} must hold settings by name, such as target: overall.", "policy")
    policy = policy_from(read)
    if policy.second_graders:
        words = "A table of scores holds no answers that second_graders could grade: leave it out."
        raise Invalid("policy_invalid", words, "policy")
    return policy


def judge(scores: Path, policy: GatePolicy, *, look: int = 1) -> GateDecision:
    """Champion, candidate and, where the table has one, anchor; where the policy names no guard, every suite is one.
    Raises Invalid where the table cannot be read."""
    suites = read_suites(scores)
    policy = with_guards(policy, {suite.suite: suite.n for suite in suites})
    digests = Digests(
        policy=policy.digest(),
        champion=CHAMPION,
        candidate=CANDIDATE,
        anchor=ANCHOR if any(ANCHOR in suite.sides for suite in suites) else "",
        sampling="as in the table",
        suites={suite.suite: _digest(suite) for suite in suites},
    )
    return decide(policy, suites, expected=digests, found=digests, look=look)


def _digest(suite: SuiteScores) -> str:
    """SHA-256 over items and clusters: two tables of one suite can be told to be of the same items."""
    lines: Sequence[tuple[str, str]] = sorted(zip(suite.keys, suite.clusters, strict=True))
    return hashlib.sha256(msgspec.json.encode(lines)).hexdigest()
