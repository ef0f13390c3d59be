"""The cast and a dataset, for tests of the data side."""

from pathlib import Path
from typing import Any

import pytest

from tasks.models import Dataset
from tasks.services import accounts, datasets
from tasks.states import Role
from tests import cast
from tests.cast import Person


@pytest.fixture(autouse=True)
def files(settings: Any, tmp_path: Path) -> Path:
    """Files of a test lie in its own folder."""
    settings.DATA_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "files"
    return tmp_path / "files"


@pytest.fixture
def contributor(db: None) -> Person:
    """In a team whose proved tasks wait for a person."""
    person = cast.of_own_team("carla")
    accounts.set_approval(person.team, "person", actor=person.user)
    return person


@pytest.fixture
def stranger(db: None) -> Person:
    return cast.of_own_team("sven")


@pytest.fixture
def reviewer(db: None) -> Person:
    return cast.of_the_pool("rosa", Role.REVIEWER)


@pytest.fixture
def operator(db: None) -> Person:
    return cast.of_the_pool("otto", Role.OPERATOR)


@pytest.fixture
def dataset(contributor: Person) -> Dataset:
    """Private, with a default grader."""
    return datasets.create(contributor.team, "Sums", actor=contributor.user, default_grader={"type": "number"})


@pytest.fixture
def ungraded(contributor: Person) -> Dataset:
    return datasets.create(contributor.team, "Ungraded", actor=contributor.user)


@pytest.fixture
def contributed(contributor: Person) -> Dataset:
    return datasets.create(
        contributor.team,
        "Shared sums",
        actor=contributor.user,
        visibility="contributed",
        licence="CC-BY-4.0",
        consent_version=datasets.CONSENT_VERSION,
        default_grader={"type": "number"},
    )
