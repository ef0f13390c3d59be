import json
import urllib.request
from typing import Any
from urllib.parse import quote

from tests.contracts import documented
from tests.contracts.scenario import MODEL, Context, refused


def models_are_listed_with_every_field(it: Context) -> None:
    job = it.finished()

    page = it.client.models.list()
    found = {model.id: model for model in page}

    assert page.object == "list"
    for model in found.values():
        documented.whole(model, documented.MODEL)
        assert model.object == "model"
    assert found[job.fine_tuned_model].owned_by == it.own["team"]
    assert {MODEL, "shared", it.own["line"]} <= found.keys()


def every_listed_name_is_retrieved(it: Context) -> None:
    """Names hold slashes and colons: 1.x writes them into the path as they are, later ones encode them."""
    made = it.finished().fine_tuned_model
    names = [model.id for model in it.client.models.list()]

    for name in {*names[:12], *names[-6:], made}:
        assert documented.whole(it.client.models.retrieve(name), documented.MODEL).id == name


def a_name_may_be_written_into_the_path_in_any_way(it: Context) -> None:
    name = _of_a_slashed_base(it)

    assert "/" in name.partition(":")[2]
    for written in (name, quote(name, safe=":"), quote(name, safe=""), quote(name, safe="/")):
        assert _asked_by_hand(it, f"/models/{written}")["id"] == name
        assert _asked_by_hand(it, f"/fine_tuning/checkpoints/{written}/permissions")["object"] == "list"


def _of_a_slashed_base(it: Context) -> str:
    """What a job made of a base with a slash in its name."""
    return str(it.once("slashed", lambda: it.ended(it.job(model="shared/champion").id)).fine_tuned_model)


def _asked_by_hand(it: Context, path: str) -> dict[str, Any]:
    """Not by the client, which has one way only to write a path."""
    asked = urllib.request.Request(it.base_url + path, headers={"Authorization": f"Bearer {it.own['key']}"})
    with urllib.request.urlopen(asked) as reply:
        return dict(json.load(reply))


def a_slashed_name_works_in_every_call_that_takes_one(it: Context) -> None:
    name = _of_a_slashed_base(it)
    permissions = it.client.fine_tuning.checkpoints.permissions

    assert it.client.models.retrieve(name).id == name
    made = permissions.create(name, project_ids=["stranger-team"]).data[0]
    assert [one.id for one in permissions.retrieve(name).data] == [made.id]
    assert permissions.delete(made.id, fine_tuned_model_checkpoint=name).deleted
    answer = it.client.chat.completions.create(
        model=name, messages=[{"role": "user", "content": "hello"}], max_completion_tokens=2
    )
    assert answer.model == name


def a_deleted_model_is_gone_and_its_lost_reply_is_told_again(it: Context) -> None:
    name = it.ended(it.job(suffix="gone").id).fine_tuned_model

    with it.lossy(*(f"/models/{one}" for one in {name, quote(name, safe=""), quote(name, safe=":")})) as (
        client,
        relay,
    ):
        gone = documented.whole(client.models.delete(name), documented.DELETED)

    assert (gone.id, gone.object, gone.deleted) == (name, "model", True)
    assert [one.status for one in relay.heard] == [200, 200]
    refused(lambda: it.client.models.retrieve(name), 404, "model_not_found", "model")
    refused(lambda: it.client.models.delete(name), 404, "model_not_found")
    assert name not in [model.id for model in it.client.models.list()]


def what_no_run_of_the_team_made_is_not_deleted(it: Context) -> None:
    name = it.finished().fine_tuned_model

    refused(lambda: it.client.models.delete(MODEL), 404, "model_not_found")
    refused(lambda: it.stranger.models.delete(name), 404, "model_not_found")
    refused(lambda: it.with_scope("writer").models.delete(name), 403)
    assert it.client.models.retrieve(name).id == name


def another_teams_model_is_not_there(it: Context) -> None:
    job = it.finished()

    for name in (job.fine_tuned_model, it.own["line"], f"{it.own['line']}/v1"):
        refused(lambda name=name: it.stranger.models.retrieve(name), 404, "model_not_found", "model")
    seen = {model.id for model in it.stranger.models.list()}
    assert not [name for name in seen if it.own["team"] in name]


def a_name_of_which_one_part_is_wrong_names_nothing(it: Context) -> None:
    name = it.finished().fine_tuned_model

    for wrong in (
        name.replace(":sums:", ":other:"),
        name.replace("ft:champion", "ft:shared"),
        f"{name}0",
        "ft:",
        "ft::::",
    ):
        refused(lambda wrong=wrong: it.client.models.retrieve(wrong), 404, "model_not_found", "model")
