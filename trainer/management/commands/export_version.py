"""manage.py export_version NAME DIR: a version as a directory that `from_pretrained` loads, with its card."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks.errors import FlywheelError
from trainer.services import model_cards


class Command(BaseCommand):
    help = "Write a version's weights, tokenizer, chat template, manifest and model card to a new directory."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="line/vN, as the version's page shows it")
        parser.add_argument("directory", metavar="DIR", type=Path, help="a directory that is not there yet")

    def handle(self, *args: Any, **options: Any) -> None:
        target: Path = options["directory"].absolute()
        try:
            version = model_cards.named(options["name"])
            model_cards.export(version, target)
        except FlywheelError as refused:
            raise CommandError(refused.sentence) from None
        except OSError as refused:
            raise CommandError(f"{target} could not be written: {refused.strerror or refused}.") from None
        self.stdout.write(f"{version.name} is in {target}; its digest is {version.digest}.")
