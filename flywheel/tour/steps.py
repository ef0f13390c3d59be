"""The steps of the tour. Each looks first whether it is done, so a tour that was killed goes on where it was."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from flywheel.samples import datasets as samples
from flywheel.samples.demonstrations import demonstrations
from flywheel.tour import people, plan
from flywheel.tour.client import Client, Refused, TourError
from tasks.models import Task
from tasks.services import pool
from tasks.services.licences import CONSENT_VERSION
from tasks.states import Role, Scope, Split, TaskState
from trainer.models import Firing, GateReport, Line, TrainingRun
from trainer.services import lines

LINE = "shared"
PATIENCE_SECONDS = 1800


class Tour:
    def __init__(self, url: str, *, seed: int, share: float = 1.0) -> None:
        """`share` of each sample file's rows is uploaded."""
        self.seed = seed
        self.share = share
        self.url = url
        read_write = [Scope.READ, Scope.WRITE]
        self.reviewer = Client(url, people.of_the_pool("rosa", Role.REVIEWER, read_write).key)
        self.operator = Client(url, people.of_the_pool("otto", Role.OPERATOR, [*read_write, Scope.TRAIN]).key)
        self.contributors: dict[str, Client] = {}
        self.domains: set[str] = set()  # of what was uploaded
        self.directory = Path(settings.DATA_DIR) / "samples"

    def base(self) -> Line:
        """Register the shared line; its base is built in the background while the data comes in."""
        line = Line.objects.filter(slug=LINE).first()
        if line is None:
            name = f"flawed-{self.seed}.jsonl"
            _write_whole(Path(settings.DATA_DIR) / "demonstrations" / name, demonstrations(self.seed))
            line = lines.create_shared(
                "Shared model", LINE, actor=None, demonstrations=name, seed=self.seed, policy=plan.POLICY
            )
            _say("Building the local base model from demonstrations that are flawed on purpose (see README).")
        return line

    def upload(self, turn: int) -> list[int]:
        """Two contributors upload their files; the ids of the uploads."""
        self.directory.mkdir(parents=True, exist_ok=True)
        uploads = []
        for sample in samples.write_datasets(self.directory, self.seed, batch=turn, scale=self.share):
            client = self._contributor(sample.contributor, sample.team)
            try:
                dataset = self._dataset(client, sample)
            except Refused as refusal:
                if refusal.code != "grader_unavailable":
                    raise
                _say(f"{sample.dataset} is left out: {refusal.sentence}")
                continue
            self.domains.add(sample.domain)
            upload = client.upload(sample.path, dataset=dataset)
            _say(f"{sample.contributor} uploads {sample.path.name} to {sample.team}: {upload['bytes']:,} bytes.")
            uploads.append(upload["id"])
        return uploads

    def wait_for_proof(self, uploads: list[int]) -> None:
        """Show the progress of import and proof until both have ended."""
        shown = ""
        for upload in uploads:
            while True:
                row = self.operator.get(f"/api/v1/uploads/{upload}")
                proof = (row["proof"] or {}).get("state", "")
                line = f"  upload {upload}: {row['state']}, line {row['line']:,}, proof {proof or 'not yet'}"
                shown = _say(line) if line != shown else shown
                if row["state"] == "failed":
                    raise TourError(f"Upload {upload} failed: {row['failure']}")
                if row["state"] == "imported" and proof in {"done", "refused"}:
                    break
                time.sleep(0.5)

    def review(self) -> None:
        """The reviewer approves what is proved, after a count, and refuses what is in conflict."""
        for state, decision, reason in (("proved", "approved", ""), ("conflict", "rejected", "ambiguous")):
            body = {
                "decision": decision,
                "filter": {"state": state},
                "reason_code": reason,
                "note": "Reviewed on the tour.",
            }
            count = self.reviewer.post("/api/v1/reviews/bulk", {**body, "dry_run": True})["count"]
            if count:
                self.reviewer.post("/api/v1/reviews/bulk", body)
                _say(f"rosa reviews {count:,} tasks that are {state}: {decision}.")

    def recipe(self, line: Line) -> int:
        for recipe in self.operator.all("/api/v1/recipes", line=line.pk):
            if recipe["name"] == plan.RECIPE_NAME:
                return int(recipe["id"])
        graded = [domain for domain in sorted(self.domains) if self._approved(domain)]
        body = {
            "line": line.pk,
            "name": plan.RECIPE_NAME,
            "preset": "flywheel",
            "body": {**plan.recipe(graded), "seed": self.seed},
            "overrides": {**plan.OVERRIDES, "seed": self.seed},
        }
        return int(self.operator.post("/api/v1/recipes", body)["id"])

    def _approved(self, domain: str) -> bool:
        """Whether anything of it got through: a sandbox that was lost since the upload lets none of its rows in."""
        return bool(self.operator.get("/api/v1/tasks", state="approved", domain=domain, limit=1)["results"])

    def schedule(self, line: Line, recipe: int, **fields: Any) -> None:
        """The line's schedule, as these fields say from now on."""
        for made in self.operator.all("/api/v1/schedules", line=line.pk):
            if any(made[name] != value for name, value in fields.items()):
                self.operator.patch(f"/api/v1/schedules/{made['id']}", fields)
            return
        self.operator.post("/api/v1/schedules", {"line": line.pk, "recipe": recipe, **fields})

    def schedule_turn(self, line: Line, recipe: int, turn: int) -> None:
        """The turn begins by itself at the first minute at which everything that has come in is approved.

        Asked for before the review, so that a turn's mixture holds all of it whenever the clock strikes.
        """
        runs = _runs(line)
        if len(runs) >= turn:
            return
        proved = Task.objects.filter(space=line.team, state=TaskState.PROVED, split=Split.TRAIN).count()
        enough = proved + pool.new_approved_since(line.team, runs[-1].created_at if runs else None)
        self.schedule(line, recipe, **plan.EVERY_MINUTE, min_new_tasks=max(enough, 1))
        _say(f"Turn {turn} begins by itself, at the first minute with {enough:,} newly approved tasks.")

    def run(self, line: Line, recipe: int, turn: int) -> TrainingRun:
        """Start the turn's run, or find the one that a killed tour has started; wait until it has ended."""
        _wait("the base model", lambda: line.aliases.exists() or _failed_base(line))
        runs = _runs(line)
        if len(runs) >= turn:
            run = runs[turn - 1]
        else:
            started = self.operator.post("/api/v1/runs", {"recipe": recipe, "seed": self.seed + turn - 1})
            run = TrainingRun.objects.get(pk=started["id"])
            _say(f"otto starts run {run.pk}: {' '.join(run.notes)}")
        _follow_run(run)
        return run

    def scheduled_run(self, line: Line, turn: int) -> TrainingRun:
        """The run that the schedule starts by the clock. Nobody presses anything; what it decides is told."""
        told = ""

        def begun() -> bool:
            nonlocal told
            firing = Firing.objects.filter(schedule__line=line).order_by("-pk").first()
            words = f"  schedule, {firing.due_at:%H:%M} UTC: {firing.outcome}. {firing.reason}" if firing else ""
            told = _say(words) if words != told else told
            return len(_runs(line)) >= turn

        _wait("the schedule to start the next run", begun)
        run = _runs(line)[turn - 1]
        _follow_run(run)
        return run

    def verdict(self, run: TrainingRun) -> GateReport:
        _say("Champion and candidate answer the same sealed items.")
        found = GateReport.objects.filter(evaluation__candidate__run=run)
        _wait("the verdict", lambda: found.exists() or _failed_evaluation(run))
        report = found.select_related("evaluation__candidate__line", "evaluation__champion__line").get()
        _say(f"Gate: {report.verdict}. {report.sentence}")
        return report

    def chat(self, line: Line, prompt: str) -> dict[str, Any]:
        """One question to the champion, through the OpenAI-compatible API."""
        body = {
            "model": f"{line.slug}/champion",
            "temperature": 0,
            "max_completion_tokens": 48,
            "messages": [{"role": "user", "content": prompt}],
        }
        reply = self.operator.post("/openai/v1/chat/completions", body)
        answer = reply["choices"][0]["message"]["content"]
        _say(f"{reply['model']} is asked {prompt!r} and answers {answer!r}.")
        return {"model": reply["model"], "prompt": prompt, "answer": answer}

    def _contributor(self, name: str, team: str) -> Client:
        if name not in self.contributors:
            self.contributors[name] = Client(self.url, people.contributor(name, team).key)
        return self.contributors[name]

    def _dataset(self, client: Client, sample: "samples.SampleDataset") -> int:
        for dataset in client.all("/api/v1/datasets"):
            if dataset["name"] == sample.dataset:
                return int(dataset["id"])
        made = client.post(
            "/api/v1/datasets",
            {
                "name": sample.dataset,
                "domain": sample.domain,
                "visibility": "contributed",
                "licence": sample.licence,
                "consent_version": CONSENT_VERSION,
                "default_grader": sample.grader,
                "description": sample.description,
            },
        )
        return int(made["id"])


def _runs(line: Line) -> list[TrainingRun]:
    """One a turn."""
    return list(TrainingRun.objects.filter(line=line).exclude(state__in=["failed", "cancelled"]).order_by("pk"))


def _follow_run(run: TrainingRun) -> None:
    shown = -1

    def ended() -> bool:
        nonlocal shown
        run.refresh_from_db()
        if run.step // 10 != shown // 10 and run.step:
            shown = run.step
            newest = run.metrics.order_by("-step").first()
            reward = newest.data.get("reward_mean") if newest else None
            _say(
                f"  run {run.pk}: {run.phase}, step {run.step} of {run.total_steps}"
                + (f", mean reward {reward:.2f}" if reward is not None else "")
            )
        if run.state in {"failed", "cancelled"}:
            raise TourError(f"Run {run.pk} {run.state}: {(run.error or {}).get('sentence', 'no reason was given')}")
        return run.state == "succeeded"

    _wait(f"run {run.pk}", ended)


def _wait(what: str, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _answered(done):
        if time.monotonic() > deadline:
            raise TourError(f"Waited {PATIENCE_SECONDS // 60} minutes for {what}: look at the worker's log.")
        time.sleep(0.3)


def _answered(question: Callable[[], bool]) -> bool:
    """Asked of the database, which may be restarting: then the next time."""
    try:
        return question()
    except (OperationalError, InterfaceError):
        connection.close()
        return False


def _failed_base(line: Line) -> bool:
    build = line.base_build
    build.refresh_from_db()
    if build.state == "failed":
        raise TourError(f"The base could not be built: {(build.error or {}).get('sentence', '')}")
    return False


def _failed_evaluation(run: TrainingRun) -> bool:
    version = getattr(run, "version", None)
    failed = version.evaluations.filter(state="failed").first() if version else None
    if failed is not None:
        raise TourError(f"Evaluation {failed.pk} failed: {(failed.error or {}).get('sentence', '')}")
    return False


def _write_whole(path: Path, rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming = path.with_suffix(".partial")
    with incoming.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    incoming.replace(path)


def _say(line: str) -> str:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    return line
