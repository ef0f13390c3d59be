"""The gate: better and no worse is promoted, worse is held, unclear stays unclear, broken is named."""

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from trainer.evaluation.costs import Lengths
from trainer.evaluation.decision import Digests, GateDecision, Reason
from trainer.evaluation.finding import Finding
from trainer.evaluation.gates import decide
from trainer.evaluation.policy import GatePolicy, Guard
from trainer.evaluation.scoring import SuiteScores, side_of, suite_of
from trainer.states import Verdict

POLICY = GatePolicy(target="add", guards=(Guard("sub"),), permutations=1999)


def answers(rng: np.random.Generator, rate_n: np.ndarray, k: int = 4) -> np.ndarray:
    return (rng.random((rate_n.size, k)) < rate_n[:, None]).astype(float)


def suite(name: str, change: float, *, n: int = 2000, k: int = 4, seed: int = 0, anchor: float | None = None, rate=0.5):
    """A suite whose candidate is better by `change` on every item. Items keep to the middle, so that nothing clips."""
    rng = np.random.default_rng([seed, n, len(name), *name.encode()])
    rate_n = np.full(n, rate) + rng.uniform(-rate / 2, rate / 2, n) / 2
    sides = {
        "champion": side_of(answers(rng, rate_n, k)),
        "candidate": side_of(answers(rng, np.clip(rate_n + change, 0, 1), k)),
    }
    if anchor is not None:
        sides["anchor"] = side_of(answers(rng, rate_n + anchor, k))
    return suite_of(name, [f"{name}-{at}" for at in range(n)], sides)


def same_answers(name: str, n: int = 400, k: int = 4) -> SuiteScores:
    side = side_of(answers(np.random.default_rng(1), np.full(n, 0.5), k))
    return suite_of(name, [f"{name}-{at}" for at in range(n)], {"champion": side, "candidate": side})


def with_errors(given: SuiteScores, side: str, count: int, k: int = 4) -> SuiteScores:
    """`count` answers of a side become errors, one an item."""
    rng = np.random.default_rng(2)
    values = answers(rng, np.full(given.n, 0.6), k)
    values[:count, 0] = np.nan
    return suite_of(given.suite, given.keys, {**given.sides, side: side_of(values)})


def digests(policy: GatePolicy, suites: list[SuiteScores], **more: str) -> Digests:
    names = {s.suite: f"digest-{s.suite}" for s in suites}
    return Digests(policy.digest(), "m-champion", "m-candidate", "sampling", names, {}, more.get("anchor", ""))


def judge(suites: list[SuiteScores], policy: GatePolicy = POLICY, **more: str) -> GateDecision:
    seen = digests(policy, suites, **more)
    return decide(policy, suites, expected=seen, found=seen)


def row(decision: GateDecision, name: str):
    return next(r for r in decision.rows if r.suite == name)


# The four verdicts


def test_better_on_the_target_and_no_worse_on_the_guard_is_promoted():
    assert judge([suite("add", 0.06), suite("sub", 0.02)]).verdict is Verdict.PROMOTE


def test_a_promotion_says_by_how_much_and_what_no_guard_can_be():
    decision = judge([suite("add", 0.06), suite("sub", 0.02)])

    r = row(decision, "add")
    assert decision.sentence == (
        f"Better by {100 * r.difference:.1f} pp on the target (95 % CI {100 * r.low:.1f} to {100 * r.high:.1f}); "
        "no guard can be worse than 2 pp."
    )


def test_a_guard_that_fell_beyond_its_margin_holds():
    assert judge([suite("add", 0.06), suite("sub", -0.10)]).verdict is Verdict.HOLD


def test_a_hold_names_the_suite_that_fell():
    assert [reason.suite for reason in judge([suite("add", 0.06), suite("sub", -0.10)]).reasons] == ["sub"]


def test_a_target_that_fell_holds():
    assert judge([suite("add", -0.10), suite("sub", 0.05)]).verdict is Verdict.HOLD


def test_a_target_that_cannot_reach_delta_min_holds():
    policy = replace(POLICY, delta_min=0.10)

    assert judge([suite("add", 0.02), suite("sub", 0.05)], policy).verdict is Verdict.HOLD


def test_a_target_better_by_less_than_delta_min_shows_is_not_promoted():
    policy = replace(POLICY, delta_min=0.05)

    assert judge([suite("add", 0.06), suite("sub", 0.05)], policy).verdict is Verdict.INCONCLUSIVE


def test_too_few_items_for_a_guard_is_inconclusive():
    assert judge([suite("add", 0.06), suite("sub", 0.0, n=300)]).verdict is Verdict.INCONCLUSIVE


def test_an_inconclusive_decision_says_how_many_items_or_answers_would_settle_it():
    guard = row(judge([suite("add", 0.06), suite("sub", 0.0, n=300)]), "sub")

    assert guard.more_items > 0
    assert f"about {guard.more_items:,} more items" in guard.sentence.lower()


def test_the_items_it_asks_for_settle_it():
    asked = row(judge([suite("add", 0.06), suite("sub", 0.02, n=300, seed=3)]), "sub")

    settled = [judge([suite("add", 0.06), suite("sub", 0.02, n=300 + asked.more_items, seed=s)]) for s in range(8)]

    assert sum(row(d, "sub").finding is Finding.PASS for d in settled) >= 4


def test_a_proven_fall_outranks_an_inconclusive_guard():
    policy = replace(POLICY, guards=(Guard("sub"), Guard("mul")))

    decision = judge([suite("add", 0.06), suite("sub", -0.10), suite("mul", 0.0, n=300)], policy)

    assert decision.verdict is Verdict.HOLD


def test_an_inconclusive_guard_is_never_promoted_however_good_the_target():
    assert judge([suite("add", 0.30), suite("sub", 0.0, n=300)]).verdict is Verdict.INCONCLUSIVE


def test_a_policy_without_guards_says_so():
    assert judge([suite("add", 0.06)], replace(POLICY, guards=())).sentence.endswith("; there is no guard.")


# A guard that only a shown fall holds

ALARM = replace(POLICY, guards=(Guard("sub", passes="unless_worse"),))


def test_too_few_items_to_prove_it_do_not_keep_back_what_only_a_shown_fall_holds():
    decision = judge([suite("add", 0.06), suite("sub", 0.0, n=40)], ALARM)

    assert (decision.verdict, row(decision, "sub").finding) == (Verdict.PROMOTE, Finding.WATCHED)


def test_a_shown_fall_holds_however_small_the_suite():
    decision = judge([suite("add", 0.06), suite("sub", -0.3, n=60)], ALARM)

    assert (decision.verdict, decision.reasons[0].suite) == (Verdict.HOLD, "sub")


def test_a_fall_that_is_shown_holds_also_where_it_may_lie_within_the_margin():
    """Three points down on a quiet suite: surely worse, and not surely by more than two and a half."""
    policy = replace(POLICY, guards=(Guard("sub", passes="unless_worse", margin=0.025),))
    quiet = suite("sub", -0.03, n=4_000)

    decision = judge([suite("add", 0.06), quiet], policy)

    found = row(decision, "sub")
    assert (found.high < 0, found.low < -0.025 < found.high) == (True, True)
    assert (decision.verdict, found.finding) == (Verdict.HOLD, Finding.HOLD)
    assert decision.reasons[0].code == "guard_hold"
    assert "it fell" in found.sentence


def test_what_it_shows_to_be_no_worse_passes_it_all_the_same():
    decision = judge([suite("add", 0.06), suite("sub", 0.3, n=60)], ALARM)

    assert row(decision, "sub").finding is Finding.PASS
    assert decision.sentence.endswith("no guard can be worse than 2 pp.")


def test_a_promotion_says_what_was_too_small_to_prove():
    sentence = judge([suite("add", 0.06), suite("sub", 0.0, n=40)], ALARM).sentence

    assert sentence.endswith("; on 1 suite no fall is shown, where no proof was asked.")


def test_a_row_tells_how_noisy_each_side_is():
    r = row(judge([suite("add", 0.06), suite("sub", 0.02)]), "add")

    assert r.champion.within == pytest.approx(0.25 - 0.125**2 / 3, abs=0.02)  # p(1 − p), p uniform around a half


# A candidate that learned nothing


def test_the_very_same_answers_are_never_promoted():
    assert judge([same_answers("add"), same_answers("sub")]).verdict is Verdict.INCONCLUSIVE


def test_the_very_same_answers_pass_a_guard_of_enough_items():
    assert row(judge([same_answers("add"), same_answers("sub")]), "sub").finding is Finding.PASS


def test_the_very_same_answers_to_few_items_do_not_prove_a_guard():
    assert row(judge([same_answers("add"), same_answers("sub", n=60)]), "sub").finding is Finding.INCONCLUSIVE


def test_the_very_same_wrong_answers_are_not_promoted():
    wrong = side_of(np.zeros((400, 4)))
    pair = {"champion": wrong, "candidate": wrong}
    keys = [str(at) for at in range(400)]

    decision = judge([suite_of("add", keys, pair), suite_of("sub", keys, pair)])

    assert decision.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("k", [1, 4])
def test_the_same_model_with_fresh_samples_is_promoted_no_more_often_than_alpha(k):
    policy = replace(POLICY, guards=(), answers_per_item=k, permutations=999)

    verdicts = [judge([suite("add", 0.0, n=200, k=k, seed=s)], policy).verdict for s in range(300)]

    assert verdicts.count(Verdict.PROMOTE) <= 15  # 2.5 % of 300 is 7.5; 15 is the 99.5 % point of the binomial


def test_a_candidate_at_minus_the_margin_passes_its_guard_no_more_often_than_alpha():
    policy = replace(POLICY, target="sub", permutations=999)

    findings = [
        next(r for r in judge([suite("sub", -0.02, n=500, seed=s)], policy).rows if r.role == "guard").finding
        for s in range(300)
    ]

    assert findings.count(Finding.PASS) <= 15


# Pooled target, anchor, weak champions, several roles


def test_a_pooled_target_counts_the_items_of_all_suites():
    policy = replace(POLICY, target="overall")

    assert row(judge([suite("add", 0.05), suite("sub", 0.05)], policy), "overall").n == 4000


def test_a_pooled_target_can_be_shown_by_suites_that_alone_cannot():
    policy = GatePolicy(guards=(), permutations=1999)

    decision = judge([suite(name, 0.04, n=350, seed=2) for name in ("add", "sub", "mul", "div")], policy)

    assert decision.verdict is Verdict.PROMOTE


def test_a_suite_that_is_target_and_guard_has_a_row_for_each():
    policy = replace(POLICY, guards=(Guard("add"),))

    assert [r.role for r in judge([suite("add", 0.06)], policy).rows] == ["target", "guard"]


def test_a_suite_the_policy_does_not_name_is_shown_and_decides_nothing():
    decision = judge([suite("add", 0.06), suite("sub", 0.02), suite("mul", -0.30)])

    assert (decision.verdict, row(decision, "mul").finding) == (Verdict.PROMOTE, Finding.WATCHED)


def test_slow_decline_against_the_anchor_holds():
    decision = judge([suite("add", 0.06), suite("sub", 0.0, anchor=0.12, n=4000)], anchor="m-anchor")

    assert decision.verdict is Verdict.HOLD


def test_the_anchor_is_given_twice_the_margin():
    decision = judge([suite("add", 0.06), suite("sub", 0.02, anchor=0.0)], anchor="m-anchor")

    assert row(decision, "sub").anchor.threshold == pytest.approx(-0.04)


def test_an_anchor_without_answers_is_invalid():
    decision = judge([suite("add", 0.06), suite("sub", 0.02)], anchor="m-anchor")

    assert (decision.verdict, decision.reasons[0].code) == (Verdict.INVALID, "side_missing")


def test_an_anchor_that_is_the_champion_needs_no_answers_of_its_own():
    decision = judge([suite("add", 0.06), suite("sub", 0.02)], anchor="m-champion")

    assert decision.verdict is Verdict.PROMOTE


def test_a_weak_champion_tightens_the_margin_of_its_guard():
    guard = row(judge([suite("add", 0.06), suite("sub", 0.0, rate=0.1)]), "sub")

    assert guard.margin == pytest.approx(0.1 * guard.champion.mean)


# Errors, permutation, too little


def test_errors_within_the_budget_that_cannot_change_the_finding_do_not_matter():
    decision = judge([with_errors(suite("add", 0.06), "candidate", 10), suite("sub", 0.02)])

    assert decision.verdict is Verdict.PROMOTE


def test_errors_that_decide_make_a_row_inconclusive():
    policy = replace(POLICY, guards=(), error_budget=0.1)
    given = suite("add", 0.02, n=2000, seed=5)
    champion = np.where(np.arange(2000)[:, None] < 2000, answers(np.random.default_rng(7), np.full(2000, 0.5)), 0.0)
    candidate = champion.copy()
    candidate[:120, 1] = 1.0  # a clear gain …
    candidate[200:380, 0] = np.nan  # … and more errors than it
    sides = {"champion": side_of(champion), "candidate": side_of(candidate)}

    decision = judge([suite_of("add", given.keys, sides)], policy)

    assert row(decision, "add").undecided_because == "errors_decide"


def test_more_than_one_percent_of_errors_is_invalid():
    decision = judge([with_errors(suite("add", 0.06), "candidate", 160), suite("sub", 0.02)])

    assert (decision.verdict, decision.reasons[0].code) == (Verdict.INVALID, "too_many_errors")


def test_a_row_shows_its_worst_and_best_case_under_errors():
    errors = row(judge([with_errors(suite("add", 0.06), "candidate", 10), suite("sub", 0.02)]), "add").errors

    assert errors.for_difference - errors.against_difference == pytest.approx(10 / 8000)


def test_the_interval_and_the_permutation_test_must_agree():
    """Five gains and no loss: the score interval clears 0, the exact sign test says 1/32."""
    policy = replace(POLICY, guards=(), answers_per_item=1, permutations=9999)
    champion, candidate = np.zeros((300, 1)), np.zeros((300, 1))
    candidate[:5] = 1.0
    keys = [str(at) for at in range(300)]

    decision = judge([suite_of("add", keys, {"champion": side_of(champion), "candidate": side_of(candidate)})], policy)

    assert (decision.verdict, decision.reasons[0].code) == (Verdict.INCONCLUSIVE, "permutation_disagrees")


def test_fewer_than_twenty_families_are_no_basis():
    given = suite("add", 0.30, n=200)
    few = suite_of("add", given.keys, given.sides, clusters=[f"f{at % 10}" for at in range(200)])

    decision = judge([few], replace(POLICY, guards=()))

    assert (decision.verdict, decision.reasons[0].code) == (Verdict.INCONCLUSIVE, "too_few_clusters")


def test_near_duplicates_do_not_make_evidence():
    """Forty facts copied fifty times are still forty facts."""
    base = suite("add", 0.06, n=40, seed=1)
    copied = {name: side_of(np.repeat(side.score_n[:, None] / 4, 50, axis=0)) for name, side in base.sides.items()}
    keys = [str(at) for at in range(2000)]
    clusters = [f"f{at // 50}" for at in range(2000)]
    policy = replace(POLICY, guards=(), answers_per_item=1)

    honest = judge([suite_of("add", keys, copied, clusters=clusters)], policy)
    naive = judge([suite_of("add", keys, copied)], policy)

    assert row(honest, "add").high - row(honest, "add").low > 5 * (row(naive, "add").high - row(naive, "add").low)


# What makes a comparison invalid


def invalid_code(expected: Digests, found: Digests, policy: GatePolicy = POLICY, faults=()) -> str:
    suites = [suite("add", 0.06, n=100), suite("sub", 0.02, n=100)]
    decision = decide(policy, suites, expected=expected, found=found, faults=faults)
    assert decision.verdict is Verdict.INVALID
    return decision.reasons[0].code


SEEN = Digests(POLICY.digest(), "m-champion", "m-candidate", "sampling", {"add": "a", "sub": "s"}, {"add": "g"})


def test_a_policy_changed_after_the_evaluation_is_invalid():
    assert invalid_code(SEEN, SEEN, replace(POLICY, delta_min=0.001)) == "policy_changed"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"champion": "other"}, "champion_differs"),
        ({"candidate": "other"}, "candidate_differs"),
        ({"sampling": "other"}, "sampling_differs"),
        ({"suites": {"add": "a", "sub": "other"}}, "suite_differs"),
        ({"graders": {"add": "other"}}, "grader_differs"),
    ],
)
def test_a_digest_that_differs_is_invalid_and_named(change, code):
    assert invalid_code(SEEN, replace(SEEN, **change)) == code


def test_a_fault_the_caller_found_is_invalid():
    contaminated = Reason("contaminated", "3 items of “add” were in the training mixture.", "add")

    assert invalid_code(SEEN, SEEN, faults=[contaminated]) == "contaminated"


def test_a_missing_guard_suite_is_invalid():
    decision = judge([suite("add", 0.06)])

    assert (decision.verdict, decision.reasons[0].code) == (Verdict.INVALID, "suite_missing")


def test_no_suite_at_all_is_invalid():
    assert judge([]).verdict is Verdict.INVALID


def test_a_side_that_never_answered_is_invalid():
    lonely = suite_of("add", ["k"], {"champion": side_of(np.ones((1, 4)))})

    assert judge([lonely], replace(POLICY, guards=())).reasons[0].code == "side_missing"


def test_fewer_answers_than_the_policy_asks_for_are_invalid():
    decision = judge([suite("add", 0.06, k=2), suite("sub", 0.02)])

    assert decision.reasons[0].code == "answers_missing"


# Claims and the whole


def test_a_fall_is_called_a_regression_only_after_holm():
    names = [f"g{at}" for at in range(10)]
    policy = replace(POLICY, guards=tuple(Guard(name) for name in names))
    suites = [suite("add", 0.06), suite("g0", -0.20), *(suite(name, 0.0) for name in names[1:])]

    assert [r.suite for r in judge(suites, policy).rows if r.regressed] == ["g0"]


def test_a_decision_survives_json_whole():
    decision = judge([suite("add", 0.06), suite("sub", 0.0, n=300)])

    assert msgspec.json.decode(msgspec.json.encode(decision), type=GateDecision) == decision


def test_an_invalid_decision_survives_json_whole():
    lonely = suite_of("add", ["k"], {side: side_of(np.ones((1, 4))) for side in ("champion", "candidate")})
    decision = judge([lonely])

    assert msgspec.json.decode(msgspec.json.encode(decision), type=GateDecision) == decision


def test_the_same_scores_give_the_same_decision():
    suites = [suite("add", 0.03), suite("sub", 0.0)]

    assert judge(suites) == judge(suites)


# What is asked beside the differences


def lengths(factor: float) -> Lengths:
    tokens = np.random.default_rng(3).gamma(4, 25, (800, 4))
    cut = np.zeros((800, 4))
    return Lengths(
        tuple(f"i{item}" for item in range(800)),
        {"champion": tokens, "candidate": tokens * factor},
        {"champion": cut, "candidate": cut},
    )


def checked(policy: GatePolicy, suites: list[SuiteScores], **more: object) -> GateDecision:
    seen = digests(policy, suites)
    return decide(policy, suites, expected=seen, found=seen, **more)


BETTER = [suite("add", 0.06), suite("sub", 0.02)]


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.PROMOTE), (1.4, Verdict.HOLD)])
def test_answers_that_cost_more_than_they_may_hold(factor: float, verdict: Verdict):
    decision = checked(POLICY, BETTER, lengths=lengths(factor))

    assert decision.verdict is verdict
    assert [cost.name for cost in decision.costs] == ["tokens an answer", "length of the longest twentieth"]


def test_a_hold_for_cost_says_so_first_and_as_its_reason():
    decision = checked(POLICY, BETTER, lengths=lengths(1.4))

    assert decision.sentence.startswith("Held: tokens an answer: 1.40 times the champion's")
    assert [reason.code for reason in decision.reasons] == ["cost_hold", "cost_hold"]


def test_without_a_limit_cost_is_not_asked():
    decision = checked(replace(POLICY, cost_limit=0), BETTER, lengths=lengths(1.4))

    assert (decision.verdict, decision.costs) == (Verdict.PROMOTE, [])


def clean(failures: int) -> SuiteScores:
    score = np.ones((200, 4))
    score[:failures, 0] = 0
    return suite_of(
        "honeypots",
        [f"h{at}" for at in range(200)],
        {"champion": side_of(np.ones((200, 4))), "candidate": side_of(score)},
    )


@pytest.mark.parametrize(("failures", "verdict"), [(0, Verdict.PROMOTE), (1, Verdict.HOLD)])
def test_one_failure_of_an_invariant_holds(failures: int, verdict: Verdict):
    decision = checked(replace(POLICY, invariants=("honeypots",)), [*BETTER, clean(failures)])

    assert (decision.verdict, [one.failures for one in decision.invariants]) == (verdict, [failures])


def test_a_missing_invariant_makes_it_invalid():
    decision = checked(replace(POLICY, invariants=("honeypots",)), BETTER)

    assert (decision.verdict, decision.reasons[0].code) == (Verdict.INVALID, "suite_missing")


def test_a_gain_that_an_independent_grader_does_not_see_holds():
    """The same answers, scored by one for whom nothing has changed."""
    add = BETTER[0]
    unmoved = SuiteScores(
        add.suite, add.keys, add.clusters, add.sources, dict.fromkeys(add.sides, add.sides["champion"])
    )

    decision = checked(POLICY, BETTER, independent={"add": unmoved})

    assert (decision.verdict, decision.reasons[0].code) == (Verdict.HOLD, "scorer_gap_hold")
    assert checked(POLICY, BETTER, independent={"add": add}).verdict is Verdict.PROMOTE


def test_a_decision_of_an_earlier_day_has_none_of_these():
    old = msgspec.to_builtins(judge(BETTER))
    for field in ("invariants", "gaps", "costs"):
        del old[field]

    assert msgspec.convert(old, GateDecision).costs == []


# Looks


def test_a_decision_says_which_look_it_is_and_what_it_spent():
    policy = replace(POLICY, looks=(1.0, 2.0), spending="early")
    suites = [suite("add", 0.0), suite("sub", 0.0)]
    seen = digests(policy, suites)

    looks = [decide(policy, suites, expected=seen, found=seen, look=number).look for number in (1, 2)]

    assert [(look.number, look.of, look.next) for look in looks] == [(1, 2, 2.0), (2, 2, None)]
    assert looks[0].spent < looks[1].spent == pytest.approx(policy.alpha)


def test_intervals_are_at_the_level_of_the_look():
    suites = [suite("add", 0.1), suite("sub", 0.0)]
    once, early = POLICY, replace(POLICY, looks=(0.5, 1.0))

    width = [row(judge(suites, policy), "add").high - row(judge(suites, policy), "add").low for policy in (once, early)]

    assert width[0] < width[1]
