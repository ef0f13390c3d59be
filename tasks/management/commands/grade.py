"""manage.py grade [FILE]: grades JSON lines without a database, so that a grader can be tried anywhere."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack
from io import FileIO
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks.graders import lines
from tasks.graders.workers import Workers


class Command(BaseCommand):
    help = (
        'Grade JSON lines {"grader": {...}, "item": {...}, "completion": "..."} from FILE or standard input. '
        "Writes one line per line, in the same order: outcome, score, sub_scores, read, reason, errors, seconds; "
        "`usage` (tokens) where a model was asked, and the line's `id` where it has one."
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
            try:
                for answers in _graded(_opened(file, stack), workers, stack):
                    self.stdout.write("\n".join(answer.decode() for answer in answers))
                    self.stdout.flush()  # a program that waits for each answer must get it
            except BrokenPipeError:  # the reader, such as head, has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _graded(stream: lines.Stream, workers: int, stack: ExitStack) -> Iterator[list[bytes]]:
    if workers == 1:
        return lines.grade_lines(stream)
    return stack.enter_context(Workers(workers)).grade(lines.batches(stream))


def _opened(file: str, stack: ExitStack) -> FileIO:
    """Unbuffered, so that a read takes what a pipe holds and waits for no more."""
    if file == "-":
        return stack.enter_context(FileIO(sys.stdin.fileno(), closefd=False))
    try:
        return stack.enter_context(FileIO(file))
    except OSError as fault:
        raise CommandError(f"{file} cannot be read: {fault.strerror}.") from None
