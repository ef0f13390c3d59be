"""The cast, for tests of the API."""

import pytest

from tasks.states import Role
from tests import cast
from tests.cast import Person


@pytest.fixture
def contributor(db: None) -> Person:
    return cast.of_own_team("carla")


@pytest.fixture
def stranger(db: None) -> Person:
    return cast.of_own_team("sven")


@pytest.fixture
def reviewer(db: None) -> Person:
    return cast.of_the_pool("rosa", Role.REVIEWER)


@pytest.fixture
def operator(db: None) -> Person:
    return cast.of_the_pool("otto", Role.OPERATOR)
