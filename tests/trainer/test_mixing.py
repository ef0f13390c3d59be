"""Mixtures: one hash for one recipe, caps that hold, weights that hold, and sentences on what bound."""

from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.errors import Invalid
from trainer.mixing import Band, Candidate, MixturePlan, Recipe, mix


def tasks(domain: str, contributor: str, count: int, *, start: int = 0) -> list[Candidate]:
    names = [f"{domain}-{contributor}-{number}" for number in range(start, start + count)]
    return [Candidate(name, domain, contributor, exact_key=name, dataset="d1") for name in names]


def used(plan: MixturePlan, name: str) -> int:
    return next(count.used for count in [*plan.domains, *plan.contributors] if count.name == name)


@st.composite
def pools(draw: st.DrawFn) -> list[Candidate]:
    count = draw(st.integers(min_value=1, max_value=120))
    number = st.integers(min_value=0, max_value=200)
    return [
        Candidate(
            task=f"t{at}",
            domain=draw(st.sampled_from(["add", "sub", "mul"])),
            contributor=draw(st.sampled_from(["ada", "bea", "cyd", "dov"])),
            exact_key=f"k{draw(number)}",
            dataset=draw(st.sampled_from(["d1", "d2"])),
        )
        for at in range(count)
    ]


recipes = st.builds(
    Recipe,
    weights=st.dictionaries(st.sampled_from(["add", "sub", "mul"]), st.floats(min_value=0, max_value=2), max_size=3),
    cap_per_contributor=st.sampled_from([0.25, 0.4, 0.5, 0.75, 1.0]),
    per_family=st.integers(min_value=0, max_value=3),
    size=st.integers(min_value=0, max_value=60),
    seed=st.integers(min_value=0, max_value=5),
)


def mixed(pool: list[Candidate], recipe: Recipe) -> MixturePlan | None:
    try:
        return mix(pool, recipe)
    except Invalid:
        return None


@settings(max_examples=60, deadline=None)
@given(pools(), recipes, st.randoms(use_true_random=False))
def test_the_same_tasks_recipe_and_seed_give_the_same_mixture_in_any_order(pool, recipe, random):
    shuffled = random.sample(pool, len(pool))

    assert mixed(shuffled, recipe) == mixed(pool, recipe)


def test_the_same_contents_under_other_ids_give_the_same_digest():
    first = [Candidate(f"{n}", "add", "ada", exact_key=f"k{n}", arrived=n, content=f"c{n}") for n in range(50)]
    later = [
        Candidate(f"{999 - n}", "add", "ada", exact_key=f"k{n}", arrived=999 - n, content=f"c{n}") for n in range(50)
    ]

    assert mix(later, Recipe(seed=3)).digest == mix(first, Recipe(seed=3)).digest


@settings(max_examples=60, deadline=None)
@given(pools(), recipes)
def test_no_contributor_holds_more_than_the_cap(pool, recipe):
    plan = mixed(pool, recipe)

    assert plan is None or all(c.used <= recipe.cap_per_contributor * plan.size + 1e-9 for c in plan.contributors)


@settings(max_examples=60, deadline=None)
@given(pools(), recipes)
def test_no_exact_key_is_in_a_mixture_twice(pool, recipe):
    plan = mixed(pool, recipe)

    key_of = {candidate.task: candidate.exact_key for candidate in pool}
    assert plan is None or len({key_of[task] for task in plan.tasks}) == plan.size


# The only task of "mul" repeats a prompt, so nothing of that domain is there to be weighed.
REPEATED_DOMAIN = [
    Candidate("t0", "sub", "bea", exact_key="k0"),
    Candidate("t1", "mul", "bea", exact_key="k0"),
    Candidate("t2", "sub", "bea", exact_key="k1"),
]


@settings(max_examples=60, deadline=None)
@given(pools(), recipes)
@example(REPEATED_DOMAIN, Recipe())
def test_a_weighted_domain_misses_its_share_by_less_than_one_task(pool, recipe):
    everything = Recipe(weights={"add": 2, "sub": 1, "mul": 1}, size=recipe.size, seed=recipe.seed)
    plan = mixed(pool, everything)

    first_of_prompt = {c.exact_key: c.domain for c in sorted(pool, key=lambda c: c.task, reverse=True)}
    total = sum(everything.weights[domain] for domain in set(first_of_prompt.values()))
    assert plan is None or all(
        abs(count.used - everything.weights[count.name] / total * plan.size) < 1 for count in plan.domains
    )


@settings(max_examples=60, deadline=None)
@given(pools(), recipes)
def test_a_mixture_is_never_larger_than_asked(pool, recipe):
    plan = mixed(pool, recipe)

    assert plan is None or recipe.size == 0 or plan.size <= recipe.size


def test_another_seed_gives_another_order_and_another_digest():
    pool = tasks("add", "ada", 50)

    assert mix(pool, Recipe(seed=1)).digest != mix(pool, Recipe(seed=2)).digest


def test_another_dataset_version_gives_another_digest_for_the_same_ids():
    pool = tasks("add", "ada", 5)

    again = [Candidate(c.task, c.domain, c.contributor, c.exact_key, dataset="d2") for c in pool]

    assert mix(pool, Recipe()).digest != mix(again, Recipe()).digest


def test_an_empty_recipe_takes_every_task():
    assert mix(tasks("add", "ada", 30) + tasks("sub", "bea", 20), Recipe()).size == 50


def test_a_cap_that_binds_says_whom_it_holds_back():
    plan = mix(tasks("add", "ada", 70) + tasks("add", "bea", 30), Recipe(cap_per_contributor=0.6))

    assert plan.sentences == ["The cap of 60 % holds ada to 45 of 70 tasks."]


def test_a_cap_leaves_the_largest_mixture_that_keeps_it():
    plan = mix(tasks("add", "ada", 70) + tasks("add", "bea", 30), Recipe(cap_per_contributor=0.6))

    assert (plan.size, used(plan, "ada"), used(plan, "bea")) == (75, 45, 30)


def test_counts_tell_what_was_there_before_the_cap():
    plan = mix(tasks("add", "ada", 70) + tasks("add", "bea", 30), Recipe(cap_per_contributor=0.6))

    assert [(c.name, c.available) for c in plan.contributors] == [("ada", 70), ("bea", 30)]


def test_a_scarce_domain_scales_the_whole_mixture_down_to_keep_the_weights():
    plan = mix(tasks("add", "ada", 100) + tasks("sub", "ada", 10), Recipe(weights={"add": 0.5, "sub": 0.5}, size=60))

    assert (used(plan, "add"), used(plan, "sub")) == (10, 10)


def test_scaling_down_is_said():
    plan = mix(tasks("add", "ada", 100) + tasks("sub", "ada", 10), Recipe(weights={"add": 0.5, "sub": 0.5}, size=60))

    assert plan.sentences == [
        "Asked for 60 tasks; weights and cap allow 20 of 110.",
        "Domain “sub” is used up: its 10 tasks at 50 % set the size.",
    ]


def test_domains_without_a_weight_divide_the_rest_in_proportion_to_their_tasks():
    pool = tasks("add", "ada", 400) + tasks("sub", "ada", 300) + tasks("mul", "ada", 100)

    plan = mix(pool, Recipe(weights={"add": 0.2}, size=100))

    assert (used(plan, "add"), used(plan, "sub"), used(plan, "mul")) == (20, 60, 20)


def test_weight_zero_keeps_a_domain_out():
    plan = mix(tasks("add", "ada", 40) + tasks("sub", "ada", 30), Recipe(weights={"sub": 0.0}))

    assert used(plan, "sub") == 0


def test_the_weight_of_a_domain_without_tasks_goes_to_the_others():
    plan = mix(tasks("add", "ada", 40), Recipe(weights={"add": 0.5, "code": 0.5}))

    assert plan.sentences == ["Domain “code” has no tasks; its weight went to the others in proportion."]


def test_every_prefix_keeps_the_weights_within_two_tasks():
    pool = tasks("add", "ada", 300) + tasks("sub", "ada", 300)
    plan = mix(pool, Recipe(weights={"add": 0.75, "sub": 0.25}, size=200))

    seen: Counter[str] = Counter()
    worst = 0.0
    for length, task in enumerate(plan.tasks, start=1):
        seen[task.split("-")[0]] += 1
        worst = max(worst, abs(seen["add"] - 0.75 * length))

    assert worst <= 2


def test_weights_and_cap_are_met_together_where_only_rerouting_finds_the_way():
    pool = tasks("add", "ada", 50) + tasks("sub", "ada", 50) + tasks("sub", "bea", 50)

    plan = mix(pool, Recipe(weights={"add": 0.5, "sub": 0.5}, cap_per_contributor=0.5))

    assert (plan.size, used(plan, "ada"), used(plan, "bea")) == (100, 50, 50)


def test_a_cap_below_one_over_the_contributors_is_refused_with_the_number_needed():
    with pytest.raises(Invalid, match="A cap of 30 % needs 4 contributors and there are 1"):
        mix(tasks("add", "ada", 50), Recipe(cap_per_contributor=0.3))


def test_a_weight_that_only_one_capped_contributor_could_fill_is_refused():
    with pytest.raises(Invalid, match="“add” is to be 80 % of the mixture"):
        mix(
            tasks("add", "ada", 50) + tasks("sub", "bea", 50),
            Recipe(weights={"add": 0.8, "sub": 0.2}, cap_per_contributor=0.5),
        )


def test_nothing_approved_is_refused():
    with pytest.raises(Invalid, match="no approved task"):
        mix([], Recipe())


def test_a_recipe_made_in_code_is_held_to_the_same_bounds():
    with pytest.raises(Invalid, match="not a recipe"):
        mix(tasks("add", "ada", 5), Recipe(cap_per_contributor=0.0))


def test_of_two_tasks_with_one_prompt_the_first_to_arrive_is_taken():
    late = Candidate("a-late", "add", "bea", "same", arrived=2)
    early = Candidate("z-early", "add", "ada", "same", arrived=1)

    assert mix([late, early], Recipe()).tasks == ["z-early"]


def test_a_family_is_capped():
    pool = [Candidate(f"t{n}", "add", "ada", f"k{n}", family="twins") for n in range(9)]

    assert mix(pool, Recipe(per_family=2)).size == 2


def test_a_plan_survives_json():
    plan = mix(tasks("add", "ada", 5), Recipe(weights={"add": 1.0}))

    assert msgspec.json.decode(msgspec.json.encode(plan), type=MixturePlan) == plan


# The band of difficulty


def rated(*rates: float | None) -> list[Candidate]:
    return [replace(task, pass_rate=rate) for task, rate in zip(tasks("add", "ada", len(rates)), rates, strict=True)]


def banded(*rates: float | None, **band: Any) -> MixturePlan:
    return mix(rated(*rates), Recipe(difficulty=Band(**band)))


def test_a_recipe_without_a_band_mixes_whatever_the_champion_makes_of_it():
    assert mix(rated(0.0, 1.0, None), Recipe()).size == 3


def test_what_the_champion_solves_leaves_the_mixture():
    plan = banded(0.0, 0.625, 0.75, 1.0)

    assert (plan.size, plan.solved) == (2, 2)


def test_both_ends_of_the_band_are_in_it():
    assert banded(0.125, 0.625, min=0.125, max=0.625).size == 2


def test_what_is_too_hard_leaves_where_the_recipe_says_so():
    plan = banded(0.0, 0.125, 0.5, min=0.125)

    assert (plan.size, plan.too_hard) == (2, 1)


@pytest.mark.parametrize(("unknown", "size"), [("keep", 3), ("leave", 1)])
def test_tasks_without_a_rate_are_kept_or_left_as_the_recipe_says_and_counted(unknown: str, size: int):
    plan = banded(0.5, None, None, unknown=unknown)

    assert (plan.size, plan.unknown) == (size, 2)


def test_what_left_by_difficulty_is_told():
    told = banded(0.0, 0.5, 1.0, None, min=0.125).sentences

    assert told[:3] == [
        "1 task left out as solved: the champion passes more than 62.5 %.",
        "1 task left out as too hard: the champion passes less than 12.5 %.",
        "1 task without a pass rate of the champion, kept: measure them first.",
    ]


def test_a_mixture_with_nothing_in_the_band_is_refused_with_what_left():
    with pytest.raises(Invalid, match="2 tasks left out as solved") as refused:
        banded(0.875, 1.0)

    assert refused.value.code == "mixture_empty"


def test_a_band_that_ends_before_it_begins_is_refused():
    with pytest.raises(Invalid, match="min be at most max"):
        banded(0.5, min=0.8, max=0.2)


def test_other_rates_that_keep_the_same_tasks_give_the_same_mixture():
    assert banded(0.125, 0.25).digest == banded(0.5, 0.375).digest


def test_a_band_is_part_of_the_digest():
    assert banded(0.5, max=0.625).digest != banded(0.5, max=0.75).digest


def test_a_recipe_without_a_band_makes_what_it_made_before_there_were_any():
    plan = mix(tasks("add", "ada", 5), Recipe(seed=1, weights={"add": 0.5}))

    assert plan.digest == "bd3d4eaa48fbc5da9d80edc254392375a0aac21ca981ed150db539af48f2d5d8"
