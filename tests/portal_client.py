"""The seeded portal inside a transaction of the test module, and signed-in clients for it."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from tests import fixtures_portal
from tests.fixtures_portal import Portal


@pytest.fixture(scope="module")
def seeded(django_db_setup: None, django_db_blocker: Any) -> Iterator[Portal]:
    """Seeded once for the module, in a transaction that is never committed."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield fixtures_portal.seed()
        transaction.set_rollback(True)


@pytest.fixture
def portal(seeded: Portal, db: None) -> Portal:
    """What a test changes is rolled back to what was seeded."""
    return seeded


def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def text(reply: Any) -> str:
    raw = b"".join(reply.streaming_content) if reply.streaming else reply.content
    return str(raw.decode())
