"""manage.py rekey: stored keys of every space that a new version of the normalisation has left behind are computed
anew. Workers do the same by themselves, before an import or as soon as they see it; this does it at once, and says how
far it is."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from tasks.models import Team
from tasks.services import rekeying


class Command(BaseCommand):
    help = "Compute stored keys anew where they are of an older version. Safe beside running work, and to be repeated."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the counts as JSON, and no progress")

    def handle(self, *args: Any, **options: Any) -> None:
        spaces = Team.objects.filter(pk__in=rekeying.behind(Team.objects.count())).order_by("pk")
        counts = {space.slug: self._rekey(space, quiet=options["json"]) for space in spaces}
        if options["json"]:
            self.stdout.write(json.dumps({"spaces": counts, "tasks": sum(counts.values())}, sort_keys=True))
        else:
            self.stdout.write(f"{sum(counts.values()):,} tasks of {len(counts)} spaces")

    def _rekey(self, space: Team, *, quiet: bool) -> int:
        done = 0
        for count in rekeying.chunks(space.pk):
            done += count
            if not quiet:
                self.stdout.write(f"{space.slug}: {done:,}")
                self.stdout.flush()
        return done
