from typing import Any

from tests.contracts import documented
from tests.contracts.scenario import Context, refused

STRANGER = "stranger-team"
HELLO: Any = [{"role": "user", "content": "hello"}]


def _checkpoint(it: Context) -> str:
    job = it.finished()
    return str(it.client.fine_tuning.jobs.checkpoints.list(job.id).data[0].fine_tuned_model_checkpoint)


def _granted(it: Context, name: str) -> Any:
    return it.client.fine_tuning.checkpoints.permissions.create(name, project_ids=[STRANGER])


def _revoke_all(it: Context, name: str) -> None:
    permissions = it.client.fine_tuning.checkpoints.permissions
    for one in permissions.retrieve(name).data:
        permissions.delete(one.id, fine_tuned_model_checkpoint=name)


def a_permission_lets_another_team_in_until_it_is_taken_back(it: Context) -> None:
    name, chat = _checkpoint(it), it.stranger.chat.completions
    refused(lambda: chat.create(model=name, messages=HELLO), 404, "model_not_found")

    made = documented.whole(_granted(it, name).data[0], documented.PERMISSION)

    assert made.id.startswith("cp_")
    assert (made.object, made.project_id) == ("checkpoint.permission", STRANGER)
    assert chat.create(model=name, messages=HELLO, max_completion_tokens=2).model == name
    gone = it.client.fine_tuning.checkpoints.permissions.delete(made.id, fine_tuned_model_checkpoint=name)
    documented.whole(gone, documented.DELETED)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "checkpoint.permission", True)
    refused(lambda: chat.create(model=name, messages=HELLO), 404, "model_not_found")


def permissions_are_retrieved_as_a_page(it: Context) -> None:
    name = _checkpoint(it)
    made = _granted(it, name).data[0]

    page = documented.whole(
        it.client.fine_tuning.checkpoints.permissions.retrieve(name, project_id=STRANGER, limit=1),
        ["object", "data", "has_more", "first_id", "last_id"],
    )

    assert [one.id for one in page.data] == [made.id]
    assert (page.has_more, page.first_id, page.last_id) == (False, made.id, made.id)
    for order in ("ascending", "descending"):
        assert it.client.fine_tuning.checkpoints.permissions.retrieve(name, order=order).data
    _revoke_all(it, name)


def permissions_are_listed_to_the_end(it: Context) -> None:
    """1.x has retrieve in its place: it is asked by hand."""
    name = _checkpoint(it)
    permissions = it.client.fine_tuning.checkpoints.permissions
    others = [it.told["people"][major]["team"] for major in it.told["people"]]
    made = {one.id for one in permissions.create(name, project_ids=[STRANGER, *others]).data}

    if hasattr(permissions, "list"):
        found = [one.id for one in permissions.list(name, limit=1)]
    else:
        found, after = [], {}
        while True:
            page = permissions.retrieve(name, limit=1, **after)
            found += [one.id for one in page.data]
            after = {"after": page.last_id}
            if not page.has_more:
                break

    assert len(found) == len(made) == 4
    assert set(found) == made
    _revoke_all(it, name)


def a_finished_model_has_permissions_too(it: Context) -> None:
    name = it.finished().fine_tuned_model

    _granted(it, name)

    assert it.stranger.chat.completions.create(model=name, messages=HELLO, max_completion_tokens=2).model == name
    _revoke_all(it, name)


def a_lost_reply_grants_nothing_twice(it: Context) -> None:
    name = _checkpoint(it)

    with it.lossy(*_paths(it, name)) as (client, relay):
        made = client.fine_tuning.checkpoints.permissions.create(name, project_ids=[STRANGER]).data

    assert [one.retry for one in relay.heard] == [0, 1]
    assert [one.id for one in it.client.fine_tuning.checkpoints.permissions.retrieve(name).data] == [made[0].id]
    _revoke_all(it, name)


def a_lost_reply_to_a_revocation_is_told_again(it: Context) -> None:
    name = _checkpoint(it)
    made = _granted(it, name).data[0].id

    with it.lossy(*(f"{path}/{made}" for path in _paths(it, name))) as (client, relay):
        gone = client.fine_tuning.checkpoints.permissions.delete(made, fine_tuned_model_checkpoint=name)

    assert gone.deleted
    assert [one.status for one in relay.heard] == [200, 200]


def _paths(it: Context, name: str) -> list[str]:
    """As each major writes the name into a path."""
    from urllib.parse import quote

    return [
        f"/fine_tuning/checkpoints/{one}/permissions" for one in {name, quote(name, safe=""), quote(name, safe=":")}
    ]


def who_may_not_give_leave_is_refused(it: Context) -> None:
    name = _checkpoint(it)
    made = _granted(it, name).data[0].id
    stranger = it.stranger.fine_tuning.checkpoints.permissions

    refused(lambda: it.with_scope("trainer").fine_tuning.checkpoints.permissions.create(name, project_ids=[]), 403)
    refused(lambda: stranger.create(name, project_ids=[STRANGER]), 404, "model_not_found")
    refused(lambda: stranger.retrieve(name), 404, "model_not_found")
    refused(lambda: stranger.delete(made, fine_tuned_model_checkpoint=name), 404, "model_not_found")
    _revoke_all(it, name)


def what_is_not_there_is_not_found(it: Context) -> None:
    name, permissions = _checkpoint(it), it.client.fine_tuning.checkpoints.permissions

    refused(lambda: permissions.create(name, project_ids=["nobody-at-all"]), 404, "not_found", "project_ids")
    refused(lambda: permissions.delete("cp_nothing", fine_tuned_model_checkpoint=name), 404, "not_found")
    refused(lambda: permissions.retrieve(f"{name}9"), 404, "model_not_found")
    refused(lambda: permissions.retrieve(name, after="cp_nothing"), 400, param="after")
