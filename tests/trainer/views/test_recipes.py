"""/ops/recipes: the preview writes nothing; building and running do."""

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import Mixture, Recipe, TrainingRun

pytestmark = pytest.mark.django_db


def test_the_preview_shows_rows_per_domain_and_contributor_and_builds_nothing(portal: Portal):
    before = Mixture.objects.count()

    tables = dict(browser(portal.operator).get(f"/ops/recipes/{portal.recipe.pk}").context["plan_tables"])

    assert {count.name for count in tables["By contributor"]} == {"carlas-lab", "puzzle-club"}
    assert Mixture.objects.count() == before


def test_building_keeps_the_mixture(portal: Portal):
    browser(portal.operator).post(f"/ops/recipes/{portal.recipe.pk}/build", {"seed": "99"})

    assert Mixture.objects.filter(recipe=portal.recipe, seed=99).exists()


def test_a_recipe_that_cannot_be_is_refused_in_a_sentence(portal: Portal):
    form = {"line": "shared", "name": "bad", "body": '{"cap_per_contributor": 7}', "preset": "flywheel"}

    browser(portal.operator).post("/ops/recipes/new", form)

    assert not Recipe.objects.filter(name="bad").exists()


def test_a_contributor_sees_the_preview_but_no_button(portal: Portal):
    page = text(browser(portal.contributor).get(f"/ops/recipes/{portal.recipe.pk}"))

    assert ("What would be mixed now" in page, "Build and train" in page) == (True, False)


def test_a_run_is_estimated_with_its_knobs_before_it_is_built(portal: Portal):
    before = Mixture.objects.count()

    page = browser(portal.operator).get(f"/ops/recipes/{portal.recipe.pk}?steps=9&group_size=6")

    estimate = page.context["estimate"]
    assert (estimate.steps, estimate.spec.group_size, Mixture.objects.count()) == (9, 6, before)


def test_a_run_of_a_recipe_takes_the_knobs_and_the_start_that_were_chosen(portal: Portal):
    TrainingRun.objects.filter(pk=portal.going.pk).update(state="cancelled")
    version = portal.line.versions.get(number=2)
    form = {"steps": "9", "seed": "3", "start_from": str(version.pk)}

    browser(portal.operator).post(f"/ops/recipes/{portal.recipe.pk}/run", form)

    run = TrainingRun.objects.latest("pk")
    assert (run.spec["steps"], run.spec["seed"], run.start) == (9, 3, version)
