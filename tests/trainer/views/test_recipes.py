"""/ops/recipes: the preview writes nothing; building and running do."""

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import Mixture, Recipe

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
