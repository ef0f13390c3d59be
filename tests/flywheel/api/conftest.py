"""The cast, and an upload that waits for its mapping, for tests of the API."""

import pytest

from tasks.models import Upload, User
from tasks.services import accounts, leases, mapping, uploads
from tasks.states import Role, UploadState
from tests import cast, world
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


@pytest.fixture
def onlooker(contributor: Person) -> Person:
    """In the team without being a contributor: what it holds may be seen, not changed."""
    user = User.objects.create_user("olga")
    accounts.join(contributor.team, user, Role.REVIEWER, actor=contributor.user)
    return Person(user, contributor.team, cast.key(user, contributor.team))


@pytest.fixture
def unmapped(contributor: Person) -> Upload:
    """Two questions in columns that nobody knows."""
    body = b"frage,antwort\nWas ist 1 + 1?,2\nWas ist 2 + 2?,4\n"
    dataset = world.private_dataset(contributor, "Fragen")
    upload, _ = uploads.receive(dataset, [body], filename="fragen.csv", actor=contributor.user)
    leases.claim(Upload, upload.pk, UploadState.RECEIVED, UploadState.IMPORTING)
    upload.refresh_from_db()
    mapping.look(upload)
    upload.refresh_from_db()
    return upload
