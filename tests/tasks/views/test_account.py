"""/me: a secret is shown once."""

import re

import pytest

from tasks.models import ApiKey, Membership, Team
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


POLICY = {"secrets": "mask", "personal": "refuse", "languages": "en, zh", "licences": "", "min_characters": "5"}


def test_an_administrator_says_what_may_come_in(portal: Portal):
    browser(portal.contributor).post(f"/me/teams/{portal.team.slug}/screening", POLICY)

    policy = Team.objects.get(pk=portal.team.pk).screening
    assert (policy["secrets"], policy["languages"], policy["min_characters"]) == ("mask", ["en", "zh"], 5)


def test_the_policy_that_holds_is_shown(portal: Portal):
    browser(portal.contributor).post(f"/me/teams/{portal.team.slug}/screening", POLICY)

    page = text(browser(portal.contributor).get("/me"))

    assert "secrets: mask, personal data: refuse; en, zh; any licence; 5 to 100,000 characters" in page


def test_a_policy_that_cannot_be_read_is_refused_with_its_field(portal: Portal):
    given = {**POLICY, "min_characters": "few"}

    reply = browser(portal.contributor).post(f"/me/teams/{portal.team.slug}/screening", given)

    assert (reply.status_code, "min_characters" in text(reply)) == (400, True)


def test_a_member_who_is_no_administrator_changes_no_policy(portal: Portal):
    reply = browser(portal.reviewer).post("/me/teams/pool/screening", POLICY)

    assert (reply.status_code, Team.objects.get(slug="pool").screening) == (403, {})


def test_a_stranger_changes_no_policy(portal: Portal):
    reply = browser(portal.stranger).post(f"/me/teams/{portal.team.slug}/screening", POLICY)

    assert reply.status_code == 404
