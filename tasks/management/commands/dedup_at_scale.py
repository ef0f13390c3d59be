"""manage.py dedup_at_scale FILE… --out VERDICTS: what every row of long files is to the rows before it, without a
database. RAY_ADDRESS names the cluster that shares the work; without it this machine does all of it."""

import json
import os
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks.dedup.at_scale import Place
from tasks.dedup.fanning import fan
from tasks.errors import FlywheelError
from tasks.preparation import Context
from tasks.services.at_scale import deduplicate


class Command(BaseCommand):
    help = (
        "De-duplicate files of any length by joins over Parquet, and write the verdict of every row to a Parquet file."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument("--out", type=Path, required=True, help="Parquet file for the verdicts")
        parser.add_argument("--grader", type=json.loads, help="JSON: the grader of rows that name none")
        parser.add_argument("--mapping", type=Path, help="JSON file that says which column is what")
        parser.add_argument("--scratch", type=Path, help="folder for what is in between: several times the files' size")
        parser.add_argument("--memory-mb", type=int, default=1024, help="of the joins; more is spilled to --scratch")
        parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the joins")
        parser.add_argument("--json", action="store_true", help="print the counts as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="dedup-", dir=options["scratch"]) as scratch:
            place = Place(
                Path(scratch),
                memory_bytes=options["memory_mb"] * 2**20,
                threads=options["threads"],
                fan=fan(os.environ.get("RAY_ADDRESS", "")),
            )
            try:
                counts = deduplicate(options["files"], options["out"], _context(options), place)
            except FlywheelError as refusal:
                raise CommandError(refusal.sentence) from None
        if options["json"]:
            self.stdout.write(json.dumps(counts, sort_keys=True))
        else:
            self.stdout.writelines(f"{verdict:15} {count:,}" for verdict, count in sorted(counts.items()))


def _context(options: dict[str, Any]) -> Context:
    grader, mapping = options["grader"], options["mapping"]
    return Context(
        default_grader=None if grader is None else json.dumps(grader).encode(),
        mapping=None if mapping is None else mapping.read_bytes(),
    )
