"""The cast, and the official client, for tests of the OpenAI surface."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from tests import cast
from tests.cast import Person

Clients = Callable[..., openai.OpenAI]


@pytest.fixture
def contributor(transactional_db: None) -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def stranger(transactional_db: None) -> Person:
    return cast.of_own_team("sven")


@pytest.fixture
def stored(settings: Any, tmp_path: Path) -> Path:
    """Where files lie."""
    settings.MEDIA_ROOT = tmp_path / "files"
    return tmp_path / "files"


@pytest.fixture
def clients(live_server: Any) -> Clients:
    def client(person: Person, **options: Any) -> openai.OpenAI:
        given = {"max_retries": 0, **options}
        return openai.OpenAI(base_url=f"{live_server.url}/openai/v1", api_key=person.secret, **given)

    return client
