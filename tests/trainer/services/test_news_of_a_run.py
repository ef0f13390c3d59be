"""A run of the fake engine, from its start to the message that tells of its end."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tasks.models import Dataset, User, events
from tests.fakes import receiver
from tests.trainer.services.hooked import allow
from tests.trainer.services.settling import settle
from trainer import jobs
from trainer.models import Delivery, Line
from trainer.news import CHOICES
from trainer.services import runs, webhooks
from trainer.states import RUN_ENDED

pytestmark = pytest.mark.django_db


def test_the_end_of_a_run_arrives_with_the_version_that_it_made(
    line: Line, fill: Callable[..., Dataset], contributor: User, settings: Any
):
    dataset = fill("letters", visibility="private", sealed=0)
    with receiver.running() as other:
        allow(settings, other)
        webhooks.create(dataset.team, actor=contributor, name="Chat", url=other.url, types=CHOICES)
        run = runs.train_expert(dataset, actor=contributor, overrides={"steps": 4})

        def ended() -> bool:
            run.refresh_from_db()
            return run.state in RUN_ENDED

        settle(ended)
        events.seal()
        jobs.deliver()

    (message,) = [json.loads(got.body) for got in other.got]
    assert (message["type"], message["data"]["version"]) == ("run.succeeded", run.version.name)
    assert Delivery.objects.get().state == "delivered"
