"""manage.py import_suite LINE NAME FILE: a file becomes a held-out suite of a line.

    import_suite shared "our exam" exam.csv --source "our school" --licence CC-BY-4.0 --revision 2026-11
    import_suite shared gsm8k test.parquet --from-catalogue gsm8k --revision COMMIT

The file is imported and proved in this process; the same call again goes on where one was stopped.
"""

import json
from argparse import ArgumentParser
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from tasks.errors import FlywheelError
from trainer import catalogue
from trainer.catalogue import Entry
from trainer.models import ImportedSuite, Line
from trainer.services import contamination, imported_suites, suites
from trainer.states import AliasName


class Command(BaseCommand):
    help = "Import a file as a held-out suite of a line: every row is sealed, and nothing is trained on it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("line", metavar="LINE", help="slug of the line")
        parser.add_argument("name", metavar="NAME", help="of the suite; no domain may have it")
        parser.add_argument("file", metavar="FILE", type=Path)
        parser.add_argument("--source", default="", help="where it comes from: an address, a hub id, who made it")
        parser.add_argument("--licence", default="", help="SPDX id, or a few words")
        parser.add_argument("--revision", default="", help="which state of it: a commit, a version, a day")
        parser.add_argument("--mapping", default="auto", help="a JSON file that says what the columns are")
        parser.add_argument("--grader", type=json.loads, help="JSON: the grader of rows that name none")
        parser.add_argument(
            "--from-catalogue",
            choices=list(catalogue.entries()),
            metavar="ENTRY",
            help=f"columns, grader, licence and source of a published set: {', '.join(catalogue.entries())}",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            entry = catalogue.find(options["from_catalogue"]) if options["from_catalogue"] else None
            suite = _suite(options, entry)
            rows = _ingested(suite, options, entry)
            imported_suites.register_new()
        except FlywheelError as refused:
            raise CommandError(refused.sentence) from None
        self._tell(suite, rows)

    def _tell(self, suite: ImportedSuite, rows: dict[str, Any]) -> None:
        suite.refresh_from_db()
        self.stdout.write(f"{rows['rows']:,} rows, {suite.registered:,} items held out as {suite}.")
        for code, count in rows["rejected"].items():
            self.stdout.write(f"{count:,} rows stayed out: {code}")
        versions = [suite.line.alias(AliasName.CHAMPION), suite.line.alias(AliasName.ANCHOR)]
        for sentence in contamination.imported(suite.line, versions)[suite.name].sentences:
            self.stdout.write(sentence)
        waits = imported_suites.waits_for(suite)
        named = suites.available(suite.line).get(suite.name, 0)
        self.stdout.write(waits or f"The next evaluation asks it: {named:,} items.")


def _suite(options: dict[str, Any], entry: Entry | None) -> ImportedSuite:
    line = Line.objects.filter(slug=options["line"]).select_related("team").first()
    if line is None:
        raise CommandError(f"There is no line {options['line']}: see /ops/models.")
    known = line.imported_suites.filter(name=options["name"]).first()
    return known or imported_suites.create(
        line,
        options["name"],
        source=options["source"] or (entry.source if entry else ""),
        licence=options["licence"] or (entry.licence if entry else ""),
        revision=options["revision"],
        grader=options["grader"],
        entry=entry,
        actor=None,
    )


def _ingested(suite: ImportedSuite, options: dict[str, Any], entry: Entry | None) -> dict[str, Any]:
    """By manage.py ingest, which imports and proves here, or waits for the worker that was faster."""
    out, dataset = StringIO(), suite.dataset
    with TemporaryDirectory() as folder:
        mapping = options["mapping"]
        if entry is not None:
            mapping = str(Path(folder) / "mapping.json")
            Path(mapping).write_text(json.dumps(entry.mapping))
        told = {"team": dataset.team.slug, "dataset": dataset.slug, "mapping": mapping, "json": True}
        call_command("ingest", options["file"], stdout=out, **told)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found
