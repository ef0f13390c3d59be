"""The OpenAPI description."""

import pytest
from django.core.management import call_command
from rest_framework.test import APIClient

OPERATIONS = ("get", "post", "put", "patch", "delete")


def test_the_description_is_complete_and_valid(tmp_path):
    file = tmp_path / "schema.yml"

    call_command("spectacular", "--fail-on-warn", "--validate", "--file", str(file))

    assert "/api/v1/uploads" in file.read_text()


@pytest.fixture(scope="module")
def description() -> dict:
    from drf_spectacular.generators import SchemaGenerator

    return SchemaGenerator().get_schema(request=None, public=True)


def test_every_operation_says_what_it_does(description: dict):
    silent = [
        f"{method} {path}"
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
        if method in OPERATIONS and not operation.get("description")
    ]

    assert silent == []


def test_every_operation_describes_the_shape_of_a_refusal(description: dict):
    operations = [op for path in description["paths"].values() for name, op in path.items() if name in OPERATIONS]

    assert {tuple(op["responses"]["default"]["content"]) for op in operations} == {("application/problem+json",)}


def test_posts_take_an_idempotency_key_except_where_a_secret_is_answered(description: dict):
    taking = {
        path
        for path, operations in description["paths"].items()
        for parameter in operations.get("post", {}).get("parameters", [])
        if parameter["name"] == "Idempotency-Key"
    }
    posts = {path for path, operations in description["paths"].items() if "post" in operations}

    assert posts - taking == {
        "/api/v1/keys",
        "/api/v1/uploads",
        "/api/v1/uploads/resumable",
        "/api/v1/uploads/resumable/hub",
        "/api/v1/webhooks",
        "/api/v1/webhooks/{id}/rotate",
    }


def test_the_description_is_served_without_a_key(client: APIClient):
    assert client.get("/api/v1/schema").status_code == 200


def test_the_docs_page_has_no_inline_script_or_style(client: APIClient):
    page = client.get("/api/v1/docs").content.decode()

    assert "<style" not in page
    assert "<script>" not in page
    assert "style=" not in page


def test_the_docs_page_loads_nothing_from_elsewhere(client: APIClient):
    page = client.get("/api/v1/docs").content.decode()

    assert "http://" not in page
    assert "https://" not in page
    assert "//cdn" not in page
