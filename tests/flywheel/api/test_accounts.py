"""Keys, teams, events and graders through the API."""

from tasks.models import ApiKey
from tasks.models.events import seal
from tasks.states import Role, Scope
from tests import cast
from tests.cast import Person


def test_a_key_is_shown_once_and_then_only_its_prefix(contributor: Person):
    made = contributor.api.post("/api/v1/keys", {"name": "robot", "scopes": ["read"]}, format="json").json()

    shown = contributor.api.get(f"/api/v1/keys/{made['id']}").json()

    assert made["secret"].startswith(shown["prefix"])
    assert "secret" not in shown


def test_a_revoked_key_is_refused_at_once(contributor: Person):
    key = ApiKey.objects.get(user=contributor.user)

    assert contributor.api.delete(f"/api/v1/keys/{key.pk}").status_code == 204
    assert contributor.api.get("/api/v1/keys").status_code == 401


def test_a_key_without_the_admin_scope_makes_no_keys(contributor: Person):
    secret = cast.key(contributor.user, contributor.team, [Scope.READ, Scope.WRITE, Scope.TRAIN])
    reader = Person(contributor.user, contributor.team, secret)

    reply = reader.api.post("/api/v1/keys", {"name": "more", "scopes": ["admin"]}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (403, "permission_denied")


def test_a_read_key_reads_and_does_not_write(contributor: Person):
    reader = Person(contributor.user, contributor.team, cast.key(contributor.user, contributor.team, [Scope.READ]))

    assert reader.api.get("/api/v1/datasets").status_code == 200
    assert reader.api.post("/api/v1/datasets", {"name": "x"}, format="json").status_code == 403


def test_nobody_makes_a_key_for_somebody_outside_the_team(contributor: Person, stranger: Person):
    body = {"name": "x", "scopes": ["read"], "user": stranger.user.username}

    assert contributor.api.post("/api/v1/keys", body, format="json").status_code == 404


def test_a_signed_in_person_makes_a_team(contributor: Person):
    browser = contributor.browser
    browser.handler.enforce_csrf_checks = False

    reply = browser.post("/api/v1/teams", {"name": "Second"}, format="json")

    assert (reply.status_code, "administrator" in reply.json()["my_roles"]) == (201, True)


def test_a_member_joins_and_leaves(contributor: Person, stranger: Person):
    path = f"/api/v1/teams/{contributor.team.pk}/members"

    joined = contributor.api.post(path, {"user": stranger.user.username, "role": "reviewer"}, format="json")
    left = contributor.api.delete(f"{path}/{stranger.user.username}/reviewer")

    assert (joined.status_code, left.status_code) == (201, 204)
    assert stranger.user.roles_in(contributor.team) == frozenset()


def test_somebody_who_is_no_administrator_adds_nobody(contributor: Person, stranger: Person):
    contributor.team.memberships.create(user=stranger.user, role=Role.REVIEWER)
    reviewer = Person(stranger.user, contributor.team, cast.key(stranger.user, contributor.team))
    body = {"user": "nobody at all", "role": "reviewer"}

    reply = reviewer.api.post(f"/api/v1/teams/{contributor.team.pk}/members", body, format="json")

    assert reply.status_code == 403


def test_a_team_says_who_approves(contributor: Person):
    reply = contributor.api.patch(f"/api/v1/teams/{contributor.team.pk}", {"approval": "person"}, format="json")

    assert reply.json()["approval"] == "person"


def test_a_team_says_what_may_come_in(contributor: Person):
    body = {"screening": {"personal": "mask", "max_characters": 5000}}

    reply = contributor.api.patch(f"/api/v1/teams/{contributor.team.pk}", body, format="json")

    policy = reply.json()["screening"]
    assert (policy["personal"], policy["max_characters"], policy["secrets"]) == ("mask", 5000, "refuse")


def test_half_a_change_of_a_team_is_none(contributor: Person):
    body = {"approval": "proved", "screening": {"personal": "sometimes"}}

    reply = contributor.api.patch(f"/api/v1/teams/{contributor.team.pk}", body, format="json")

    contributor.team.refresh_from_db()
    assert (reply.status_code, reply.json()["code"], contributor.team.approval) == (400, "screening_bad", "all")


def test_events_of_ones_team_are_listed_newest_first(contributor: Person):
    contributor.api.post("/api/v1/datasets", {"name": "Sums"}, format="json")

    kinds = [event["kind"] for event in contributor.api.get("/api/v1/events").json()["results"]]

    assert (kinds[0], kinds[-1]) == ("dataset.created", "team.created")


def test_the_head_of_the_chain_is_verified(contributor: Person):
    count = seal()

    head = contributor.api.get("/api/v1/events/head").json()

    assert (head["holds"], head["sealed"], len(head["head"])) == (True, count, 64)


def test_equal_graders_have_equal_digests(contributor: Person):
    def digest(name: str) -> str:
        grader = {"type": "number", "name": name, "reference": "{{ item.reference }}"}
        reply = contributor.api.post("/api/v1/graders/validate", {"grader": grader}, format="json")
        return str(reply.json()["digest"])

    assert digest("a") == digest("b")


def test_a_completion_keeps_its_blanks(contributor: Person):
    body = {"grader": {"type": "number", "reference": "7"}, "item": {}, "completion": "  7  \n"}

    assert contributor.api.post("/api/v1/graders/run", body, format="json").json()["outcome"] == "correct"
