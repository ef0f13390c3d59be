from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import ApiKey, Dataset, Event, Team, User
from tasks.services import accounts
from tasks.states import Role, Scope
from tests.cast import Person
from tests.tasks.pipeline import imported, states

pytestmark = pytest.mark.django_db

PASSWORD = "a-long-enough-word"


def test_there_is_one_pool_from_the_start():
    assert accounts.pool().is_system


def test_a_user_is_made_with_a_hashed_password():
    user = accounts.create_user("nora", PASSWORD, actor=None)

    assert user.check_password(PASSWORD)
    assert PASSWORD not in user.password


def test_a_stranger_may_not_make_users(stranger: Person):
    with pytest.raises(Forbidden):
        accounts.create_user("nora", PASSWORD, actor=stranger.user)


def test_a_user_name_is_given_once():
    accounts.create_user("nora", PASSWORD, actor=None)

    with pytest.raises(Conflict, match="nora"):
        accounts.create_user("nora", PASSWORD, actor=None)


@pytest.mark.parametrize(
    ("username", "password", "email", "param"),
    [("no/ra", PASSWORD, "", "username"), ("", PASSWORD, "", "username"), ("nora", "short", "", "password"),
     ("nora", PASSWORD, "nowhere", "email")],
)  # fmt: skip
def test_a_user_that_cannot_be_right_is_refused(username: str, password: str, email: str, param: str):
    with pytest.raises(Invalid) as refusal:
        accounts.create_user(username, password, email, actor=None)

    assert refusal.value.param == param


def test_whoever_makes_a_team_has_every_role_in_it():
    user = User.objects.create_user("nora")

    team = accounts.create_team("Nora & co", actor=user)

    assert team.slug == "nora-co"
    assert user.roles_in(team) == set(Role)


def test_a_team_slug_is_given_once(contributor: Person):
    with pytest.raises(Conflict):
        accounts.create_team("Other", contributor.team.slug, actor=None)


@pytest.mark.parametrize(("name", "slug"), [("", "x"), ("x" * 121, "x"), ("Fine", "Not Fine"), ("!!!", "")])
def test_a_team_that_cannot_be_right_is_refused(name: str, slug: str):
    with pytest.raises(Invalid):
        accounts.create_team(name, slug, actor=None)


def test_only_administrators_give_roles(contributor: Person, stranger: Person):
    with pytest.raises(Forbidden):
        accounts.join(contributor.team, stranger.user, Role.REVIEWER, actor=stranger.user)


def test_joining_twice_is_one_membership_and_one_event(contributor: Person, stranger: Person):
    for _ in range(2):
        accounts.join(contributor.team, stranger.user, Role.REVIEWER, actor=contributor.user)

    assert stranger.user.roles_in(contributor.team) == {Role.REVIEWER}
    assert Event.objects.filter(kind="team.joined", team=contributor.team).count() == 1


def test_an_unknown_role_is_refused(contributor: Person, stranger: Person):
    with pytest.raises(Invalid):
        accounts.join(contributor.team, stranger.user, "king", actor=contributor.user)


def test_a_member_leaves_by_their_own_wish(contributor: Person, stranger: Person):
    accounts.join(contributor.team, stranger.user, Role.REVIEWER, actor=None)

    accounts.leave(contributor.team, stranger.user, actor=stranger.user)

    assert not stranger.user.roles_in(contributor.team)


def test_the_last_administrator_stays(contributor: Person):
    with pytest.raises(Conflict, match="no administrator"):
        accounts.leave(contributor.team, contributor.user, actor=contributor.user)


def test_a_stranger_may_not_send_somebody_away(contributor: Person, stranger: Person):
    with pytest.raises(Forbidden):
        accounts.leave(contributor.team, contributor.user, actor=stranger.user)


def test_a_key_is_found_by_its_secret_and_stored_as_a_hash(contributor: Person):
    key, secret = accounts.create_key(contributor.team, contributor.user, "laptop", ["read"], actor=contributor.user)

    assert ApiKey.find(secret) == key
    assert secret not in str(ApiKey.objects.values().get(pk=key.pk))


def test_a_key_allows_its_scopes_only(contributor: Person):
    key, _ = accounts.create_key(contributor.team, contributor.user, "laptop", ["read"], actor=None)

    assert (key.allows(Scope.READ), key.allows(Scope.WRITE)) == (True, False)


def test_a_revoked_key_is_not_found(contributor: Person):
    key, secret = accounts.create_key(contributor.team, contributor.user, "laptop", ["read"], actor=None)

    accounts.revoke_key(key, actor=contributor.user)

    assert ApiKey.find(secret) is None


def test_a_key_that_expired_is_not_found(contributor: Person):
    key, secret = accounts.create_key(contributor.team, contributor.user, "laptop", ["read"], actor=None)
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))

    assert ApiKey.find(secret) is None


def test_a_key_of_somebody_who_has_left_is_not_found(contributor: Person, stranger: Person):
    accounts.join(contributor.team, stranger.user, Role.CONTRIBUTOR, actor=contributor.user)
    _, secret = accounts.create_key(contributor.team, stranger.user, "laptop", ["read"], actor=stranger.user)

    accounts.leave(contributor.team, stranger.user, actor=stranger.user)

    assert ApiKey.find(secret) is None


def test_keys_are_for_members_only(contributor: Person, stranger: Person):
    with pytest.raises(Forbidden):
        accounts.create_key(contributor.team, stranger.user, "mine", ["read"], actor=stranger.user)


def test_a_stranger_may_not_revoke_a_key(contributor: Person, stranger: Person):
    key, _ = accounts.create_key(contributor.team, contributor.user, "laptop", ["read"], actor=None)

    with pytest.raises(Forbidden):
        accounts.revoke_key(key, actor=stranger.user)


@pytest.mark.parametrize("scopes", [[], ["everything"]])
def test_a_key_needs_known_scopes(contributor: Person, scopes: list[str]):
    with pytest.raises(Invalid):
        accounts.create_key(contributor.team, contributor.user, "laptop", scopes, actor=None)


def test_a_key_cannot_have_expired_when_it_is_made(contributor: Person):
    with pytest.raises(Invalid):
        accounts.create_key(contributor.team, contributor.user, "x", ["read"], timezone.now(), actor=None)


def test_only_administrators_choose_the_approval_policy(contributor: Person, stranger: Person):
    with pytest.raises(Forbidden):
        accounts.set_approval(contributor.team, "all", actor=stranger.user)


def test_an_unknown_approval_policy_is_refused(contributor: Person):
    with pytest.raises(Invalid):
        accounts.set_approval(contributor.team, "whim", actor=contributor.user)


# Screening


def test_an_administrator_sets_what_may_come_in(contributor: Person):
    accounts.set_screening(contributor.team, {"personal": "mask", "languages": ["en"]}, actor=contributor.user)

    policy = accounts.screening_of(Team.objects.get(pk=contributor.team.pk))
    assert (policy["personal"], list(policy["languages"]), policy["secrets"]) == ("mask", ["en"], "refuse")


def test_a_screening_policy_is_an_event_with_both_states(contributor: Person):
    accounts.set_screening(contributor.team, {"personal": "refuse"}, actor=contributor.user)

    event = Event.objects.get(kind="team.screening_set")
    assert (event.data["old"], event.data["new"]["personal"]) == ({}, "refuse")


def test_a_team_that_has_set_nothing_is_screened_by_the_defaults(contributor: Person):
    policy = accounts.screening_of(contributor.team)

    assert (policy["secrets"], policy["personal"], list(policy["languages"])) == ("refuse", "flag", [])


@pytest.mark.parametrize(
    "policy",
    [{"secrets": "ignore"}, {"languages": ["english"]}, {"min_characters": 0}, {"max_characters": 10**6}, {"x": 1}],
)
def test_a_screening_policy_that_cannot_be_read_is_refused(contributor: Person, policy: dict[str, Any]):
    with pytest.raises(Invalid) as refused:
        accounts.set_screening(contributor.team, policy, actor=contributor.user)

    assert refused.value.code == "screening_bad"


def test_only_administrators_say_what_may_come_in(contributor: Person, stranger: Person):
    with pytest.raises(Forbidden):
        accounts.set_screening(contributor.team, {}, actor=stranger.user)


def test_the_pools_policy_is_not_its_reviewers(reviewer: Person):
    with pytest.raises(Forbidden):
        accounts.set_screening(reviewer.team, {}, actor=reviewer.user)


def test_rows_that_are_stored_stay_and_the_next_ones_are_screened(contributor: Person, dataset: Dataset):
    row = {"prompt": "Write to rosa.keller@posteo.de and say the number.", "reference": 7}
    imported(dataset, [row])

    accounts.set_screening(contributor.team, {"personal": "refuse"}, actor=contributor.user)
    second = imported(dataset, [{**row, "prompt": f"{row['prompt']} Twice."}])

    assert (states(dataset), second.counts["rejected"]) == (["valid"], {"personal_data": 1})
