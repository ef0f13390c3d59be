"""What a client asks for again because it heard nothing. Its retries on the wire are in tests/contracts."""

from collections.abc import Callable
from typing import Any

import openai
import pytest

from tasks.errors import Busy
from tests import cast
from tests.cast import Person
from tests.flywheel.openai_compat.conftest import rows
from tests.flywheel.openai_compat.test_jobs import client, ended, method, sent, started, until
from trainer.models import ModelPermission
from trainer.services import file_runs

__all__ = ["client"]  # a fixture
AGAIN: Any = {"extra_headers": {"x-stainless-retry-count": "1"}}


@pytest.fixture
def slow(jobs_run: Callable[..., None]) -> None:
    jobs_run(seconds=20)


def test_a_repeated_pause_that_was_carried_out_hears_how_the_job_stands(client: openai.OpenAI, slow: None):
    job = started(client)
    until(lambda: client.fine_tuning.jobs.retrieve(job.id).status == "running")
    client.fine_tuning.jobs.pause(job.id)

    again = client.fine_tuning.jobs.pause(job.id, **AGAIN)

    assert again.status in ("pausing", "paused")


def test_a_repeated_cancel_that_was_carried_out_hears_how_the_job_stands(client: openai.OpenAI, slow: None):
    job = started(client)
    client.fine_tuning.jobs.cancel(job.id)

    assert client.fine_tuning.jobs.cancel(job.id, **AGAIN).status == "cancelled"


def test_a_repetition_whose_first_never_arrived_is_carried_out(client: openai.OpenAI, slow: None):
    job = started(client)

    assert client.fine_tuning.jobs.cancel(job.id, **AGAIN).status == "cancelled"


def test_a_repetition_of_what_cannot_be_is_refused_as_before(client: openai.OpenAI, slow: None):
    job = started(client)
    client.fine_tuning.jobs.cancel(job.id)

    with pytest.raises(openai.ConflictError):
        client.fine_tuning.jobs.resume(job.id, **AGAIN)


def test_a_repeated_deletion_of_a_model_is_told_again(client: openai.OpenAI):
    model = ended(client, started(client)).fine_tuned_model
    client.models.delete(model)

    assert client.models.delete(model, **AGAIN).deleted


def test_a_repeated_deletion_of_a_checkpoint_is_told_again(client: openai.OpenAI):
    job = ended(client, started(client))
    checkpoint = client.fine_tuning.jobs.checkpoints.list(job.id).data[0].fine_tuned_model_checkpoint
    client.models.delete(checkpoint)

    assert client.models.delete(checkpoint, **AGAIN).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.delete(checkpoint)


def test_a_repeated_revocation_is_told_again(client: openai.OpenAI, contributor: Person):
    stranger = cast.of_own_team("sam")
    model = ended(client, started(client)).fine_tuned_model
    permissions = client.fine_tuning.checkpoints.permissions
    made = permissions.create(model, project_ids=[stranger.team.slug]).data[0].id
    permissions.delete(made, fine_tuned_model_checkpoint=model)

    again = permissions.delete(made, fine_tuned_model_checkpoint=model, **AGAIN)

    assert again.deleted
    assert not ModelPermission.objects.exists()


def test_a_repetition_of_a_request_that_failed_hears_nothing_of_an_equal_one_before_it(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
):
    """The same job is meant twice; the second request breaks, and the client repeats that one."""
    asked = {"model": "champion", "training_file": sent(client, rows(8)), "method": method(), "seed": 1}
    first = client.fine_tuning.jobs.create(**asked)
    with monkeypatch.context() as broken:
        broken.setattr(file_runs, "start", lambda *_, **__: (_ for _ in ()).throw(Busy("all_busy", "Wait.")))
        with pytest.raises(openai.RateLimitError):
            client.fine_tuning.jobs.create(**asked)

    second = client.fine_tuning.jobs.create(**asked, **AGAIN)

    assert second.id != first.id
    assert client.fine_tuning.jobs.create(**asked, **AGAIN).id == second.id
