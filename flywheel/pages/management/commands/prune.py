"""manage.py prune: what nobody needs any more goes, by the policy of the settings PRUNE_…; --dry-run only says what."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks.errors import FlywheelError
from tasks.services import pruning
from tasks.services.pruning import Pruned
from trainer.services import pruning as model_side


class Command(BaseCommand):
    help = "Remove what the policy no longer keeps: old files, caches, rollouts, checkpoints. Safe beside running work."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
        parser.add_argument("--json", action="store_true", help="print the kinds as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = pruning.prune([*pruning.rules(), *model_side.rules()], dry_run=options["dry_run"])
        except FlywheelError as refusal:
            raise CommandError(refusal.sentence) from None
        if options["json"]:
            kinds = {
                each.kind: {name: value for name, value in asdict(each).items() if name != "kind"} for each in found
            }
            self.stdout.write(json.dumps({"dry_run": options["dry_run"], "kinds": kinds}, sort_keys=True))
        else:
            self.stdout.write("\n".join(_table(found, options["dry_run"])))
        if failures := [each.failure for each in found if each.failure]:
            raise CommandError(" ".join(failures))


def _table(found: Iterable[Pruned], dry_run: bool) -> Iterable[str]:
    yield f"{'kind':20} {'would go' if dry_run else 'went':>12} {'megabytes':>12}  kept"
    for each in found:
        kept = f"{each.days} days" if each.days else "for ever"
        yield f"{each.kind:20} {each.count:12,} {each.bytes / 1e6:12,.1f}  {kept}"
