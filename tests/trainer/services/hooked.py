"""What the tests of webhooks share: an operator's line on which things happen, and webhooks that are told of them."""

from typing import Any

from tasks.models import events
from tasks.models.events import Subject
from tests import world
from tests.cast import Person
from tests.fakes.receiver import Receiver
from trainer.models import Line, Mixture, ModelVersion, Recipe, TrainingRun, Webhook
from trainer.news import CHOICES
from trainer.services import promotion, telling, webhooks


def add(person: Person, url: str, **given: Any) -> Webhook:
    return webhooks.create(person.team, actor=person.user, **{"name": "Chat", "url": url, "types": CHOICES, **given})[0]


def allow(settings: Any, *receivers: Receiver) -> None:
    """Loopback is a private address: an operator has to allow it."""
    settings.WEBHOOK_ORIGINS = [receiver.origin for receiver in receivers]


def line(person: Person, slug: str = "carlas") -> Line:
    """With two versions; the first is champion."""
    made, base = world.line_of(person, slug)
    ModelVersion.objects.create(line=made, number=1, digest="2" * 64, parent=base, origin="run")
    return made


def promote(line: Line, person: Person) -> None:
    promotion.promote(line.versions.get(number=1), actor=person.user, reason="It answers better.")


def run(line: Line, state: str = "running") -> TrainingRun:
    recipe, _ = Recipe.objects.get_or_create(line=line, name="all", defaults={"body": {}})
    mixture, _ = Mixture.objects.get_or_create(
        recipe=recipe, digest="1" * 64, defaults={"body": {}, "seed": 0, "size": 1}
    )
    start = line.versions.get(number=0)
    return TrainingRun.objects.create(line=line, start=start, mixture=mixture, spec={}, state=state, total_steps=30)


def happened(kind: str, subject: str, pk: int, person: Person, **data: Any) -> None:
    events.record(kind, subject=Subject(subject, str(pk)), team=person.team.pk, actor=person.user, data=data)


def told() -> int:
    """The sealer has been by, and then the news."""
    events.seal()
    return telling.tell()
