"""Other teams' leave to use what a run made, and its checkpoints, with the official client."""

import openai
import pytest

from tests import cast
from tests.cast import Person
from tests.fakes import model_server
from tests.flywheel.openai_compat.conftest import Clients, rows
from tests.flywheel.openai_compat.test_jobs import ended, sent, started
from trainer.models import ModelPermission, ModelVersion, RunCheckpoint


@pytest.fixture
def client(clients: Clients, contributor: Person, base: ModelVersion) -> openai.OpenAI:
    return clients(contributor)


@pytest.fixture
def other(clients: Clients, client: openai.OpenAI) -> openai.OpenAI:
    return clients(cast.of_own_team("sven"))


def made(client: openai.OpenAI) -> tuple[str, str]:
    """(the model of a job, the name of one of its checkpoints)."""
    job = ended(client, started(client, validation_file=sent(client, rows(3, start=50))))
    kept = client.fine_tuning.jobs.checkpoints.list(job.id).data
    return job.fine_tuned_model, kept[0].fine_tuned_model_checkpoint


def test_checkpoints_are_the_best_three_with_their_metrics(client: openai.OpenAI):
    job = ended(client, started(client, validation_file=sent(client, rows(3, start=50))))

    kept = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=2))

    assert [one.step_number for one in kept] == [4, 3, 2]
    assert kept[0].fine_tuned_model_checkpoint == f"{job.fine_tuned_model}:ckpt-step-4"
    assert kept[0].metrics.to_dict()["valid_reward_mean"] == 0.6


def test_a_checkpoint_answers_chats(client: openai.OpenAI, settings):
    _, checkpoint = made(client)

    with model_server.running() as fake:
        settings.MODEL_SERVER_URL = fake.url
        reply = client.chat.completions.create(model=checkpoint, messages=[{"role": "user", "content": "hello"}])

    assert reply.model == checkpoint
    assert fake.asked[0]["model"] == RunCheckpoint.objects.exclude(digest="").get().digest


def test_a_checkpoint_that_is_looked_at_is_not_copied(client: openai.OpenAI):
    _, checkpoint = made(client)

    assert client.models.retrieve(checkpoint).id == checkpoint
    assert not RunCheckpoint.objects.exclude(digest="").exists()


@pytest.mark.parametrize("which", [0, 1])
def test_a_team_uses_a_model_from_leave_to_leave_taken(client: openai.OpenAI, other: openai.OpenAI, which: int):
    model = made(client)[which]
    permissions = client.fine_tuning.checkpoints.permissions
    with pytest.raises(openai.NotFoundError):
        other.models.retrieve(model)

    granted = permissions.create(model, project_ids=["sven-team"]).data
    seen = other.models.retrieve(model).id
    deleted = permissions.delete(granted[0].id, fine_tuned_model_checkpoint=model)

    assert (granted[0].project_id, seen, deleted.deleted) == ("sven-team", model, True)
    with pytest.raises(openai.NotFoundError):
        other.models.retrieve(model)


def test_a_deleted_checkpoint_is_found_listed_and_asked_no_more(client: openai.OpenAI, other: openai.OpenAI, settings):
    _, checkpoint = made(client)
    client.fine_tuning.checkpoints.permissions.create(checkpoint, project_ids=["sven-team"])

    deleted = client.models.delete(checkpoint)

    assert (deleted.id, deleted.deleted) == (checkpoint, True)
    job = client.fine_tuning.jobs.list().data[0]
    left = client.fine_tuning.jobs.checkpoints.list(job.id)
    assert checkpoint not in [one.fine_tuned_model_checkpoint for one in left]
    assert not ModelPermission.objects.exists()
    for one in (client, other):
        with pytest.raises(openai.NotFoundError):
            one.models.retrieve(checkpoint)
        with pytest.raises(openai.NotFoundError):
            one.chat.completions.create(model=checkpoint, messages=[{"role": "user", "content": "hello"}])


def test_who_was_given_leave_deletes_no_checkpoint(client: openai.OpenAI, other: openai.OpenAI):
    _, checkpoint = made(client)
    client.fine_tuning.checkpoints.permissions.create(checkpoint, project_ids=["sven-team"])

    with pytest.raises(openai.NotFoundError):
        other.models.delete(checkpoint)

    assert client.models.retrieve(checkpoint).id == checkpoint


def test_the_checkpoints_of_a_deleted_model_are_models_still(client: openai.OpenAI):
    model, checkpoint = made(client)

    client.models.delete(model)

    assert client.models.retrieve(checkpoint).id == checkpoint


def test_permissions_are_listed_with_their_ends(client: openai.OpenAI, other: openai.OpenAI):
    model, _ = made(client)
    permissions = client.fine_tuning.checkpoints.permissions
    granted = permissions.create(model, project_ids=["sven-team"]).data[0]

    listed = permissions.list(model)
    none = permissions.list(model, project_id="nobody")

    assert [one.id for one in listed.data] == [granted.id]
    assert list(none) == []


def test_who_was_given_leave_cannot_give_it_on(client: openai.OpenAI, other: openai.OpenAI):
    model, _ = made(client)
    client.fine_tuning.checkpoints.permissions.create(model, project_ids=["sven-team"])

    with pytest.raises(openai.NotFoundError):
        other.fine_tuning.checkpoints.permissions.create(model, project_ids=["sven-team"])


def test_a_team_that_is_not_here_gets_no_leave_and_nobody_else_does(client: openai.OpenAI, other: openai.OpenAI):
    model, _ = made(client)
    permissions = client.fine_tuning.checkpoints.permissions

    with pytest.raises(openai.NotFoundError) as caught:
        permissions.create(model, project_ids=["sven-team", "nobody"])

    assert caught.value.param == "project_ids"
    assert permissions.list(model).data == []


def test_a_key_without_the_scope_admin_gives_no_leave(client: openai.OpenAI, clients: Clients, contributor: Person):
    model, _ = made(client)
    trainer = clients(contributor, api_key=cast.key(contributor.user, contributor.team, ["read", "write", "train"]))

    with pytest.raises(openai.PermissionDeniedError):
        trainer.fine_tuning.checkpoints.permissions.create(model, project_ids=["carla-team"])
