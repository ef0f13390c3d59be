"""Every refusal of an API has one shape: problem+json under /api/v1, the OpenAI envelope under /openai/v1."""

from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests import cast
from tests.cast import Person

pytestmark = pytest.mark.django_db
PROBLEM = {"type", "status", "code", "detail", "param"}
ENVELOPE = {"message", "type", "param", "code"}
BROKEN = b'{"broken": '
PUBLIC = {"/api/v1/wanted"}
TAKE_FILES = {"/api/v1/uploads", "/api/v1/uploads/resumable"}  # their bodies are no JSON


@pytest.fixture
def contributor() -> Person:
    return cast.of_own_team("carla")


def assert_problem(reply: Any, status: int) -> dict[str, Any]:
    body: dict[str, Any] = reply.json()
    assert (reply.status_code, reply["Content-Type"]) == (status, "application/problem+json")
    assert (set(body), body["status"]) == (PROBLEM, status)
    assert body["detail"].strip().endswith((".", "?"))
    return body


def assert_envelope(reply: Any, status: int) -> dict[str, Any]:
    error: dict[str, Any] = reply.json()["error"]
    assert (reply.status_code, set(reply.json()), set(error)) == (status, {"error"}, ENVELOPE)
    assert reply["x-request-id"]
    return error


def of_the_api(action: str) -> list[str]:
    """Paths without parameters that know the method, from the resolver."""
    patterns = next(p for p in get_resolver().url_patterns if str(p.pattern) == "api/v1/")
    found: list[str] = []

    def walk(patterns: Any) -> None:
        for pattern in patterns:
            if isinstance(pattern, URLResolver):
                walk(pattern.url_patterns)
            elif isinstance(pattern, URLPattern) and action in getattr(pattern.callback, "actions", {}):
                route = str(pattern.pattern).strip("^$\\Z")
                found.extend([f"/api/v1/{route}"] if "(" not in route else [])

    walk(patterns.url_patterns)
    return sorted(set(found))


def test_there_are_paths_to_post_to():
    assert len(of_the_api("post")) > 10


@pytest.mark.parametrize("path", [path for path in of_the_api("get") if path not in PUBLIC])
def test_a_missing_key_is_401(path: str):
    assert_problem(Client().get(path), 401)


@pytest.mark.parametrize("secret", ["fw_wrong", "", "two words", "\xff"])
def test_a_wrong_key_is_401_and_named_so(secret: str):
    reply = Client().get("/api/v1/uploads", HTTP_AUTHORIZATION=f"Bearer {secret}")

    assert assert_problem(reply, 401)["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", of_the_api("get"))
def test_a_wrong_method_is_405(contributor: Person, path: str):
    assert_problem(contributor.api.generic("PROPFIND", path), 405)


@pytest.mark.parametrize("path", [path for path in of_the_api("post") if path not in TAKE_FILES])
def test_broken_json_is_400(contributor: Person, path: str):
    assert_problem(contributor.api.generic("POST", path, BROKEN, content_type="application/json"), 400)


@pytest.mark.parametrize("path", [path for path in of_the_api("post") if path not in TAKE_FILES])
@pytest.mark.parametrize(
    "body", [b"[]", b"7", b'"text"', b"null", b'{"no_such_field": 1}', b"\xff\xfe", b"[" * 100_000]
)
def test_a_body_of_another_kind_is_400(contributor: Person, path: str, body: bytes):
    assert_problem(contributor.api.generic("POST", path, body, content_type="application/json"), 400)


@pytest.mark.parametrize("path", [path for path in of_the_api("post") if path not in TAKE_FILES])
def test_a_huge_body_is_413(contributor: Person, path: str, settings: Any):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

    reply = contributor.api.generic("POST", path, b'{"a": "' + b"x" * 200 + b'"}', content_type="application/json")

    assert_problem(reply, 413)


@pytest.mark.parametrize("path", ["", "nothing", "uploads/", "uploads/1/nothing", "uploads/abc", "a/b/c", "schema/"])
def test_an_unknown_path_is_404(contributor: Person, path: str):
    assert_problem(contributor.api.get(f"/api/v1/{path}"), 404)


@pytest.mark.parametrize("query", ["state=nothing", "dataset=nobody/nothing", "limit=x", "cursor=x"])
def test_filters_that_cannot_be_right_are_refused_or_ignored_but_never_break(contributor: Person, query: str):
    reply = contributor.api.get(f"/api/v1/tasks?{query}")

    assert reply.status_code == 200 or assert_problem(reply, reply.status_code)["status"] in (400, 404)


def test_a_number_beyond_the_database_is_404(contributor: Person):
    assert_problem(contributor.api.get("/api/v1/tasks/99999999999999999999999"), 404)


def test_a_form_where_json_is_wanted_is_415(contributor: Person):
    reply = contributor.api.post("/api/v1/datasets", {"name": "x"}, format="multipart")

    assert_problem(reply, 415)


def test_any_accept_header_gets_the_same_shape(contributor: Person):
    assert_problem(contributor.api.get("/api/v1/uploads/1", HTTP_ACCEPT="text/html"), 404)


def test_a_scope_that_is_missing_is_403():
    reader = cast.of_own_team("rita", scopes=["read"])

    assert_problem(reader.api.post("/api/v1/datasets", {"name": "x"}, format="json"), 403)


def test_a_role_that_is_missing_is_403(contributor: Person):
    contributor.user.memberships.exclude(role="reviewer").delete()

    assert_problem(contributor.api.post("/api/v1/datasets", {"name": "x"}, format="json"), 403)


def test_a_nested_field_is_named_by_its_path(contributor: Person):
    body = {"decision": "approved", "filter": {"state": "nothing"}}

    reply = contributor.api.post("/api/v1/reviews/bulk", body, format="json")

    assert assert_problem(reply, 400)["param"] == "filter.state"


def test_a_bug_is_one_sentence_with_the_request_id(contributor: Person, monkeypatch: pytest.MonkeyPatch):
    from flywheel.api import datasets

    monkeypatch.setattr(datasets.datasets, "create", lambda *args, **kwargs: 1 / 0)
    client = contributor.api
    client.raise_request_exception = False

    reply = client.post("/api/v1/datasets", {"name": "x"}, format="json", HTTP_X_REQUEST_ID="abc")

    assert "abc" in assert_problem(reply, 500)["detail"]


def test_a_host_that_is_not_ours_is_400_in_the_same_shape(contributor: Person):
    assert_problem(contributor.api.get("/api/v1/uploads", HTTP_HOST="elsewhere.example"), 400)


@pytest.mark.parametrize("path", ["chat/completions", "models", "models/x/v1", "nothing"])
def test_openai_without_a_key_is_401(path: str):
    method = Client().post if path.startswith("chat") else Client().get

    told = assert_envelope(method(f"/openai/v1/{path}"), 401)

    assert (told["type"], told["code"]) == ("authentication_error", "invalid_api_key")


def test_openai_with_a_wrong_key_is_invalid_api_key():
    reply = Client().get("/openai/v1/models", HTTP_AUTHORIZATION="Bearer sk-wrong")

    assert assert_envelope(reply, 401)["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["", "nothing", "models/", "chat/completions/", "files/x/content"])
def test_openai_unknown_paths_are_404(contributor: Person, path: str):
    assert_envelope(contributor.api.get(f"/openai/v1/{path}"), 404)


def test_openai_wrong_methods_are_405(contributor: Person):
    assert_envelope(contributor.api.get("/openai/v1/chat/completions"), 405)


@pytest.mark.parametrize("body", [BROKEN, b"[]", b"null", b"{}", b'{"model": 7}'])
def test_openai_bodies_that_cannot_be_right_are_400(contributor: Person, body: bytes):
    reply = contributor.api.generic("POST", "/openai/v1/chat/completions", body, content_type="application/json")

    assert_envelope(reply, 400)


def test_openai_huge_bodies_are_413(contributor: Person, settings: Any):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10

    reply = contributor.api.post("/openai/v1/chat/completions", {"model": "x" * 100}, format="json")

    assert_envelope(reply, 413)


def test_openai_unknown_models_are_model_not_found(contributor: Person):
    reply = contributor.api.post("/openai/v1/chat/completions", {"model": "gpt-4"}, format="json")

    assert assert_envelope(reply, 404) | {"code": "model_not_found", "param": "model"} == reply.json()["error"]


def test_openai_bugs_are_one_sentence(contributor: Person, monkeypatch: pytest.MonkeyPatch):
    from trainer.services import serving

    monkeypatch.setattr(serving, "model_names", lambda *args: 1 / 0)
    client = contributor.api
    client.raise_request_exception = False

    assert_envelope(client.get("/openai/v1/models"), 500)
