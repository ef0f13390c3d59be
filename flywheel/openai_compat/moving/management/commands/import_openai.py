"""manage.py import_openai FOLDER --team SLUG: what was saved of an OpenAI account, taken into a team."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from flywheel.openai_compat.moving import exported, recreation, taking_in
from flywheel.openai_compat.moving.taking_in import Moved, Target
from tasks.errors import FlywheelError
from tasks.models import Team, User
from tasks.services.access import require_role
from tasks.states import Role
from trainer.models import Line
from trainer.services import serving

SCRIPT = "recreate_jobs.py"


class Command(BaseCommand):
    help = "Take saved files, graders, evals and jobs of an OpenAI account into a team. A second time adds nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, metavar="FOLDER", help="see docs/openai.md for what it holds")
        parser.add_argument("--team", required=True, help="slug or name of the team that gets it, privately")
        parser.add_argument("--user", help="in whose name (default: the first administrator of the team)")
        parser.add_argument(
            "--model", action="append", default=[], metavar="OLD=NEW",
            help="jobs that started from OLD start from NEW here; NEW alone: all others (default: champion)",
        )  # fmt: skip
        parser.add_argument("--script", type=Path, help=f"where to write the jobs (default: FOLDER/{SCRIPT})")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be taken")

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        if not folder.is_dir():
            raise CommandError(f"{folder} is no folder: name the one with the export.")
        target = _target(options)
        moved = taking_in.take_in(exported.read(folder), target, self.stdout.write)
        if moved.calls and not options["dry_run"]:
            self._write(moved, options["script"] or folder / SCRIPT)
        self._warn_of_models(moved, target)
        if moved.left_out:
            raise CommandError("\n".join(["Left out:", *(f"- {sentence}" for sentence in moved.left_out)]))

    def _write(self, moved: Moved, path: Path) -> None:
        partial = path.with_name(f"{path.name}.part")
        try:
            partial.unlink(missing_ok=True)  # of a run that was killed, or a link that leads elsewhere
            partial.write_text(recreation.script(moved.calls), encoding="utf-8")
            os.replace(partial, path)
        except OSError as fault:
            moved.left_out.append(f"{path} cannot be written ({fault.strerror}): name another by --script.")
            return
        self.stdout.write(f"{len(moved.calls)} jobs to make again: python {path}")

    def _warn_of_models(self, moved: Moved, target: Target) -> None:
        lines = Line.objects.for_team(target.team.pk)
        for name in dict.fromkeys(str(call.arguments["model"]) for call in moved.calls):
            if serving.version_of(name, lines) is None:
                self.stdout.write(f"There is no model {name} here yet: make one, or name another by --model.")


def _target(options: dict[str, Any]) -> Target:
    given = options["team"]
    team = Team.objects.filter(slug=given).first() or Team.objects.filter(name=given).first()
    if team is None:
        raise CommandError(f"There is no team {given}: make it on the page /me, or name another.")
    models, default = _models(options["model"])
    return Target(team, _actor(team, options["user"]), models, default, options["dry_run"])


def _actor(team: Team, name: str | None) -> User:
    if name is None:
        first = team.memberships.filter(role=Role.ADMINISTRATOR).order_by("pk").select_related("user").first()
        if first is None:
            raise CommandError(f"{team.name} has no administrator: say by --user in whose name.")
        return first.user
    user: User | None = User.objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no account {name}: make it with manage.py add_account.")
    try:
        require_role(user, team, Role.CONTRIBUTOR)
    except FlywheelError as refused:
        raise CommandError(refused.sentence) from None
    return user


def _models(given: list[str]) -> tuple[dict[str, str], str]:
    """What old names are called here, and what stands for every other."""
    models, default = {}, "champion"
    for each in given:
        old, equals, new = each.rpartition("=")
        if not new or (equals and not old):
            raise CommandError(f"--model {each}: write OLD=NEW, or NEW alone.")
        if equals:
            models[old] = new
        else:
            default = new
    return models, default
