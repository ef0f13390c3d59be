"""/playground and /samples: a wrong answer is marked, waits in its person's basket, and goes off as an upload."""

import json
from typing import Any

import pytest

from tasks.models import Sample, Upload
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.services import serving

pytestmark = pytest.mark.django_db
ASKED = {"prompt": "Compute 2 + 2.", "temperature": "0", "max_tokens": "16", "model": "champion"}


@pytest.fixture(autouse=True)
def _answering(monkeypatch: pytest.MonkeyPatch) -> None:
    def chat(version: Any, body: Any, stream: bool = False) -> Any:
        return {"choices": [{"message": {"content": "It is 5."}}], "usage": {"completion_tokens": 3}}

    monkeypatch.setattr(serving, "chat", chat)


def token(user: Any) -> str:
    return str(json.loads(browser(user).post("/playground/ask", ASKED).content)["token"])


def marked(portal: Portal, **fields: str) -> dict[str, str]:
    given = {"token": token(portal.contributor), "team": str(portal.team.pk), "reference": "4", "licence": "MIT"}
    return {**given, "consent": "on", **fields}


def test_a_wrong_answer_is_kept_with_the_right_one(portal: Portal):
    before = Sample.objects.count()

    reply = browser(portal.contributor).post("/playground/wrong", marked(portal))

    kept = Sample.objects.first()
    assert (reply.status_code, Sample.objects.count()) == (302, before + 1)
    assert kept is not None
    assert (kept.prompt, kept.answer, kept.version, kept.asked_as) == (
        "Compute 2 + 2.", "It is 5.", "shared/v1", "champion",
    )  # fmt: skip
    assert (kept.row["item"], kept.row["grader"], kept.source) == ({"reference": "4"}, {"type": "number"}, "playground")


def test_asking_alone_keeps_nothing(portal: Portal):
    before = Sample.objects.count()

    token(portal.contributor)
    browser(portal.contributor).post("/playground", {**ASKED, "left": "champion", "right": "shared/v0"})

    assert Sample.objects.count() == before


def test_without_scripts_each_answer_brings_its_form(portal: Portal):
    asked = {"prompt": "Compute 2 + 2.", "temperature": "0", "max_tokens": "16"}
    page = browser(portal.contributor).post("/playground", {**asked, "left": "champion", "right": "shared/v0"})
    tokens = [answer.token for answer in page.context["answers"]]

    replies = [browser(portal.contributor).post("/playground/wrong", marked(portal, token=one)) for one in tokens]

    assert [reply.status_code for reply in replies] == [302, 302]
    assert all(f'value="{one}"' in text(page) for one in tokens)
    assert list(Sample.objects.values_list("version", flat=True)[:2]) == ["shared/v0", "shared/v1"]


@pytest.mark.parametrize("missing", ["consent", "licence", "reference"])
def test_without_consent_licence_or_right_answer_the_form_comes_back_and_nothing_is_kept(portal: Portal, missing: str):
    fields = marked(portal, reference="5" if missing != "reference" else "")
    fields.pop(missing)
    before = Sample.objects.count()

    page = browser(portal.contributor).post("/playground/wrong", fields)

    assert (page.status_code, Sample.objects.count()) == (400, before)
    assert "Nothing was kept." in text(page)
    assert "It is 5." in text(page)


def test_another_grader_is_taken_as_it_was_written(portal: Portal):
    grader = '{"type": "string_check", "operation": "eq", "input": "{{ sample.output_text }}", "reference": "4"}'

    browser(portal.contributor).post("/playground/wrong", marked(portal, grader=grader))

    kept = Sample.objects.first()
    assert kept is not None
    assert kept.grader == "string_check"


def test_an_answer_that_was_changed_or_given_to_somebody_else_is_refused(portal: Portal):
    client, before = browser(portal.contributor), Sample.objects.count()

    changed = client.post("/playground/wrong", marked(portal, token=token(portal.contributor)[:-2] + "xx"))
    foreign = client.post("/playground/wrong", marked(portal, token=token(portal.operator)))

    assert (changed.status_code, foreign.status_code, Sample.objects.count()) == (400, 400, before)


def test_a_team_that_one_is_not_in_is_no_choice(portal: Portal):
    fields = {**marked(portal), "token": token(portal.stranger)}
    before = Sample.objects.count()

    page = browser(portal.stranger).post("/playground/wrong", fields)

    assert (page.status_code, Sample.objects.count()) == (400, before)


# The basket


def waiting(portal: Portal) -> list[int]:
    return list(Sample.objects.filter(team=portal.team).waiting().values_list("pk", flat=True))


def test_the_basket_shows_what_waits_and_what_was_sent(portal: Portal):
    page = text(browser(portal.contributor).get("/samples"))

    assert "2 samples wait to be sent: 2 of Carla&#x27;s lab under CC-BY-4.0." in page
    assert "Compute 29 + 64." in page
    assert f"line 3 of upload {portal.upload.pk}" in page


@pytest.mark.parametrize(("query", "count"), [("state=sent", 1), ("source=program", 1), ("licence=MIT", 0)])
def test_filters_stand_in_the_address(portal: Portal, query: str, count: int):
    assert len(browser(portal.contributor).get(f"/samples?{query}").context["page"].rows) == count


def test_the_files_hold_the_rows(portal: Portal):
    rows = json.loads(text(browser(portal.contributor).get("/samples?format=json")))

    assert [row["upload"] for row in rows] == [portal.upload.pk, None, None]
    assert rows[1]["row"]["item"] == {"reference": "edcba"}


def test_the_ticked_ones_become_an_upload(portal: Portal):
    reply = browser(portal.contributor).post("/samples/send", {"sample": waiting(portal)})

    upload = Upload.objects.latest("pk")
    assert (reply.status_code, reply["Location"]) == (302, f"/submit/{upload.pk}")
    assert (upload.dataset.name, Sample.objects.filter(upload=upload).count()) == ("Sent back (CC-BY-4.0)", 2)


def test_nothing_ticked_is_told(portal: Portal):
    reply = browser(portal.contributor).post("/samples/send", {})

    assert (reply.status_code, "Tick at least one sample" in text(reply)) == (400, True)


def test_one_is_taken_out_again(portal: Portal):
    first, *_ = waiting(portal)

    browser(portal.contributor).post("/samples/remove", {"one": first, "sample": waiting(portal)})

    assert first not in waiting(portal)
    assert len(waiting(portal)) == 1


def test_a_stranger_sees_sends_and_removes_nothing_of_others(portal: Portal):
    client, pks = browser(portal.stranger), waiting(portal)

    page = text(client.get("/samples"))
    replies = [client.post("/samples/send", {"sample": pks}), client.post("/samples/remove", {"one": pks[0]})]

    assert "Nothing here yet" in page
    assert [reply.status_code for reply in replies] == [404, 404]
    assert waiting(portal) == pks


def test_a_dataset_of_another_team_is_not_there(portal: Portal):
    theirs = {"sample": waiting(portal), "dataset": Upload.objects.exclude(team=portal.team).earliest("pk").dataset_id}

    assert browser(portal.contributor).post("/samples/send", theirs).status_code == 404
