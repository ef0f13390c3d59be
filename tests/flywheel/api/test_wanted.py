"""/api/v1/wanted: figures for everybody."""

import pytest
from rest_framework.test import APIClient

from tests import cast
from tests.fixtures_portal import Portal
from tests.portal_client import portal, seeded, text
from trainer.models import Line

__all__ = ["portal", "seeded"]
pytestmark = pytest.mark.django_db


def test_the_list_is_read_without_a_key(portal: Portal):
    told = APIClient().get("/api/v1/wanted").json()

    assert (told["line"], told["champion"]) == ("shared", "shared/v1")
    assert {row["domain"] for row in told["domains"]} == {"arithmetic", "maximum", "reverse"}
    assert {"rate", "low", "high", "rows", "teaching", "sealed", "needed", "reasons"} <= set(told["domains"][0])


def test_as_a_file_it_holds_the_domains(portal: Portal):
    reply = APIClient().get("/api/v1/wanted?format=csv")

    assert reply["Content-Disposition"] == 'attachment; filename="wanted.csv"'
    assert text(reply).splitlines()[0].startswith("domain,wanted,reasons,sentences,rate,low,high")


def test_a_key_that_is_wrong_is_refused_all_the_same(portal: Portal):
    reply = APIClient().get("/api/v1/wanted", HTTP_AUTHORIZATION="Bearer fw_wrong")

    assert reply.status_code == 401


def test_a_private_line_has_no_list_even_for_its_own_team(portal: Portal):
    key = cast.key(portal.contributor, portal.team)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")

    assert client.get("/api/v1/wanted", {"line": "carlas-lab-house"}).status_code == 404


def test_before_there_is_a_shared_line_there_is_no_list(portal: Portal):
    Line.objects.update(purpose="expert")

    assert APIClient().get("/api/v1/wanted").status_code == 404
