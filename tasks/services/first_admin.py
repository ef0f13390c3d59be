"""The first administrator of an installation, with a password that is made once and kept where only its owner reads."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import transaction

from tasks.models import User
from tasks.models.events import Subject, record
from tasks.services import accounts
from tasks.states import Role

USERNAME = "admin"


@dataclass(frozen=True, slots=True)
class Login:
    username: str
    password: str | None  # None: it was changed since, and nobody but its owner knows it


def ensure() -> Login:
    """Create the administrator where there is none; the login of the file for as long as it works."""
    password = _kept_password()
    user = User.objects.filter(username=USERNAME).first()
    if user is None:
        user = _create(password)
    return Login(USERNAME, password if user.check_password(password) else None)


def _kept_password() -> str:
    """Written before the account exists, so that a kill in between cannot make an account nobody can enter."""
    path = Path(settings.DATA_DIR) / "first_admin"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".first_admin.{os.getpid()}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(12))
        aside.replace(path)
    return path.read_text().strip()


@transaction.atomic
def _create(password: str) -> User:
    user = accounts.create_user(USERNAME, password, actor=None)
    User.objects.filter(pk=user.pk).update(is_superuser=True, is_staff=True)
    pool = accounts.pool()
    for role in Role:
        accounts.join(pool, user, role, actor=None)
    accounts.create_team("Administrators", actor=user)
    record("user.first_administrator", subject=Subject("user", str(user.pk)), team=pool.pk)
    user.refresh_from_db()
    return user
