"""manage.py gate --scores FILE.csv --policy FILE.yaml: the promotion gate on anybody's scores, without a database."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError

from tasks.errors import Invalid
from trainer.evaluation import markdown, standalone
from trainer.states import Verdict


class Command(BaseCommand):
    help = (
        "Decide whether a candidate may replace the champion, from a table of scored answers: CSV with the columns "
        "suite, item, cluster, side (champion, candidate, anchor), sample, score (0 to 1), error; cluster, sample and "
        "error may be left out. Exits with 0 for PROMOTE, 1 for HOLD, 2 for INCONCLUSIVE, 3 for INVALID or for files "
        "that cannot be read."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--scores", type=Path, help="CSV file, a row for every answer")
        parser.add_argument("--policy", type=Path, help="YAML or JSON file; --example prints one")
        parser.add_argument(
            "--look", type=int, default=1, help="which of the policy's looks this is (default: the first)"
        )
        parser.add_argument("--json", action="store_true", help="print the whole decision as JSON")
        parser.add_argument("--example", action="store_true", help="print a policy to begin with")

    def handle(
        self,
        *args: Any,
        scores: Path | None,
        policy: Path | None,
        look: int,
        json: bool,
        example: bool,
        **options: Any,
    ) -> None:
        if example:
            self.stdout.write(standalone.EXAMPLE)
            return
        if scores is None or policy is None:
            raise CommandError(
                "Name --scores FILE.csv and --policy FILE.yaml; --example prints a policy.", returncode=3
            )
        try:
            decision = standalone.judge(scores, standalone.read_policy(policy), look=look)
        except Invalid as wrong:
            raise CommandError(wrong.sentence, returncode=standalone.EXIT_CODES[Verdict.INVALID]) from None
        if json:
            self.stdout.write(msgspec.json.format(msgspec.json.encode(decision)).decode())
        else:
            self.stdout.write("\n".join(markdown.lines(decision)))
        self.stdout.flush()
        sys.exit(standalone.EXIT_CODES[decision.verdict])
