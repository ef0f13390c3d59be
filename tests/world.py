"""One row of every kind that a team can own, for tests of who may see what."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec
from django.utils import timezone

from tasks.models import (
    Appeal,
    Dataset,
    DatasetVersion,
    Review,
    Sample,
    Task,
    Upload,
    WithdrawalReceipt,
    Wrapper,
)
from tasks.models.events import Subject, record
from tasks.services import datasets, parts, resumable, uploads
from tasks.services.importing import import_upload
from tasks.services.licences import CONSENT_VERSION
from tasks.services.proving import prove_upload
from tests.cast import Person
from trainer import mixing
from trainer.models import (
    Alias,
    AliasMove,
    Delivery,
    DifficultyCheck,
    Eval,
    EvalItem,
    EvalRun,
    Evaluation,
    Firing,
    GateReport,
    Line,
    Mixture,
    MixtureEntry,
    ModelPermission,
    ModelVersion,
    PassRate,
    Recipe,
    RunMetric,
    RunSample,
    Schedule,
    SuiteItem,
    SuiteRotation,
    SuiteVersion,
    TrainingRun,
    Webhook,
)
from trainer.services import imported_suites

SECRET = "xyzzy"  # in every prompt that must not be seen by others
GRADER = {"type": "number", "reference": "{{ item.reference }}"}


def rows(count: int, *, secret: str = SECRET, start: int = 0) -> bytes:
    """JSON Lines of sums with their answers."""
    lines = (
        {
            "prompt": f"{secret}: add {n} to {2 * n + 7} and say the number.",
            "item": {"reference": 3 * n + 7},
            "grader": GRADER,
        }
        for n in range(start, start + count)
    )
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def imported(dataset: Dataset, body: bytes, person: Person) -> Upload:
    upload, _ = uploads.receive(dataset, [body], filename="rows.jsonl", actor=person.user)
    import_upload(upload.pk)
    prove_upload(upload.pk)
    upload.refresh_from_db()
    return upload


def private_dataset(person: Person, name: str = "Sums") -> Dataset:
    return datasets.create(person.team, name, actor=person.user, domain="sums")


def contributed_dataset(person: Person, name: str = "Gifts") -> Dataset:
    return datasets.create(
        person.team,
        name,
        actor=person.user,
        domain="sums",
        visibility="contributed",
        licence="CC0-1.0",
        consent_version=CONSENT_VERSION,
    )


@dataclass(frozen=True)
class World:
    """Rows by the name of their model, lower case."""

    person: Person
    ids: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.ids[name]


def line_of(person: Person, slug: str, purpose: str = "expert") -> tuple[Line, ModelVersion]:
    line = Line.objects.create(team=person.team, slug=slug, name=slug, purpose=purpose)
    version = ModelVersion.objects.create(line=line, number=0, digest="0" * 64, origin="built locally")
    for name in ("champion", "anchor"):
        Alias.objects.create(line=line, name=name, version=version)
    AliasMove.objects.create(line=line, name="champion", new=version, reason="The base.")
    return line, version


def full(
    person: Person, *, purpose: str = "expert", dataset: Dataset | None = None, uploader: Person | None = None
) -> World:
    """A whole turn of the person's line as rows: nothing was trained."""
    dataset = dataset or private_dataset(person)
    upload = imported(dataset, rows(12) + b"{broken\n", uploader or person)
    tasks = list(Task.objects.filter(memberships__dataset=dataset))
    Task.objects.filter(pk__in=[task.pk for task in tasks]).update(state="approved", approved_at=timezone.now())
    task = tasks[0]
    partial = resumable.begin(dataset, length=10, filename="more.jsonl", actor=(uploader or person).user)
    review = Review.objects.create(
        task=task, space=task.space, reviewer=person.user, decision="approved", before="proved"
    )
    note = f"{SECRET} is right."
    appeal = Appeal.objects.create(
        space=task.space, upload=upload, line=13, code="not_json", note=note, asked_by=person.user
    )
    frozen = datasets.freeze(dataset, actor=None)
    line, base = line_of(person, f"{person.team.slug}-{purpose}", purpose)
    trained = _turn(line, base, frozen, task)
    event = record("test.happened", subject=Subject("task", str(task.pk)), team=person.team.pk)
    own: dict[str, Any] = {"dataset": dataset.pk, "upload": upload.pk, "task": task.pk, "review": review.pk}
    own |= {"event": event.pk, "partialupload": partial.pk}
    giver = uploader or person
    whole = parts.begin(giver.team, size=10, filename="more.jsonl", purpose="fine-tune", actor=giver.user)
    own |= {"file": upload.file.pk, "fileinparts": whole.pk}
    text = f"start {SECRET} solve this {upload.pk}:"
    wrapper = Wrapper.objects.create(space=task.space, text=text, rows=12, upload=upload, example="line 1")
    own |= {
        "appeal": appeal.pk,
        "wrapper": wrapper.pk,
        "withdrawalreceipt": _receipt(person, dataset).pk,
    }
    own["sample"] = _sample(person).pk
    own |= _measured(person)
    key = person.user.api_keys.get(name="test").pk
    return World(person, {**own, **trained, "line": line.pk, "team": person.team.pk, "apikey": key})


def _sample(person: Person) -> Sample:
    """Of a program of the team: the whole team sees it."""
    row = {"messages": [{"role": "user", "content": f"{SECRET}: 1 + 1?"}], "item": {"reference": 2}, "grader": GRADER}
    rights = {"licence": "MIT", "consent_version": CONSENT_VERSION}
    return Sample.objects.create(
        team=person.team, source="program", row=row, asked_as="champion", version="shared/v1", answer=SECRET, **rights
    )


def _measured(person: Person) -> dict[str, int]:
    """An eval with a run over one row."""
    criterion = {"key": "0", "name": SECRET, "grader": GRADER}
    made = Eval.objects.create(team=person.team, name=SECRET, item_schema={}, criteria=[criterion])
    source = {"type": "jsonl", "source": {"type": "file_content"}}
    run = EvalRun.objects.create(eval=made, name=SECRET, source=source, state="succeeded", total=1, passed=1)
    result = {"key": "0", "outcome": "correct", "score": 1.0, "reason": SECRET}
    item = EvalItem.objects.create(run=run, position=0, item={"reference": SECRET}, results=[result], status="pass")
    return {"eval": made.pk, "evalrun": run.pk, "evalitem": item.pk}


def _receipt(person: Person, dataset: Dataset) -> WithdrawalReceipt:
    """As a withdrawal of nothing more than was there would leave it; the tasks stay for the other tests."""
    subject = Subject("dataset", str(dataset.pk))
    data = {"receipt_digest": "6" * 64, "tasks_digest": "7" * 64}
    return WithdrawalReceipt.objects.create(
        team=person.team,
        dataset=dataset,
        reason=f"{SECRET} was wrong.",
        withdrawn_by=person.user,
        finished_at=timezone.now(),
        event=record("dataset.withdrawal", subject=subject, team=person.team.pk, data=data),
    )


def _turn(line: Line, base: ModelVersion, frozen: DatasetVersion, task: Task) -> dict[str, int]:
    body = msgspec.to_builtins(mixing.Recipe())
    recipe = Recipe.objects.create(line=line, name="all", body=body)
    mixture = Mixture.objects.create(recipe=recipe, body=body, seed=0, digest="1" * 64, size=1)
    mixture.dataset_versions.add(frozen)
    MixtureEntry.objects.create(mixture=mixture, position=0, task=task)
    run = TrainingRun.objects.create(line=line, start=base, dataset_version=frozen, spec={}, state="succeeded")
    RunMetric.objects.create(run=run, step=1, data={"reward_mean": 0.5})
    RunSample.objects.create(run=run, step=1, data={"prompt": task.prompt, "completion": "7"})
    version = ModelVersion.objects.create(line=line, number=1, digest="2" * 64, parent=base, run=run, origin="run")
    suite = SuiteVersion.objects.create(line=line, name="sums", number=1, digest="3" * 64, item_count=1)
    SuiteItem.objects.create(suite=suite, position=0, task=task)
    evaluation = Evaluation.objects.create(
        line=line, candidate=version, champion=base, sampling={}, policy={}, policy_digest="4" * 64, state="succeeded"
    )
    evaluation.suites.add(suite)
    told = SECRET if line.purpose == "expert" else "the newspaper"  # a shared line's suites are told to everybody
    rotated = {"line": line, "name": "sums", "suite": suite, "reason": f"{told} quoted it."}
    rotation = SuiteRotation.objects.create(**rotated, looks=20, wanted=1, retired=1, reserve=0, sealed=1)
    exam = imported_suites.create(
        line, f"exam of {line.slug}", source=told, licence="CC0-1.0", revision="1", actor=None
    )
    report = GateReport.objects.create(
        line=line,
        evaluation=evaluation,
        verdict="HOLD",
        sentence="The candidate is not better.",
        decision={},
        flips=[{"prompt": task.prompt}],
        policy_digest="4" * 64,
    )
    schedule = Schedule.objects.create(line=line, recipe=recipe, cron="0 3 * * *", decided_until=timezone.now())
    Firing.objects.create(schedule=schedule, due_at=timezone.now(), outcome="skipped", reason="Too early.")
    check = DifficultyCheck.objects.create(
        line=line, version=base, recipe=recipe, space=task.space, sampling={}, state="succeeded"
    )
    measure = {"space": task.space, "version": base, "model": base.digest, "sampling": "5" * 32}
    PassRate.objects.create(
        **measure, content=task.content_digest, task=task.pk, answers=8, graded=8, passes=0, reward=0
    )
    hook = Webhook.objects.create(team=line.team, name=SECRET, url="https://example.com", types=["run.failed"])
    message = json.dumps({"type": "run.failed", "timestamp": "", "data": {"sentence": SECRET}})
    told = Delivery.objects.create(hook=hook, type="run.failed", body=message, due_at=timezone.now())
    made: dict[str, Any] = {
        "difficultycheck": check,
        "recipe": recipe,
        "mixture": mixture,
        "trainingrun": run,
        "modelpermission": ModelPermission.objects.create(version=version, team=line.team),
        "modelversion": version,
        "suiteversion": suite,
        "suiterotation": rotation,
        "importedsuite": exam,
        "evaluation": evaluation,
        "gatereport": report,
        "schedule": schedule,
        "webhook": hook,
        "delivery": told,
    }
    return {name: row.pk for name, row in made.items()}
