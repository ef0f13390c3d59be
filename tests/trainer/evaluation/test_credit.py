"""Credit against independent calculations: scipy's paired test, statsmodels' clustered regression, a simulation."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import t, ttest_rel

from trainer.evaluation.claim import Claim
from trainer.evaluation.credit import ALPHA, Effect, added, claims, measured, sentence, sums
from trainer.evaluation.stats import paired_difference


def singles(n: int) -> list[str]:
    return [f"item{number}" for number in range(n)]


def draws(n: int, gain: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of four answers an item, before and after."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.1, 0.8, n)
    return rng.binomial(4, chance) / 4, rng.binomial(4, np.clip(chance + gain, 0, 1)) / 4


def part(champion: np.ndarray, candidate: np.ndarray, clusters: list[str]):
    effect = measured(champion, candidate, clusters, answers_per_item=4)
    return effect, sums(champion, candidate, clusters)


def an_effect(difference: float = 0.2, *, low: float = 0.1, high: float = 0.3, p: float = 0.001, clusters: int = 25):
    return Effect(clusters, clusters, 0.5, 0.5 + difference, difference, low, high, p)


# One promotion


def test_one_promotion_is_the_paired_t_test():
    champion, candidate = draws(60, 0.2, seed=1)

    found = measured(champion, candidate, singles(60), answers_per_item=4)

    reference = ttest_rel(candidate, champion)
    interval = reference.confidence_interval(0.95)
    assert (found.low, found.high, found.p_value) == pytest.approx((interval.low, interval.high, reference.pvalue))
    assert (found.before, found.after) == pytest.approx((champion.mean(), candidate.mean()))


def test_the_interval_is_the_one_that_the_gate_gives_its_suites():
    champion, candidate = draws(60, 0.2, seed=2)
    families = [f"family{number // 3}" for number in range(60)]

    found = measured(champion, candidate, families, answers_per_item=4)

    gate = paired_difference(candidate - champion, families, alpha=ALPHA, answers_per_item=4)
    assert (found.low, found.high, found.clusters) == (gate.interval.low, gate.interval.high, 20)


def test_rows_that_all_stay_as_they_are_prove_nothing():
    same = np.ones(25)

    found = measured(same, same, singles(25), answers_per_item=4)

    assert found.low < -0.1
    assert found.high > 0.1
    assert claims([found], fewest=20)[0][0] is Claim.NOT_SHOWN


# Several promotions


def three_promotions(seed: int = 3):
    """The same items each time, in families of two; the second promotion asked only two thirds of them."""
    whole = [f"family{number // 2}" for number in range(90)]
    asked = [(whole, 0.2), (whole[:60], 0.1), (whole, 0.0)]
    return [(*draws(len(names), gain, seed + n), names) for n, (names, gain) in enumerate(asked)]


def test_promotions_add_up_to_the_sum_of_their_effects():
    parts = [part(*drawn) for drawn in three_promotions()]

    found = added(parts)

    assert found.difference == pytest.approx(sum(effect.difference for effect, _ in parts))
    assert (found.items, found.clusters) == (90, 45)


def test_the_error_of_the_sum_is_that_of_a_clustered_regression():
    """An intercept a promotion, errors clustered by family; statsmodels' further factor (N−1)/(N−k) is left out."""
    drawn = three_promotions()
    differences = np.concatenate([candidate - champion for champion, candidate, _ in drawn])
    which = np.concatenate([np.full(len(names), n) for n, (_, _, names) in enumerate(drawn)])
    groups = np.unique([name for _, _, names in drawn for name in names], return_inverse=True)[1]
    model = sm.OLS(differences, np.eye(3)[which])
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
    clusters = len(set(groups))
    error = float(np.sqrt(np.ones(3) @ fitted.cov_params() @ np.ones(3) * clusters / (clusters - 1)))

    found = added([part(*one) for one in drawn])

    reach = t.isf(ALPHA, clusters - 1) * error
    total = fitted.params.sum()
    assert (found.low, found.high) == pytest.approx((total - reach, total + reach))
    assert found.p_value == pytest.approx(2 * t.sf(total / error, clusters - 1))


def test_one_promotion_alone_is_itself():
    one = part(*draws(40, 0.1, seed=4), singles(40))

    assert added([one]) == one[0]


def test_promotions_of_nothing_are_claimed_as_rarely_as_they_should():
    """Two promotions on the same 30 items, nothing gained: about one in twenty intervals leaves 0 out."""
    rng = np.random.default_rng(5)
    left_out = 0
    for _ in range(400):
        chance = rng.uniform(0.1, 0.9, 30)
        asked = [rng.binomial(4, chance) / 4 for _ in range(4)]
        found = added([part(asked[0], asked[1], singles(30)), part(asked[2], asked[3], singles(30))])
        left_out += not found.low <= 0 <= found.high

    assert 6 <= left_out <= 36


# What may be said


def test_fewer_clusters_than_the_policy_asks_for_are_too_few_whatever_they_show():
    found = claims([an_effect(clusters=19), an_effect(clusters=20)], fewest=20)

    assert [claim for claim, _ in found] == [Claim.TOO_FEW, Claim.BETTER]


def test_a_fall_is_said_to_be_one():
    assert claims([an_effect(-0.2, low=-0.3, high=-0.1)], fewest=20)[0][0] is Claim.WORSE


def test_many_contributors_are_adjusted_for_each_other():
    """p = 0.04 alone would be a claim; among twenty others of nothing it is none."""
    weak = an_effect(0.1, low=0.01, high=0.19, p=0.04)
    nothing = an_effect(0.0, low=-0.1, high=0.1, p=0.6)

    alone, among = claims([weak], fewest=20)[0], claims([weak, *[nothing] * 20], fewest=20)[0]

    assert (alone[0], among[0]) == (Claim.BETTER, Claim.NOT_SHOWN)


def test_those_with_too_few_rows_cost_the_others_nothing():
    weak = an_effect(0.1, low=0.01, high=0.19, p=0.04)

    found = claims([weak, *[an_effect(0.0, p=0.9, clusters=3)] * 50], fewest=20)

    assert found[0] == (Claim.BETTER, pytest.approx(0.04))


def test_no_claim_stands_beside_an_interval_that_holds_zero():
    assert claims([an_effect(0.1, low=-0.01, high=0.21, p=0.07)], fewest=20)[0] == (Claim.NOT_SHOWN, 0.07)


# In words


def test_a_contributor_is_told_what_their_tasks_did():
    told = sentence(
        an_effect(0.25, low=0.1, high=0.4, clusters=20), Claim.BETTER, rows=312, version="shared/v7", whose="your",
        fewest=20,
    )  # fmt: skip

    assert told == (
        "312 of your tasks were in shared/v7; on your 20 held-out tasks the score went from 50 % to 75 % "
        "(25.0 pp, 95 % CI 10.0 to 40.0): better."
    )


def test_too_few_rows_are_shown_without_a_claim_and_with_what_is_missing():
    told = sentence(an_effect(clusters=8), Claim.TOO_FEW, rows=1, version="shared/v7", whose="its", fewest=20)

    assert told.startswith("1 of its tasks was in shared/v7; on its 8 held-out tasks the score went from 50 % to 70 %")
    assert told.endswith("which is too few to tell: 12 more held-out tasks are needed.")


def test_without_held_out_rows_the_sentence_says_so():
    told = sentence(None, Claim.TOO_FEW, rows=0, version="shared/v7", whose="your", fewest=20)

    assert told == (
        "None of your tasks were in shared/v7; none of your tasks is held out, so nothing can be measured: "
        "20 more held-out tasks are needed."
    )
