"""What makes a comparison INVALID: other models, items, graders or settings than planned, or too few answers."""

from collections.abc import Iterable, Mapping

from trainer.evaluation.decision import Digests, Reason
from trainer.evaluation.policy import GatePolicy
from trainer.evaluation.scoring import ANCHOR, CANDIDATE, CHAMPION, SuiteScores


def faults(
    policy: GatePolicy, suites: Mapping[str, SuiteScores], expected: Digests, found: Digests, with_anchor: bool
) -> Iterable[Reason]:
    if policy.digest() != expected.policy or found.policy != expected.policy:
        yield Reason("policy_changed", "The policy changed after the candidate was evaluated; evaluate it again.")
    for field, what in (("champion", "champion"), ("candidate", "candidate"), ("anchor", "anchor")):
        if getattr(expected, field) != getattr(found, field):
            yield Reason(f"{field}_differs", f"The {what} that answered is not the one that was to be compared.")
    if expected.sampling != found.sampling:
        yield Reason("sampling_differs", "The answers were sampled with other settings than planned.")
    wanted = {policy.target, *(guard.suite for guard in policy.guards), *policy.invariants, *expected.suites}
    for name in sorted(wanted - set(suites)):
        yield Reason("suite_missing", f"Suite “{name}” has no answers.", name)
    for name in sorted(set(expected.suites) | set(found.suites)):
        if expected.graders.get(name) != found.graders.get(name):
            yield Reason("grader_differs", f"Suite “{name}” was graded by another grader than planned.", name)
        if expected.suites.get(name) != found.suites.get(name):
            yield Reason("suite_differs", f"Suite “{name}” is not the frozen one: its digest differs.", name)
    for suite in suites.values():
        yield from _of_suite(policy, suite, with_anchor)


def _of_suite(policy: GatePolicy, suite: SuiteScores, with_anchor: bool) -> Iterable[Reason]:
    name = suite.suite
    if not suite.n:
        yield Reason("suite_empty", f"Suite “{name}” has no items.", name)
        return
    anchored = with_anchor and policy.guard(name) is not None
    for side in (CHAMPION, CANDIDATE, *((ANCHOR,) if anchored else ())):
        if side not in suite.sides:
            yield Reason("side_missing", f"The {side} has not answered suite “{name}”.", name)
        elif suite.sides[side].error_share > policy.error_budget:
            share = 100 * suite.sides[side].error_share
            limit = f"{100 * policy.error_budget:g} %"
            words = f"{share:.1f} % of the {side}'s answers to “{name}” could not be graded; at most {limit} may."
            yield Reason("too_many_errors", words, name)
    if suite.sides and suite.answers_per_item < policy.answers_per_item:
        words = (
            f"“{name}” has {suite.answers_per_item} answers per item; the policy asks for {policy.answers_per_item}."
        )
        yield Reason("answers_missing", words, name)
