"""/playground: two models, one question; a stand-in for the model server."""

import json

import pytest

from tasks.errors import FlywheelError
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.services import serving

pytestmark = pytest.mark.django_db
FORM = {"prompt": "Compute 2 + 2.", "temperature": "0", "max_tokens": "16"}


@pytest.fixture
def _answering(monkeypatch: pytest.MonkeyPatch) -> None:
    def chat(version, body, stream=False):
        said = f"{version.name} was asked: {body['messages'][0]['content']}"
        return {"choices": [{"message": {"content": said}}], "usage": {"completion_tokens": 3}}

    monkeypatch.setattr(serving, "chat", chat)


@pytest.mark.usefixtures("_answering")
def test_both_models_answer_side_by_side_without_scripts(portal: Portal):
    page = text(browser(portal.stranger).post("/playground", {**FORM, "left": "champion", "right": "shared/v0"}))

    assert "shared/v1 was asked: Compute 2 + 2." in page
    assert "shared/v0 was asked: Compute 2 + 2." in page


@pytest.mark.usefixtures("_answering")
def test_one_side_answers_as_json(portal: Portal):
    reply = browser(portal.stranger).post("/playground/ask", {**FORM, "model": "champion"})

    assert json.loads(reply.content)["tokens"] == 3


def test_a_model_that_is_not_there_is_refused_in_a_sentence(portal: Portal):
    reply = browser(portal.stranger).post("/playground/ask", {**FORM, "model": "carlas-lab-house"})

    assert (reply.status_code, "There is no model" in json.loads(reply.content)["detail"]) == (400, True)


def test_a_model_server_that_is_down_is_told(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    def down(*_args, **_options):
        raise FlywheelError("model_server_down", "The model server does not answer: try again in a moment.")

    monkeypatch.setattr(serving, "chat", down)

    page = text(browser(portal.stranger).post("/playground", {**FORM, "left": "champion", "right": "champion"}))

    assert "The model server does not answer" in page


def test_the_right_side_is_the_newest_version_that_is_not_champion(portal: Portal):
    page = browser(portal.operator).get("/playground")

    champion = portal.line.alias("champion")
    right = page.context["chosen"]["right"]
    newest = portal.line.versions.exclude(pk=champion.pk).order_by("-number").first()
    assert right == newest.name
