"""Every address of the product, walked as a stranger: an id of another team is 404, and nothing of theirs is shown.

The list comes from the resolver, so a new address is tested without being mentioned here; one with a new kind of
parameter fails until WHERE says which row it names.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from flywheel.openai_compat import ids
from tasks.states import Role
from tests import cast, world
from tests.cast import Person
from tests.world import World
from trainer.models import TrainingRun
from trainer.services import naming

pytestmark = pytest.mark.django_db
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NO_MORE_THAN_THAT = frozenset({404, 405})
NOBODY = "00000000-0000-4000-8000-000000000000"

# Parameters that the resolver cannot tell the kind of: route (or its beginning) → parameter → what to put there.
# A name in braces is an id of the world's row of that kind.
WHERE: dict[str, dict[str, str]] = {
    "openai/v1/models/": {"name": "{line_slug}/v1"},
    "openai/v1/fine_tuning/jobs/": {"job": "{openai_job}", "verb": "pause"},
    "openai/v1/fine_tuning/checkpoints/": {"name": "{made}", "permission": "{openai_permission}"},
    "openai/v1/files/": {"file_id": "{openai_file}"},
    "openai/v1/uploads/": {"upload_id": "{openai_upload}"},
    "openai/v1/evals/": {"eval_id": "{openai_eval}", "run_id": "{openai_eval_run}", "item_id": "{openai_output_item}"},
    "evals/": {"pk": "{eval}", "run": "{evalrun}"},
    "api/v1/teams/": {"pk": "{team}", "user": "carla", "role": "reviewer"},
    "api/v1/reviews/batches/": {"batch": NOBODY},
    "submit/announced/<uuid": {"pk": NOBODY},
    "submit/": {"pk": "{upload}"},
    "datasets/": {"team": "{team_slug}", "slug": "sums"},
    "tasks/": {"pk": "{task}"},
    "withdrawals/": {"pk": "{withdrawalreceipt}"},
    "review/undo/<uuid": {"batch": NOBODY},
    "review/undo/": {"pk": "{review}"},
    "review/appeals/": {"pk": "{appeal}"},
    "review/wrappers/": {"pk": "{wrapper}"},
    "review/": {"pk": "{task}"},
    "me/keys/": {"pk": "{apikey}"},
    "me/teams/": {"slug": "{team_slug}"},
    "ops/evaluations/": {"pk": "{evaluation}"},
    "ops/runs/": {"pk": "{trainingrun}", "verb": "pause"},
    "ops/recipes/": {"pk": "{recipe}"},
    "ops/difficulty/": {"pk": "{difficultycheck}"},
    "ops/gates/": {"pk": "{gatereport}"},
    "ops/models/": {"slug": "{line_slug}", "number": "1", "pk": "{importedsuite}"},
    "ops/schedules/": {"pk": "{schedule}"},
    "ops/webhooks/": {"pk": "{webhook}", "delivery": "{delivery}", "verb": "off"},
    "api/v1/webhooks/": {"pk": "{webhook}", "delivery": "{delivery}"},
}
# Rows that the OpenAI surface names by ids of its own.
OPAQUE = {  # ids of that surface: what a row is called there → kind of the row, prefix
    "file": ("file", ids.FILE),
    "upload": ("fileinparts", ids.UPLOAD),
    "job": ("trainingrun", ids.JOB),
    "permission": ("modelpermission", ids.PERMISSION),
    "eval": ("eval", ids.EVAL),
    "eval_run": ("evalrun", ids.EVAL_RUN),
    "output_item": ("evalitem", ids.OUTPUT_ITEM),
}
# Shown to everybody: they name no row. What is wanted is figures of the shared line.
PUBLIC = frozenset({"login", "schema", "docs", "wanted"})


@dataclass(frozen=True)
class Address:
    route: str
    name: str
    view: Any

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"<(?:\w+:)?(\w+)>", self.route)

    def path(self, keys: dict[str, Any]) -> str:
        """The address with ids in it."""
        route = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)", r"<\1>", self.route)
        values = {name: self._value(name, keys) for name in self.parameters}
        filled = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: values[found[1]], route)
        return "/" + re.sub(r"[\^$\\]|\.\*", "", filled)

    def _value(self, parameter: str, keys: dict[str, Any]) -> str:
        if self.route.startswith("admin/"):
            return "1"
        for beginning, meant in WHERE.items():
            if self.route.startswith(beginning) and parameter in meant:
                return meant[parameter].format(**keys)
        model = getattr(getattr(self.view, "cls", None), "model", None)
        assert model is not None, f"Say in WHERE what {parameter} means in {self.route}."
        return str(keys[model._meta.model_name])


def walk(patterns: Any, before: str = "") -> Iterator[Address]:
    for pattern in patterns:
        route = before + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield Address(route, pattern.name or "", pattern.callback)


ALL = [address for address in walk(get_resolver().url_patterns) if not address.route.startswith("static/")]
OURS = [address for address in ALL if not address.route.startswith("admin/")]
WITH_IDS = [address for address in OURS if address.parameters]
WITHOUT_IDS = [address for address in OURS if not address.parameters]
VISIBLE = [address for address in OURS if address.name != "unknown"]


def by_route(addresses: list[Address]) -> Any:
    return pytest.mark.parametrize("address", addresses, ids=lambda address: address.route)


@dataclass(frozen=True)
class Scene:
    private: World
    shared: World
    stranger: Person
    both: Person  # in the owner's team as well, but calling with a key of the stranger's

    def ids(self, of: World) -> dict[str, Any]:
        slug = "carla-team-expert" if of is self.private else "pool-shared"
        run = TrainingRun.objects.select_related("line__team", "start__line").get(pk=of.ids["trainingrun"])
        opaque = {f"openai_{name}": ids.encode(prefix, of.ids[kind]) for name, (kind, prefix) in OPAQUE.items()}
        opaque["made"] = naming.of_run(run)
        return {**of.ids, **opaque, "line_slug": slug, "team_slug": of.person.team.slug}


@pytest.fixture(scope="module")
def scene(django_db_setup: None, django_db_blocker: Any) -> Iterator[Scene]:
    """Built once for the module, in a transaction that is never committed."""
    with django_db_blocker.unblock(), transaction.atomic():
        carla, stranger = cast.of_own_team("carla"), cast.of_own_team("sven")
        otto = cast.of_the_pool("otto", Role.OPERATOR)
        key = cast.key(carla.user, _joined(carla, stranger))
        carla.user.api_keys.exclude(team=carla.team).update(name="elsewhere")
        private = world.full(carla)
        gifts = world.contributed_dataset(carla)
        shared = world.full(otto, purpose="shared", dataset=gifts, uploader=carla)
        yield Scene(private, shared, stranger, Person(carla.user, stranger.team, key))
        transaction.set_rollback(True)


def _joined(person: Person, host: Person) -> Any:
    from tasks.services import accounts

    for role in Role:
        accounts.join(host.team, person.user, role, actor=None)
    return host.team


def browser(person: Person) -> Client:
    client = Client(raise_request_exception=True)
    client.force_login(person.user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def text(reply: HttpResponseBase) -> str:
    raw = b"".join(reply) if reply.streaming else reply.content  # type: ignore[attr-defined,call-overload]
    return raw.decode(errors="replace")


def ask(client: Any, method: str, path: str) -> Any:
    if isinstance(client, Client) and not path.startswith("/api/"):
        return client.generic(method, path, b"", content_type="application/x-www-form-urlencoded")
    return client.generic(method, path, b"" if method == "GET" else b"{}", content_type="application/json")


def test_there_are_addresses_of_every_surface():
    first = {address.route.partition("/")[0] for address in WITH_IDS}

    assert {"api", "openai"} <= first


@by_route(WITH_IDS)
def test_an_id_of_another_team_is_404_for_a_strangers_key(scene: Scene, address: Address):
    path = address.path(scene.ids(scene.private))

    replies = {method: ask(scene.stranger.api, method, path).status_code for method in METHODS}

    assert_hidden(address, replies)


@by_route(WITH_IDS)
def test_an_id_of_another_team_is_404_for_a_member_with_a_key_of_elsewhere(scene: Scene, address: Address):
    """A key acts in its own team only, whatever other teams its user is in."""
    path = address.path(scene.ids(scene.private))

    replies = {method: ask(scene.both.api, method, path).status_code for method in METHODS}

    assert_hidden(address, replies)


@by_route(WITH_IDS)
def test_an_id_of_another_team_is_404_for_a_signed_in_stranger(scene: Scene, address: Address):
    path = address.path(scene.ids(scene.private))

    replies = {method: ask(browser(scene.stranger), method, path).status_code for method in METHODS}

    assert_hidden(address, replies)


def assert_hidden(address: Address, replies: dict[str, int]) -> None:
    """404 wherever the address knows the method; pages (which know no keys) send a key to the login."""
    allowed = NO_MORE_THAN_THAT | ({401} if address.route.startswith("openai/") else set())
    page = not address.route.startswith(("api/", "openai/"))
    wrong = {
        method: status for method, status in replies.items() if status not in allowed and not (page and status == 302)
    }
    assert wrong == {}
    assert page or set(replies.values()) != {405}


@by_route(VISIBLE)
@pytest.mark.parametrize("of", ["private", "shared"])
@pytest.mark.parametrize("by", ["key", "session"])
def test_no_page_and_no_reply_shows_a_stranger_another_teams_prompt(scene: Scene, address: Address, of: str, by: str):
    path = address.path(scene.ids(getattr(scene, of)))
    client = scene.stranger.api if by == "key" else browser(scene.stranger)

    reply = ask(client, "GET", path)

    assert reply.status_code < 500 or reply.status_code == 503
    assert world.SECRET not in text(reply)


@by_route([address for address in WITH_IDS if address.route.startswith("api/")])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_stranger_changes_nothing_of_the_shared_line(scene: Scene, address: Address, method: str):
    path = address.path(scene.ids(scene.shared))

    reply = ask(scene.stranger.api, method, path)

    reads = address.name in {"recipes-preview"}  # counts of the shared mixture, for everybody
    assert reads or 400 <= reply.status_code < 500


@by_route(VISIBLE)
def test_nobody_is_let_in_without_signing_in(scene: Scene, address: Address):
    path = address.path(scene.ids(scene.private))

    reply = Client().get(path)

    if address.name in PUBLIC:
        assert (reply.status_code, world.SECRET in text(reply)) == (200, False)
    elif address.route.startswith(("api/", "openai/")):
        assert reply.status_code in (401, 405)
    else:
        assert reply.status_code == 405 or (reply.status_code == 302 and "login" in reply["Location"])


@by_route([address for address in ALL if address.route.startswith("admin/")])
def test_the_admin_sends_everybody_else_to_its_login(scene: Scene, address: Address):
    path = address.path(scene.ids(scene.private))

    reply = browser(scene.stranger).get(path)

    assert world.SECRET not in text(reply)
    assert address.name in {"login", "jsi18n"} or reply.status_code in (302, 404, 405)


def test_ids_of_another_team_in_a_body_are_404(scene: Scene):
    """Foreign keys that a client writes are looked up like ids in an address."""
    ids = scene.private
    hook = {"name": "mine", "url": "https://example.com", "types": ["run.failed"]}
    wrong = {"prompt": "1 + 1?", "model": "champion", "answer": "3", "reference": 2}
    sample = {"licence": "MIT", "consent": True, "samples": [wrong]}
    bodies: dict[str, dict[str, Any]] = {
        "/api/v1/runs": {"dataset": str(ids["dataset"])},
        "/api/v1/runs#recipe": {"recipe": ids["recipe"]},
        "/api/v1/runs#mixture": {"mixture": ids["mixture"]},
        "/api/v1/runs#line": {"line": ids["line"], "recipe": ids["recipe"]},
        "/api/v1/runs/estimate": {"dataset": str(ids["dataset"])},
        "/api/v1/evaluations": {"candidate": ids["modelversion"]},
        "/api/v1/recipes": {"line": ids["line"], "name": "mine", "body": {}},
        "/api/v1/schedules": {"line": ids["line"], "recipe": ids["recipe"], "cron": "0 3 * * *"},
        "/api/v1/lines": {"purpose": "expert", "name": "mine", "start": ids["modelversion"]},
        "/api/v1/withdrawals": {"dataset": str(ids["dataset"]), "reason": "mine"},
        "/api/v1/withdrawals#task": {"task": ids["task"], "reason": "mine"},
        "/api/v1/reviews/bulk": {"decision": "approved", "filter": {"dataset": str(ids["dataset"])}},
        "/api/v1/datasets": {"team": "carla-team", "name": "mine"},
        "/api/v1/webhooks": {**hook, "team": "carla-team"},
        "/api/v1/samples/send": {"samples": [ids["sample"]]},
        "/api/v1/samples": {**sample, "team": "carla-team"},
        "/api/v1/samples#model": {**sample, "samples": [{**wrong, "model": "carla-team-expert/v1"}]},
        "/api/v1/webhooks#line": {**hook, "line": ids["line"]},
        "/api/v1/keys": {"team": "carla-team", "name": "mine", "scopes": ["read"]},
        "/openai/v1/chat/completions": {"model": "carla-team-expert/v1", "messages": []},
    }

    replies = {
        path: scene.stranger.api.post(path.partition("#")[0], json.dumps(body), content_type="application/json")
        for path, body in bodies.items()
    }

    assert {path: reply.status_code for path, reply in replies.items() if reply.status_code != 404} == {}


def test_a_bulk_decision_with_another_teams_ids_touches_nothing(scene: Scene):
    body = {"decision": "approved", "filter": {"ids": [scene.private["task"]]}}

    reply = scene.stranger.api.post("/api/v1/reviews/bulk", body, format="json")

    assert reply.json()["count"] == 0
