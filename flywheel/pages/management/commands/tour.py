"""The tour: two contributors, a reviewer, an operator, and one turn of the wheel, through the public API."""

import os
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from flywheel.tour import plan, report
from flywheel.tour.client import TourError
from flywheel.tour.steps import Tour


class Command(BaseCommand):
    help = "Give the tour on a running stack: upload, prove, review, mix, train, evaluate, decide. Repeatable."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--report", type=Path, help="write what happened to this JSON file")
        parser.add_argument("--turns", type=int, default=1, help="turns of the wheel, the later ones by the schedule")
        parser.add_argument("--seed", type=int, default=1, help="of samples, base, mixture and training")
        parser.add_argument("--share", type=float, default=1.0, help="of each sample file's rows, from 0.1 to 1")
        parser.add_argument("--url", default=os.environ.get("WEB_URL", "http://127.0.0.1:8000"))

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0.1 <= options["share"] <= 1:
            raise CommandError(f"--share goes from 0.1 to 1, not {options['share']:g}: fewer rows make no suite.")
        started = time.monotonic()
        try:
            turns = self._turn(Tour(options["url"], seed=options["seed"], share=options["share"]), options["turns"])
        except TourError as stopped:
            raise CommandError(str(stopped)) from stopped
        if options["report"]:
            content = {
                "seed": options["seed"],
                "turns": turns,
                "seconds_this_command": round(time.monotonic() - started, 1),
                "memory": report.memory(),
            }
            report.write(options["report"], content)
            self.stdout.write(f"Written to {options['report']}.")

    def _turn(self, tour: Tour, turns: int) -> list[dict[str, Any]]:
        line = tour.base()
        done = []
        for turn in range(1, turns + 1):
            uploads = tour.upload(turn)
            tour.wait_for_proof(uploads)
            if turn == 1:
                tour.review()
                recipe = tour.recipe(line)
                run = tour.run(line, recipe, turn)
            else:  # by the clock alone
                tour.schedule_turn(line, recipe, turn)
                tour.review()
                run = tour.scheduled_run(line, turn)
            verdict = tour.verdict(run)
            chat = tour.chat(line, plan.QUESTION)
            done.append(report.turn_report(line, run, verdict, uploads, chat))
        tour.schedule(line, recipe, **plan.NIGHTLY)
        return done
