"""manage.py sandbox_check: lets hostile graders try every level of the sandbox that this machine offers."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks.sandbox import levels, selfcheck
from tasks.sandbox.protocol import Level, Unavailable


class Command(BaseCommand):
    help = (
        "Try to break out of the sandbox at every level that this machine offers, print what held and which level is"
        " used. Exits 1 where one of them was broken out of. Needs no database."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the findings as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            wanted = levels.wanted()
        except Unavailable as refusal:
            raise CommandError(refusal.sentence) from None
        reports = [selfcheck.check(level) for level in wanted]
        chosen = next((report.level for report in reports if report.holds), None)
        if options["json"]:
            self.stdout.write(json.dumps({"chosen": chosen, "levels": [asdict(report) for report in reports]}))
        else:
            self._print(reports, chosen)
        if escaped := [report.level for report in reports if report.escaped]:
            raise CommandError(f"Broken out of: {', '.join(escaped)}. Such a level is not used.")

    def _print(self, reports: list[selfcheck.Report], chosen: Level | None) -> None:
        names = list(dict.fromkeys((finding.probe, finding.aim) for report in reports for finding in report.findings))
        self.stdout.write("".join([f"{'probe':<22}", *(f"{report.level:<16}" for report in reports), "tries to"]))
        for name, aim in names:
            cells = (f"{_cell(report, name):<16}" for report in reports)
            self.stdout.write("".join([f"{name:<22}", *cells, aim]))
        for report in reports:
            if report.refused:
                self.stdout.write(f"{report.level} is not offered here: {report.refused}.")
        self.stdout.write(f"Level in use: {chosen or 'none. ' + _why_not()}")


def _cell(report: selfcheck.Report, probe: str) -> str:
    if report.refused:
        return "not applicable"
    return "ESCAPED" if probe in report.escaped else "held"


def _why_not() -> str:
    try:
        levels.best()
    except Unavailable as refusal:
        return refusal.sentence
    return ""
