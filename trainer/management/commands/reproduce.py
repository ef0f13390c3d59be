"""manage.py reproduce VERSION: run a version's lineage again and compare hashes. Nothing in the registry changes."""

import signal
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks.errors import FlywheelError
from trainer.services import model_cards, reproducing
from trainer.services.reproducing import Outcome, Report

SHOWN_ALWAYS = ("torch", "transformers", "trl", "processor", "threads")
WELL = (Outcome.SAME, Outcome.TRUSTED)


class Command(BaseCommand):
    help = "Run a version's lineage again, from its base on, and compare digests. Exit status 0: every one is the same."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", metavar="VERSION", help="line/vN, as the version's page shows it")
        parser.add_argument("--from", dest="begin", metavar="VERSION", help="trust what comes before this one")
        parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what the engines write, in a new directory")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with _directory(options["keep"]) as work, _told_to_leave():
                reports = self._reproduced(options, work)
        except FlywheelError as refused:
            raise CommandError(refused.sentence) from None
        except KeyboardInterrupt:
            raise CommandError("Interrupted: the engine was ended, and nothing was changed.", returncode=130) from None
        self.stdout.write(table(reports))
        self.stdout.write(environments(reports))
        if any(report.outcome not in WELL for report in reports):
            raise CommandError(f"{options['version']} was not reproduced.")
        self.stdout.write(f"{options['version']} was reproduced.")

    def _reproduced(self, options: dict[str, Any], work: Path) -> list[Report]:
        version = model_cards.named(options["version"])
        begin = model_cards.named(options["begin"]) if options["begin"] else None
        reports = []
        for report in reproducing.reproduce(version, work, self._say, begin=begin):
            self._say(f"{report.name}: {report.outcome}. {report.sentence}")
            reports.append(report)
        return reports

    def _say(self, words: str) -> None:
        self.stdout.write(words)
        self.stdout.flush()


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    """Fresh, and gone afterwards unless it is to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="reproduce-") as made:
            yield Path(made)
        return
    try:
        keep.mkdir(parents=True)
    except OSError as refused:
        raise CommandError(f"{keep} cannot be made: {refused.strerror}. Name a directory that is not there.") from None
    yield keep.resolve()


@contextmanager
def _told_to_leave() -> Iterator[None]:
    """SIGTERM as Ctrl-C, so that the engine is ended too."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def table(reports: list[Report]) -> str:
    """A line a version; what differs, and what was noticed, below it."""
    width = max(len("version"), *(len(report.name) for report in reports))
    lines = [f"{'version':{width}}  {'outcome':13}  {'digest then':12}  {'digest now':12}  seconds"]
    for report in reports:
        lines.append(
            f"{report.name:{width}}  {report.outcome:13}  {report.then[:12]:12}  {report.now[:12] or '–':12}  "
            f"{report.seconds:7.0f}"
        )
        told = () if report.outcome is Outcome.SAME else (report.sentence,)
        lines += [f"{'':{width}}  {words}" for words in (*told, *report.notes)]
    return "\n".join(lines)


def environments(reports: list[Report]) -> str:
    """What the engines ran with, then and now: once for all versions that share it."""
    seen: dict[tuple[Any, ...], list[Report]] = {}
    for report in reports:
        if report.environment_then or report.environment_now:
            key = (tuple(sorted(report.environment_then.items())), tuple(sorted(report.environment_now.items())))
            seen.setdefault(key, []).append(report)
    return "\n".join(_environment(group) for group in seen.values())


def _environment(group: list[Report]) -> str:
    first = group[0]
    names = [*SHOWN_ALWAYS, *(name for name in first.moved if name not in SHOWN_ALWAYS)]
    lines = [f"{'environment':14}  {'then':30}  now      ({', '.join(report.name for report in group)})"]
    for name in names:
        then = first.environment_then.get(name, "not recorded")
        now = first.environment_now.get(name, "not run")
        lines.append(f"{name:14}  {then:30}  {now}{'  ← differs' if name in first.moved else ''}")
    return "\n".join(lines)
