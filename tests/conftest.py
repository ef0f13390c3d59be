"""Fixtures that any test may use. The database starts with the first test that needs it (see servers.py)."""

import os
from math import inf
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests import servers as test_servers

# In the path: few tests, minutes each.
LONGEST_FIRST = ("contracts", "journeys", "embedded", "engine", "kills", "reproducing")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long begin first, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: not any(word in item.path.as_posix() for word in LONGEST_FIRST))


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> None:
    """A hash says itself how many rounds it took: other processes read these, and a test pays for none of a million."""
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    PBKDF2PasswordHasher.iterations = 1


@pytest.fixture(autouse=True)
def counts_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, pages of this process count anew."""
    monkeypatch.setattr("tasks.views.recent.QUICK_SECONDS", inf)


@pytest.fixture(scope="session")
def servers() -> None:
    """Postgres and the broker of this test run, started now if they are not yet."""
    test_servers.start()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None, servers: None) -> None:
    """pytest-django's own step before it creates the test database: the server has to be there."""


@pytest.fixture
def server_environment(transactional_db: None) -> dict[str, str]:
    """Environment for a child process (a worker, a command, a server) that works on this test's database."""
    from django.db import connection

    address = urlsplit(os.environ["DATABASE_URL"])
    database = str(connection.settings_dict["NAME"])
    return {**os.environ, "DATABASE_URL": urlunsplit(address._replace(path=f"/{database}"))}
