"""The wheel counts what one may know of, and nothing else."""

import pytest

from flywheel.pages import wheel
from tests.fixtures_portal import Portal
from tests.portal_client import browser

pytestmark = pytest.mark.django_db


def counts(user) -> dict[str, int]:
    return {stage.name: stage.count for stage in wheel.stages(user)}


def test_each_stage_holds_no_more_than_the_one_before(portal: Portal):
    found = counts(portal.operator)

    assert found["uploaded"] >= found["valid"] >= found["proved"] >= found["approved"] > 0


def test_runs_and_promotions_are_counted(portal: Portal):
    found = counts(portal.operator)

    assert (found["trained"], found["promoted"]) == (3, 1)


def test_a_private_dataset_is_counted_for_its_team_only(portal: Portal):
    assert counts(portal.contributor)["uploaded"] - counts(portal.stranger)["uploaded"] == 41


def test_the_ring_is_304_while_nothing_changes(portal: Portal):
    client = browser(portal.operator)
    first = client.get("/wheel")

    assert client.get("/wheel", headers={"If-None-Match": first["ETag"]}).status_code == 304


def test_the_stages_stand_on_a_ring(portal: Portal):
    distances = {
        round(((stage.x - wheel.CENTRE) ** 2 + (stage.y - wheel.CENTRE) ** 2) ** 0.5)
        for stage in wheel.stages(portal.operator)
    }

    assert distances == {wheel.RADIUS}
