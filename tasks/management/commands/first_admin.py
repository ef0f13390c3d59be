"""manage.py first_admin: the account with which a new installation is entered for the first time."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from tasks.services import first_admin


class Command(BaseCommand):
    help = "Create the first administrator once, and print the login for as long as its password is unchanged."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        login = first_admin.ensure()
        if options["json"]:
            self.stdout.write(json.dumps({"username": login.username, "password": login.password}))
        elif login.password is None:
            self.stdout.write(f"{login.username} has a password of their own.")
        else:
            self.stdout.write(f"username {login.username}\npassword {login.password}")
