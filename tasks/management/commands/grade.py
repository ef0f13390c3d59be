"""manage.py grade [FILE]: grades JSON lines without a database, so that a grader can be tried anywhere."""

import os
import sys
from argparse import ArgumentParser
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError

from tasks.graders.lines import grade_lines


class Command(BaseCommand):
    help = (
        'Grade JSON lines {"grader": {...}, "item": {...}, "completion": "..."} from FILE or standard input. '
        "Writes one line per line, in the same order: outcome, score, sub_scores, read, reason, errors, seconds."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", default="-", help="a JSON Lines file; - or nothing: standard input")
        parser.add_argument("--workers", type=int, default=1, help="processes to grade with (default 1)")

    def handle(self, *args: Any, file: str, workers: int, **options: Any) -> None:
        if workers < 1:
            raise CommandError("--workers must be 1 or more.")
        with ExitStack() as stack:
            stream = _opened(file, stack)
            # spawn: a forked child would inherit whatever the web side has open
            pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else None
            executor = stack.enter_context(pool) if pool else None
            try:
                for line in grade_lines(stream, executor, ahead=2 * workers + 2):
                    self.stdout.write(line.decode())
                    if executor is None:
                        self.stdout.flush()  # a program that waits for each answer must get it
            except BrokenPipeError:  # the reader, such as head, has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _opened(file: str, stack: ExitStack) -> BinaryIO:
    if file == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(file).open("rb"))
    except OSError as fault:
        raise CommandError(f"{file} cannot be read: {fault.strerror}.") from None
