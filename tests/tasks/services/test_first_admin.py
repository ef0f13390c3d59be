import stat
from pathlib import Path

import pytest

from tasks.models import User
from tasks.services import accounts, first_admin
from tasks.states import Role

pytestmark = pytest.mark.django_db


def test_the_first_administrator_may_do_everything_in_the_pool():
    login = first_admin.ensure()

    user = User.objects.get(username=login.username)
    assert user.is_superuser
    assert user.roles_in(accounts.pool()) == set(Role)


def test_the_password_is_kept_where_only_its_owner_reads(files: Path):
    login = first_admin.ensure()

    path = files.parent / "first_admin"
    assert path.read_text() == login.password
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_same_login_is_told_again_while_it_works():
    assert first_admin.ensure() == first_admin.ensure()


def test_a_changed_password_is_not_told():
    user = User.objects.get(username=first_admin.ensure().username)
    user.set_password("another long word")
    user.save()

    assert first_admin.ensure().password is None


def test_the_administrator_has_a_team_of_their_own():
    user = User.objects.get(username=first_admin.ensure().username)

    assert user.memberships.filter(team__is_system=False).exists()
