"""manage.py dedup_at_scale FILE… --out VERDICTS: what every row of long files is to the rows before it, without a
database. RAY_ADDRESS names the cluster that shares the work; without it this machine does all of it."""

import json
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks.errors import FlywheelError
from tasks.graders import registry
from tasks.preparation import Context
from tasks.services import at_scale


class Command(BaseCommand):
    help = (
        "De-duplicate files of any length by joins over Parquet, and write the verdict of every row to a Parquet file."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument("--out", type=Path, required=True, help="Parquet file for the verdicts")
        parser.add_argument("--grader", type=json.loads, help="JSON: the grader of rows that name none")
        parser.add_argument(
            "--mapping", type=Path, help="JSON file that says which column is what (default: guessed where sure)"
        )
        parser.add_argument(
            "--scratch",
            type=Path,
            help="folder for what is in between: several times the files' size (default: under DATA_DIR/cache)",
        )
        parser.add_argument("--memory-mb", type=int, default=1024, help="of the joins; more is spilled to --scratch")
        parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the joins")
        parser.add_argument("--json", action="store_true", help="print the counts as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        _check(options)
        memory = options["memory_mb"] * 2**20
        try:
            contexts = _contexts(options)
            with at_scale.place(options["scratch"], memory_bytes=memory, threads=options["threads"]) as place:
                counts = at_scale.deduplicate(options["files"], options["out"], contexts, place)
        except FlywheelError as refusal:
            raise CommandError(refusal.sentence) from None
        if options["json"]:
            self.stdout.write(json.dumps(counts, sort_keys=True))
        else:
            self.stdout.writelines(f"{verdict:15} {count:,}" for verdict, count in sorted(counts.items()))


def _check(options: dict[str, Any]) -> None:
    """Hours of work must not end at a folder that is not there."""
    files, out, scratch = options["files"], options["out"], options["scratch"]
    for path in files:
        _require_readable(path)
    if out.is_dir() or not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise CommandError(f"--out {out} cannot be written: name a file in a folder that is there and writable.")
    if out.resolve() in {path.resolve() for path in files}:
        raise CommandError(f"--out {out} is one of the files: name another one.")
    if scratch is not None and not (scratch.is_dir() and os.access(scratch, os.W_OK)):
        raise CommandError(f"--scratch {scratch} is no folder that can be written to: make it first.")
    if options["memory_mb"] < 1 or options["threads"] < 1:
        raise CommandError("--memory-mb and --threads must be 1 or more.")


def _require_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as fault:
        raise CommandError(f"{path} cannot be read: {fault.strerror}.") from None


def _contexts(options: dict[str, Any]) -> list[Context]:
    """One a file: each has columns of its own."""
    given, grader = _mapping(options["mapping"]), options["grader"]
    default = None if grader is None else registry.canonical(registry.parse(grader))
    return [Context(default_grader=default, mapping=at_scale.mapping_of(path, given)) for path in options["files"]]


def _mapping(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        given = json.loads(path.read_bytes())
    except (OSError, ValueError) as fault:
        raise CommandError(f"{path} holds no mapping: {fault}.") from None
    if not isinstance(given, dict):
        raise CommandError(f"{path} holds no mapping: it is no JSON object.")
    return given
