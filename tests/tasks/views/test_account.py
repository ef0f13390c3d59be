"""/me: a secret is shown once."""

import re

import pytest

from tasks.models import ApiKey, Membership
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text

pytestmark = pytest.mark.django_db


def test_a_new_keys_secret_is_shown_and_works(portal: Portal):
    form = {"team": portal.team.pk, "name": "laptop", "scopes": ["read"]}

    page = text(browser(portal.contributor).post("/me/keys", form))

    secret = re.search(r"fw_[\w-]{30,}", page)
    assert secret is not None
    assert ApiKey.find(secret[0]).name == "laptop"


def test_the_secret_is_not_shown_again(portal: Portal):
    client = browser(portal.contributor)
    client.post("/me/keys", {"team": portal.team.pk, "name": "laptop", "scopes": ["read"]})

    assert not re.search(r"fw_[\w-]{30,}", text(client.get("/me")))


def test_a_revoked_key_opens_nothing(portal: Portal):
    key = ApiKey.objects.get(user=portal.contributor, name="importer")

    browser(portal.contributor).post(f"/me/keys/{key.pk}/revoke")

    key.refresh_from_db()
    assert key.revoked_at is not None


def test_an_administrator_adds_a_member(portal: Portal):
    form = {"username": "sven", "role": "reviewer"}

    browser(portal.contributor).post(f"/me/teams/{portal.team.slug}/members", form)

    assert Membership.objects.filter(team=portal.team, user=portal.stranger, role="reviewer").exists()
