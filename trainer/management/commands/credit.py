"""manage.py credit: measure the credit of gate reports that have none; --again: of all whose answers are there."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from trainer.models import GateReport
from trainer.services import credit


class Command(BaseCommand):
    help = "Measure what promotions did on each dataset's held-out rows, where that was not done. Safe to repeat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--again", action="store_true", help="all reports, not only those without")

    def handle(self, *args: Any, **options: Any) -> None:
        reports = GateReport.objects.order_by("pk") if options["again"] else credit.uncounted()
        done = [credit.recount(report) for report in reports.select_related("line", "evaluation__candidate__run")]
        measured, gone = done.count(True), done.count(False)
        missing = f"; the answers of {gone:,} are no longer there" if gone else ""
        self.stdout.write(f"{measured:,} report{'' if measured == 1 else 's'} measured{missing}.")
