"""manage.py add_account NAME: an account for one more person, with a password to hand over."""

import secrets
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks.errors import FlywheelError
from tasks.services import accounts


class Command(BaseCommand):
    help = "Create an account and print its login; `manage.py changepassword` sets another password."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--email", default="")

    def handle(self, *args: Any, username: str, email: str, **options: Any) -> None:
        password = secrets.token_urlsafe(15)
        try:
            user = accounts.create_user(username, password, email, actor=None)
        except FlywheelError as refusal:
            raise CommandError(refusal.sentence) from None
        self.stdout.write(f"username {user.username}\npassword {password}")
