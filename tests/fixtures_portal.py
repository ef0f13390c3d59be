"""A portal with something on every page: two teams, a pool with conflicts and proofs, a line with two champions.

Data-side rows go through the real services; what an engine would write is made up, and judged by the real gate.
"""

import hashlib
import json
import math
import random
from dataclasses import dataclass, replace
from datetime import time, timedelta
from typing import Any

import msgspec
import numpy as np
from django.utils import timezone

from tasks.models import Dataset, DatasetVersion, Sample, Task, Team, Upload, User, WithdrawalReceipt, Wrapper
from tasks.models.events import seal
from tasks.services import (
    accounts,
    appeals,
    datasets,
    leases,
    mapping,
    reviews,
    samples,
    uploads,
    withdrawals,
    wrapping,
)
from tasks.services.importing import import_upload
from tasks.services.licences import CONSENT_VERSION
from tasks.services.proving import prove_upload
from tasks.services.samples import Told
from tasks.states import Role, Split, UploadState
from trainer import hacking, news
from trainer.contract import Report, Rollout
from trainer.engine import rollouts
from trainer.evaluation.costs import Lengths
from trainer.evaluation.decision import Digests
from trainer.evaluation.exposure import Exposure
from trainer.evaluation.gates import decide
from trainer.evaluation.policy import GatePolicy, Guard
from trainer.evaluation.scorer_gap import GapAtStep
from trainer.evaluation.scoring import SuiteScores, side_of, suite_of
from trainer.hacking import Row, Said
from trainer.models import (
    Alias,
    AliasMove,
    AnsweredSuite,
    BaseBuild,
    Delivery,
    DeliveryTry,
    DifficultyCheck,
    Eval,
    EvalItem,
    EvalRun,
    Evaluation,
    Firing,
    GateReport,
    Line,
    MixtureEntry,
    ModelVersion,
    PassRate,
    Recipe,
    RunAlarm,
    RunCheckpoint,
    RunMetric,
    RunSample,
    SuiteItem,
    SuiteRotation,
    SuiteVersion,
    TrainingRun,
)
from trainer.news import News
from trainer.runspec import RunSpec
from trainer.services import (
    consequences,
    credit,
    difficulty,
    eval_running,
    eval_runs,
    evals,
    file_runs,
    imported_suites,
    recipes,
    schedules,
    webhooks,
)
from trainer.services.launching import path_of
from trainer.services.slicing import slices_of
from trainer.states import DeliveryState

PASSWORD = "correct-horse-battery"
NUMBER = {"type": "number"}
ANY_NUMBER = {"type": "regex", "pattern": "[0-9]"}
DOMAINS = ("arithmetic", "maximum", "reverse")


@dataclass(frozen=True)
class Portal:
    """Who is there and what the tests look at."""

    contributor: User
    reviewer: User
    operator: User
    stranger: User
    team: Team
    private: Dataset
    contributed: Dataset
    upload: Upload
    unmapped: Upload
    line: Line
    run: TrainingRun
    going: TrainingRun
    failed: TrainingRun
    promoted: GateReport
    held: GateReport
    recipe: Recipe
    receipt: WithdrawalReceipt
    measured: EvalRun
    on_file: TrainingRun | None = None  # of with_runs_on_files
    validating: TrainingRun | None = None


def seed() -> Portal:
    people = _people()
    contributor, reviewer, operator, stranger, team, second = people
    contributed = _dataset(team, "Everyday arithmetic", contributor, contributed=True, domain="arithmetic")
    upload = _imported(contributed, _sums(140, seed=1) + _broken() + _conflicting(), contributor, "sums.jsonl")
    other = _dataset(second, "Word puzzles", operator, contributed=True, domain="reverse")
    _imported(other, _words(60) + _maxima(50), operator, "puzzles.jsonl")
    private = _dataset(team, "House style", contributor, contributed=False, domain="maximum")
    _imported(private, _maxima(36, seed=5) + _waiting(), contributor, "house.jsonl")
    unmapped = _unmapped(private, contributor)
    _reviewed(reviewer)
    _found_and_appealed(contributed, contributor)
    _wrapped(upload, reviewer)
    line, recipe, run, going, failed, promoted, held = _models(operator, team)
    _told(line, operator)
    _collected(upload, contributor)
    _suited(line, held, operator)
    receipt = _withdrawn(contributed, contributor)
    measured = _evaluated(team, contributor, run.version)
    seal()
    return Portal(
        contributor, reviewer, operator, stranger, team, private, contributed, upload, unmapped, line, run, going,
        failed, promoted, held, recipe, receipt, measured,
    )  # fmt: skip


def _evaluated(team: Team, contributor: User, version: ModelVersion) -> EvalRun:
    """An eval whose newest run is under way, one that failed, and one that is through: that one is returned."""
    schema = {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question", "answer"]}
    exact = {"type": "string_check", "name": "exactly the number", "operation": "eq"}
    criteria = [
        {**exact, "input": "{{ sample.output_text }}", "reference": "{{ item.answer }}"},
        {"type": "number", "name": "the number somewhere", "reference": "{{ item.answer }}"},
    ]
    measure = evals.create(team, actor=contributor, name="Sums of invoices", item_schema=schema, criteria=criteria)
    evals.create(team, actor=contributor, item_schema=schema, criteria=criteria[:1])

    def run(name: str, count: int) -> EvalRun:
        said = ["{}", "It is {}.", "{}", "{} or more", "I do not know."]
        rows = [
            {
                "item": {
                    "question": f"An invoice has items of {n} and {2 * n} euros. What is due?",
                    "answer": str(3 * n),
                },
                "sample": {"output_text": said[n % 5].format(3 * n)},
            }
            for n in range(11, 11 + count)
        ]
        source = {"type": "jsonl", "source": {"type": "file_content"}}
        return eval_runs.start(measure, actor=contributor, name=name, source=source, rows=rows)

    done, broken, going = run("nightly", 60), run("with a schema", 4), run("of the new model", 40)
    for one in (done, broken, going):
        eval_running.run_eval(one.pk)
    question = [{"role": "user", "content": "What is due?"}]
    asked = {"version": version, "model": version.name, "usage": _SPENT}
    EvalRun.objects.filter(pk=done.pk).update(**asked)
    item = done.items.get(position=1)
    EvalItem.objects.filter(pk=item.pk).update(answer={**item.answer, "messages": question})
    fault = {"code": "unsupported_value", "sentence": "response_format is not built: leave it out."}
    EvalRun.objects.filter(pk=broken.pk).update(state="failed", error=fault, **asked)
    now = timezone.now()
    EvalRun.objects.filter(pk=going.pk).update(
        state="running", passed=9, failed=7, errored=2, finished_at=None, lease_until=now + timedelta(hours=1), **asked
    )
    Eval.objects.filter(pk=measure.pk).update(metadata={"usecase": "invoices"})
    done.refresh_from_db()
    return done


_SPENT = {"shared/v1": {"calls": 60, "prompt_tokens": 1840, "completion_tokens": 412}}


def _suited(line: Line, report: GateReport, operator: User) -> None:
    """A rotation, a suite that waits for its file, and a report that was one look too many."""
    suite = SuiteVersion.objects.get(line=line, name="arithmetic")
    held = Task.objects.filter(space=line.team, domain="arithmetic", split=Split.SEALED, state="approved").order_by(
        "pk"
    )
    SuiteItem.objects.bulk_create(SuiteItem(suite=suite, position=n, task=task) for n, task in enumerate(held))
    counts = {"looks": 20, "carried": 4, "wanted": 80, "retired": 64, "reserve": 24, "sealed": 40}
    SuiteRotation.objects.create(line=line, name=suite.name, suite=suite, reason="Its looks were spent.", **counts)
    about = {"source": "the school at the corner", "licence": "CC-BY-4.0", "revision": "2026-11"}
    imported_suites.create(line, "exam", grader=NUMBER, actor=operator, **about)
    exposure = [
        Exposure("arithmetic", 23, 20, ["Nothing of arithmetic can be replaced: approve more tasks."]),
        Exposure("maximum", 7, 20),
    ]
    told = msgspec.to_builtins(exposure)
    Evaluation.objects.filter(pk=report.evaluation_id).update(exposure=told)
    GateReport.objects.filter(pk=report.pk).update(decision={**report.decision, "exposure": told})


def _people() -> tuple[User, User, User, User, Team, Team]:
    contributor, reviewer, operator, stranger = (
        User.objects.create_user(name, password=PASSWORD) for name in ("carla", "rita", "otto", "sven")
    )
    team = accounts.create_team("Carla's lab", actor=contributor)
    second = accounts.create_team("Puzzle club", actor=operator)
    accounts.create_team("Elsewhere", actor=stranger)
    pool = accounts.pool()
    accounts.join(pool, reviewer, Role.REVIEWER, actor=None)
    accounts.join(pool, operator, Role.OPERATOR, actor=None)
    accounts.create_key(team, contributor, "importer", ["read", "write"], actor=contributor)
    return contributor, reviewer, operator, stranger, team, second


def _dataset(team: Team, name: str, actor: User, *, contributed: bool, domain: str) -> Dataset:
    rights = {"visibility": "contributed", "licence": "CC-BY-4.0", "consent_version": CONSENT_VERSION}
    return datasets.create(team, name, actor=actor, domain=domain, **(rights if contributed else {}))


def _imported(dataset: Dataset, lines: list[str], actor: User, filename: str) -> Upload:
    body = "\n".join(lines).encode()
    upload, _ = uploads.receive(dataset, [body], filename=filename, actor=actor)
    import_upload(upload.pk)
    prove_upload(upload.pk)
    upload.refresh_from_db()
    return upload


def _unmapped(dataset: Dataset, actor: User) -> Upload:
    """A table whose columns nobody knows: it waits for its mapping."""
    rows = [f'"How much is {n} + {n}?",{2 * n},"It is {2 * n}.",sums' for n in range(8)]
    body = "\n".join(["Frage,Antwort,Loesung,Thema", *rows]).encode()
    upload, _ = uploads.receive(dataset, [body], filename="fragen.csv", actor=actor)
    leases.claim(Upload, upload.pk, UploadState.RECEIVED, UploadState.IMPORTING)
    upload.refresh_from_db()
    mapping.look(upload)
    upload.refresh_from_db()
    return upload


def _sums(count: int, *, seed: int) -> list[str]:
    draw = random.Random(seed)
    pairs = [(draw.randint(10, 99), draw.randint(10, 99)) for _ in range(count)]
    return [json.dumps({"prompt": f"Compute {a} + {b}.", "reference": a + b, "grader": NUMBER}) for a, b in pairs]


def _conflicting() -> list[str]:
    return [json.dumps({"prompt": "Compute 17 + 25.", "reference": answer, "grader": NUMBER}) for answer in (42, 43)]


def _broken() -> list[str]:
    return [
        '{"prompt": "Compute 3 + 4.", "reference": ',
        json.dumps({"reference": 4, "grader": NUMBER}),
        json.dumps({"prompt": "Compute 5 + 5.", "grader": {"type": "numbr"}, "reference": 10}),
        json.dumps({"prompt": "Compute 6 + 5.", "grader": NUMBER}),
        json.dumps({"prompt": "=Compute 8 + 5.", "reference": "thirteen", "grader": NUMBER}),
        json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
    ]


def _words(count: int) -> list[str]:
    draw = random.Random(3)
    words = ["".join(draw.choices("abcdefgh", k=5)) for _ in range(count)]
    grader = {"type": "set_match"}
    return [
        json.dumps({"prompt": f"Reverse the string {word}.", "reference": [word[::-1]], "grader": grader})
        for word in words
    ]


def _maxima(count: int, *, seed: int = 4) -> list[str]:
    draw = random.Random(seed)
    triples = [[draw.randint(10, 99) for _ in range(3)] for _ in range(count)]
    return [
        json.dumps(
            {
                "prompt": f"Which is largest: {a}, {b} or {c}?",
                "reference": max(a, b, c),
                "grader": NUMBER,
                "domain": "maximum",
            }
        )
        for a, b, c in triples
    ]


def _waiting() -> list[str]:
    return [json.dumps({"prompt": f"Name a word with {n} letters.", "reference": n}) for n in range(3, 8)]


def _reviewed(reviewer: User) -> None:
    waiting = Task.objects.filter(space__is_system=True, state="proved").order_by("pk")
    first = list(waiting[:3])
    for task in first[:2]:
        reviews.approve(task, reviewer=reviewer, note="clear")
    reviews.reject(first[2], reviewer=reviewer, reason_code="unclear", note="Say which unit.")
    most = waiting.values_list("pk", flat=True)[: waiting.count() - 25]
    reviews.bulk(Task.objects.filter(pk__in=list(most)), "approved", reviewer=reviewer)


def _found_and_appealed(dataset: Dataset, contributor: User) -> None:
    """A task with findings of several kinds, and a rejection that its contributor thinks wrong."""
    own = Task.objects.filter(memberships__dataset=dataset)
    appeals.ask_for_task(
        own.get(state="rejected", reason_code="unclear"), note="No unit is asked for.", actor=contributor
    )
    proved = Task.objects.filter(space__is_system=True, state="proved").earliest("pk")
    first = own.filter(state="approved").earliest("pk")
    for task in (proved, own.filter(state="approved").latest("pk")):
        found = {"field": "messages[0].content", "start": 0, "end": 7}
        task.findings.create(kind="near_duplicate", rule="near", other=first.pk, similarity=0.91)
        task.findings.create(kind="personal", rule="phone_number", evidence=found)
        task.findings.create(kind="overlap", rule="grams", similarity=0.6, evidence={"shared": task.prompt[:20]})


def _wrapped(upload: Upload, reviewer: User) -> None:
    """Lines that uploads propose, and one of each decision."""
    space = upload.dataset.space
    for rows, text in ((118, "start solve this as a pirate would:"), (61, "end show every step")):
        Wrapper.objects.create(space=space, text=text, rows=rows, upload=upload, example="line 3")
    wrapping.add(space, "end", "Answer in one word", reviewer=reviewer)
    wrapping.rekey(space.pk)
    refused = Wrapper.objects.create(space=space, text="start compute", rows=140, upload=upload, example="line 1")
    wrapping.refuse(refused, reviewer=reviewer)


def _collected(upload: Upload, contributor: User) -> None:
    """Wrong answers of the playground and of a program that wait, and one that was sent long ago."""
    rights: dict[str, Any] = {"licence": "CC-BY-4.0", "consent": True, "actor": contributor}
    sums = Told({"prompt": "Compute 29 + 64.", "reference": 93, "domain": "arithmetic"}, "champion", "shared/v1", "83")
    word = {"prompt": "Reverse the string abcde.", "reference": "edcba"}
    spelt = Told(word, "shared/v1", "shared/v1", "edcab", score=0.0, feedback="A customer complained.")
    samples.collect(upload.team, [sums], source=Sample.Source.PLAYGROUND, **rights)
    samples.collect(upload.team, [spelt], source=Sample.Source.PROGRAM, **rights)
    Sample.objects.create(
        team=upload.team, collected_by=contributor, source="playground", asked_as="champion", version="shared/v0",
        licence="CC-BY-4.0", consent_version=CONSENT_VERSION, upload=upload, line=3, sent_at=timezone.now(),
    )  # fmt: skip


def _withdrawn(dataset: Dataset, contributor: User) -> WithdrawalReceipt:
    """One task, which three versions were trained on."""
    mixed = Task.objects.filter(memberships__dataset=dataset, pk__in=MixtureEntry.objects.values("task")).order_by("pk")
    reason = "It quotes a customer."
    return withdrawals.withdraw(mixed[5], actor=contributor, reason=reason, told=consequences.told)


# The model side, as an engine would have left it


def _models(operator: User, team: Team) -> tuple[Any, ...]:
    pool = accounts.pool()
    line = Line.objects.create(team=pool, slug="shared", name="Shared model", purpose="shared")
    BaseBuild.objects.create(line=line, source="local", state="succeeded", step=450, total_steps=450)
    recipe = recipes.create(
        line, "everything", {"weights": {"arithmetic": 2, "maximum": 1}, "cap_per_contributor": 0.7}, actor=operator
    )
    mixture = recipes.build(recipe, seed=7, actor=operator)
    versions = [_version(line, 0)]
    _crown(line, versions[0], None, "The base is the first champion.")
    reports = []
    for number, (gain, verdict_hint) in enumerate(((0.14, "PROMOTE"), (0.0, "HOLD"), (0.05, "PROMOTE")), start=1):
        run = _run(line, mixture, versions[0], "succeeded", seed=number)
        candidate = _version(line, number, run=run, parent=versions[0])
        report = _report(line, candidate, versions[0], gain=gain, fall=verdict_hint == "HOLD", seed=number)
        _credited(report, gain, number)
        reports.append(report)
        if report.verdict == "PROMOTE" and number == 1:
            _crown(line, candidate, report, report.sentence)
            versions.insert(0, candidate)
    _waits_for_credit(operator)
    going = _run(line, mixture, versions[0], "running", seed=9, steps=46)
    _alarmed(going)
    broken = _run(line, mixture, versions[0], "failed", seed=11, steps=8)
    TrainingRun.objects.filter(pk=broken.pk).update(
        error={
            "boundary": "training",
            "code": "loss_not_finite",
            "sentence": "The loss became NaN at step 8: start again with half the learning rate.",
        }
    )
    expert = Line.objects.create(team=team, slug="carlas-lab-house", name="House expert", purpose="expert")
    _crown(expert, _version(expert, 0), None, "The expert starts from shared/v1.")
    schedule = schedules.create(line, recipe, "0 3 * * 1-5", actor=operator, timezone="Europe/Berlin")
    now = timezone.now()
    for days, outcome, reason, run in (
        (2, "ran", "412 newly approved tasks since the last run.", reports[0].evaluation.candidate.run),
        (1, "skipped", "37 newly approved tasks; at least 100 are asked for.", None),
    ):
        due = now - timedelta(days=days)
        Firing.objects.create(schedule=schedule, due_at=due, outcome=outcome, reason=reason, run=run)
    _quiet_schedule(line, recipe, operator)
    _measured(line, operator)
    first_run = reports[0].evaluation.candidate.run
    first_run.report = msgspec.to_builtins(_hacking_report())
    first_run.directory = _answered(first_run)
    first_run.save(update_fields=["report", "directory"])
    return line, recipe, first_run, going, broken, reports[0], reports[1]


def _quiet_schedule(line: Line, recipe: Any, operator: User) -> None:
    """One that quiet hours have deferred, and one that is paused."""
    quiet: dict[str, Any] = {"quiet_from": time(22), "quiet_to": time(6), "timezone": "UTC"}
    schedule = schedules.create(line, recipe, "*/15 * * * *", actor=operator, min_new_tasks=500, min_hours=6, **quiet)
    until = timezone.now().replace(hour=6, minute=0, second=0, microsecond=0) + timedelta(days=1)
    Firing.objects.create(
        schedule=schedule, due_at=timezone.now() - timedelta(minutes=9), deferred_to=until, outcome="deferred",
        reason="Quiet hours until 06:00 (UTC): it is decided then.",
    )  # fmt: skip
    schedules.update(
        schedules.create(line, recipe, "0 3 * * 0", actor=operator, **quiet), actor=operator, enabled=False
    )


def _credited(report: GateReport, gain: float, seed: int) -> None:
    """As if many more of everybody's rows were held out than these few files have."""
    items = Task.objects.filter(space__is_system=True, state="approved").order_by("pk").values_list("pk", flat=True)
    drawn = _scores("everything", len(items), gain=gain, seed=seed)
    credit.measure(report, [suite_of("everything", [str(pk) for pk in items], drawn.sides)])


def _waits_for_credit(operator: User) -> None:
    """A contributor whose rows came after the last promotion."""
    team = accounts.create_team("Night school", actor=operator)
    late = _dataset(team, "Evening sums", operator, contributed=True, domain="arithmetic")
    DatasetVersion.objects.create(dataset=late, number=1, digest="e" * 64, task_count=9)


def _measured(line: Line, operator: User) -> None:
    """A recipe that mixes by difficulty, with the champion's rates for most of its tasks. No other recipe has them:
    it trains with a token limit of its own."""
    overrides = {"max_completion_tokens": 96}
    recipe = recipes.create(line, "teaching", {"difficulty": {}}, actor=operator, overrides=overrides)
    measure = difficulty.measure_of(recipe)
    assert measure is not None
    tasks = list(difficulty.tasks_of(recipe).values_list("pk", "content_digest"))[:-9]
    draw = random.Random(1)
    DifficultyCheck.objects.create(
        line=line, version=measure.version, recipe=recipe, space_id=measure.space, state="succeeded",
        sampling=msgspec.to_builtins(measure.sampling), asked=len(tasks), measured=len(tasks), ungradable=7,
        fault="The python grader (timeout): the grader took longer than 10 s.",
    )  # fmt: skip
    for pk, content in tasks:
        passes = draw.choices(range(9), [22, 9, 7, 6, 5, 6, 9, 14, 40])[0]
        PassRate.objects.create(
            space_id=measure.space, content=content, model=measure.version.digest, sampling=measure.drawn,
            version=measure.version, task=pk, answers=8, graded=8, passes=passes, reward=passes / 8,
        )  # fmt: skip


def _version(line: Line, number: int, *, run: Any = None, parent: Any = None) -> ModelVersion:
    digest = hashlib.sha256(f"{line.slug}/{number}".encode()).hexdigest()
    kl = {"mean": 1.93, "standard_error": 0.06, "n": 128} if run else None
    origin = f"run {run.pk}" if run else "built locally"
    return ModelVersion.objects.create(
        line=line, number=number, digest=digest, run=run, parent=parent, origin=origin, parameters=468_224,
        bytes=1_912_384, kl=kl,
    )  # fmt: skip


def _crown(line: Line, version: ModelVersion, report: Any, reason: str) -> None:
    old = line.alias("champion")
    Alias.objects.update_or_create(line=line, name="champion", defaults={"version": version})
    Alias.objects.get_or_create(line=line, name="anchor", defaults={"version": version})
    AliasMove.objects.create(line=line, name="champion", old=old, new=version, report=report, reason=reason[:500])


def _run(line: Line, mixture: Any, start: ModelVersion, state: str, *, seed: int, steps: int = 100) -> TrainingRun:
    now = timezone.now()
    ended = state in ("succeeded", "failed")
    run = TrainingRun.objects.create(
        line=line, mixture=mixture, start=start, state=state, spec=msgspec.to_builtins(RunSpec(seed=seed)),
        step=steps, total_steps=100, attempt=1 if ended else 2, phase="done" if ended else "training",
        started_at=now - timedelta(seconds=80), finished_at=now if ended else None, estimated_seconds=92,
        tokens=417_000, kl={"mean": 1.93, "standard_error": 0.06, "n": 128} if ended else None,
        peak_memory_bytes=690_000_000, lease_until=now + timedelta(hours=1),
        notes=[f"{mixture.size} tasks, 100 steps of 16 prompts × 8 answers: about 92 seconds."],
    )  # fmt: skip
    draw = random.Random(seed)
    RunMetric.objects.bulk_create(RunMetric(run=run, step=n, data=_metrics(n, draw)) for n in range(1, steps + 1))
    RunSample.objects.bulk_create(_sample(run, step, draw) for step in range(1, steps + 1, 9) for _ in range(4))
    return run


def with_runs_on_files(portal: Portal) -> Portal:
    """The same portal with two runs as the OpenAI API starts them, and the expert that they make."""
    on_file, validating = _on_files(portal.private, portal.line, portal.contributor)
    return replace(portal, on_file=on_file, validating=validating)


def _on_files(dataset: Dataset, line: Line, contributor: User) -> tuple[TrainingRun, TrainingRun]:
    """Runs as the OpenAI API starts them: one that has made a model, one whose file is on its way."""
    upload = dataset.uploads.filter(state=UploadState.IMPORTED).first()
    assert upload is not None
    asked = {"start_from": line.alias("champion"), "grader": NUMBER, "actor": contributor}
    done = file_runs.start(upload, suffix="house", metadata={"ticket": "HS-7"}, **asked)
    waiting = file_runs.start(dataset.uploads.filter(state=UploadState.UNMAPPED).get(), **asked)
    RunMetric.objects.bulk_create(
        RunMetric(run=done, step=step, data=_metrics(step, random.Random(step))) for step in (10, 20, 30)
    )
    RunCheckpoint.objects.bulk_create(RunCheckpoint(run=done, step=step) for step in (10, 20, 30))
    frozen = datasets.freeze_file(upload, actor=contributor)
    TrainingRun.objects.filter(pk=done.pk).update(state="succeeded", dataset_version=frozen, step=30, kept_step=20)
    _version(done.line, 1, run=done, parent=done.start)
    return TrainingRun.objects.get(pk=done.pk), waiting


def _told(line: Line, operator: User) -> None:
    """A webhook that is off, and one whose deliveries arrived, waited and failed."""
    types = ["run.failed", "gate.decided", "model.promoted"]
    address = "https://192.0.43.8/hooks/flywheel"
    pager, _ = webhooks.create(line.team, actor=operator, name="Pager", email="otto@example.com", types=types)
    webhooks.switch(pager, False, actor=operator)
    hook, _ = webhooks.create(line.team, actor=operator, name="Chat room", url=address, types=types, line=line)
    ends = [
        ("gate.decided", DeliveryState.DELIVERED, [(200, "")]),
        ("run.failed", DeliveryState.FAILED, [(500, "It answered 500.")] * 8),
        ("model.promoted", DeliveryState.PENDING, [(None, ""), (503, "It answered 503.")]),
    ]
    for kind, state, tries in ends:
        told = {"line": line.slug, "sentence": "Better by 3.1 pp on the target."}
        body = news.body(News(kind), timezone.now().isoformat(), told)
        delivery = Delivery.objects.create(
            hook=hook,
            type=kind,
            body=body,
            state=state,
            attempt=len(tries),
            tries=len(tries),
            due_at=timezone.now() + timedelta(minutes=30),
        )
        for number, (status, fault) in enumerate(tries, start=1):
            took = 84 * number if status else None  # the first of a killed worker
            log = {"milliseconds": took, "status": status, "fault": fault, "reply": "<h1>Hello</h1>" if status else ""}
            DeliveryTry.objects.create(delivery=delivery, number=number, **log)


def _hacking_report() -> Report:
    """Of sums with a grader that accepts a list of candidates."""
    said = Said("The sum is 42.", 6)
    rows = [
        Row(
            f"{n}",
            f"Compute {n} + {n + 25}.",
            "arithmetic",
            {"reference": str(2 * n + 25)},
            ANY_NUMBER,
            str(2 * n + 25),
            "42",
        )
        for n in range(10, 60)
    ]
    checks = hacking.inspect(
        rows, early=[said], late=[said], second_grader={**NUMBER, "reference": "{{ item.reference }}"}
    )
    return Report(checks, step=100, rows=len(rows))


def _answered(run: TrainingRun) -> str:
    """The files of the run's last steps."""
    directory = f"run-{run.pk:032x}"
    path_of(directory).mkdir(parents=True, exist_ok=True)
    draw = random.Random(2)
    for step in range(97, 101):
        samples = [_sample(run, step, draw).data for _ in range(12)]
        lines = [msgspec.convert({**data, "advantage": data["reward"] - 0.5}, Rollout) for data in samples]
        rollouts.write(path_of(directory) / "rollouts", step, lines)
    return directory


def _alarmed(run: TrainingRun) -> None:
    """Three warnings in a row, and an alarm that sent the run back."""
    sentence = "Entropy is at 0.24 nats a token, 22 % of what it was in the first steps."
    for step in (27, 28, 29):
        data = {"kind": "entropy_low", "level": "warn", "action": "none", "sentence": sentence}
        RunAlarm.objects.create(run=run, step=step, at=step, kind="entropy_low", data=data)
    data = {"kind": "entropy_low", "level": "stop", "action": "rolled_back", "sentence": sentence}
    RunAlarm.objects.create(run=run, step=30, at=30, kind="entropy_low", data=data)


def _metrics(step: int, draw: random.Random) -> dict[str, Any]:
    share = math.sqrt(step / 100)
    measured = step % 20 == 0 or step == 1
    estimate = {"standard_error": 0.021, "n": 96}
    return {
        "step": step,
        "total_steps": 100,
        "at": 0.0,
        "reward_mean": round(0.22 + 0.23 * share + draw.gauss(0, 0.02), 4),
        "entropy": round(1.21 - 0.42 * share + draw.gauss(0, 0.01), 4),
        "zero_spread_share": round(min(max(0.35 - 0.1 * share + draw.gauss(0, 0.04), 0), 1), 4),
        "clip_share": round(0.02 + 0.01 * draw.random(), 4),
        "completion_tokens_mean": round(5.2 + draw.gauss(0, 0.1), 2),
        "truncated_share": 0.0,
        "seconds_step": 0.81,
        "seconds_sampling": 0.42,
        "seconds_grading": 0.03,
        "reward_by_domain": {"arithmetic": round(0.3 + 0.2 * share, 3), "maximum": round(0.5 - 0.1 * share, 3)},
        "reward_by_grader": {"number": round(0.22 + 0.23 * share, 3)},
        "grading": _grading(share),
        "groups_drawn": 22,
        "groups_without_spread": 7,
        "groups_learned": 15,
        "prompts_resting": step // 9,
        "prompts_passed_over": step // 20,
        "sampler_gap": 0.0004,
        "gradient_norm": round(0.5 + 0.1 * draw.random(), 3),
        "learning_rate": 3e-4,
        "loss": round(draw.gauss(0, 0.01), 4),
        "tokens_per_second": 51_000.0,
        "tokens_seen": 4170 * step,
        "grader_error_share": 0.0,
        **({"kl": {"mean": 1.93 * share, "standard_error": 0.05, "n": 128}} if measured else {}),
        **({"validation_reward": {"mean": 0.21 + 0.2 * share, **estimate}} if measured else {}),
        **({"validation_grading": _grading(share)} if measured else {}),
    }


def _grading(share: float) -> dict[str, Any]:
    return {"answers": 88, "parts": {"format": round(0.6 + 0.3 * share, 3), "value": round(0.2 + 0.2 * share, 3)}}


def _sample(run: TrainingRun, step: int, draw: random.Random) -> RunSample:
    a, b = draw.randint(10, 99), draw.randint(10, 99)
    right = draw.random() < 0.4
    said = a + b if right else a + b - 10
    data = {
        "step": step,
        "key": "1",
        "domain": "arithmetic",
        "prompt": f"Compute {a} + {b}.",
        "completion": str(said),
        "reward": float(right),
        "advantage": 0.6 if right else -0.4,
        "reason": "Matches the reference." if right else f"Expected {a + b}, read {said}.",
    }
    return RunSample(run=run, step=step, data=data)


def _report(
    line: Line, candidate: ModelVersion, champion: ModelVersion, *, gain: float, fall: bool, seed: int
) -> GateReport:
    suites = [_scores(name, 320, gain=gain, seed=seed + n) for n, name in enumerate(DOMAINS[:2])]
    suites.append(_scores("reverse", 320, gain=-0.12 if fall else gain, seed=seed + 7))
    policy = GatePolicy(guards=tuple(Guard(suite=name) for name in DOMAINS), permutations=999)
    digests = Digests(
        policy=policy.digest(), champion=champion.digest, candidate=candidate.digest, sampling="5" * 64,
        suites={name: hashlib.sha256(name.encode()).hexdigest() for name in DOMAINS},
    )  # fmt: skip
    graded = {suite.suite: suite for suite in suites[:1]}  # by an independent grader, which sees the same
    decision = decide(policy, suites, expected=digests, found=digests, independent=graded, lengths=_lengths(seed))
    steps = [GapAtStep(step, 48, 0.3 + 0.005 * step, 0.31 + 0.004 * step) for step in range(0, 121, 12)]
    decision = msgspec.structs.replace(decision, slices=slices_of(suites, [], [], alpha=policy.alpha), gap_steps=steps)
    evaluation = Evaluation.objects.create(
        line=line, candidate=candidate, champion=champion, sampling={"answers_per_item": 4, "temperature": 1.0},
        policy=msgspec.to_builtins(policy), policy_digest=policy.digest(), state="succeeded", attempt=1, step=2560,
        total_steps=2560, phase="done", plan=_plan(),
    )  # fmt: skip
    for name in DOMAINS:
        suite, _ = SuiteVersion.objects.get_or_create(
            line=line, name=name, number=1, defaults={"digest": digests.suites[name], "item_count": 320}
        )
        evaluation.suites.add(suite)
        AnsweredSuite.objects.create(
            evaluation=evaluation, side="champion", suite=name, model_digest=champion.digest,
            items_digest=suite.digest, settings_digest="6" * 64,
            taken_from=Evaluation.objects.filter(line=line).exclude(pk=evaluation.pk).first(),
        )  # fmt: skip
    return GateReport.objects.create(
        line=line, evaluation=evaluation, verdict=decision.verdict, sentence=decision.sentence[:500],
        decision=msgspec.to_builtins(decision), flips=_flips(), policy_digest=policy.digest(),
    )  # fmt: skip


def _lengths(seed: int) -> Lengths:
    """A candidate whose answers are a twentieth longer."""
    champion = np.random.default_rng(seed).integers(2, 40, (960, 4)).astype(float)
    none_cut = np.zeros((960, 4))
    return Lengths(
        tuple(f"item{number}" for number in range(960)),
        {"champion": champion, "candidate": 1.05 * champion},
        {"champion": none_cut, "candidate": none_cut},
    )


def _scores(name: str, n: int, *, gain: float, seed: int) -> SuiteScores:
    """Bimodal items: most are nearly always or nearly never solved; `gain` moves the candidate's chances."""
    draw = np.random.default_rng(seed)
    chance_n = np.where(draw.random(n) < 0.3, 0.85, 0.05)
    champion_n_k = (draw.random((n, 4)) < chance_n[:, None]).astype(float)
    moved_n = np.clip(chance_n + gain, 0, 1)
    candidate_n_k = (draw.random((n, 4)) < moved_n[:, None]).astype(float)
    sides = {"champion": side_of(champion_n_k), "candidate": side_of(candidate_n_k)}
    return suite_of(name, [f"{name}-{i}" for i in range(n)], sides)


def _plan() -> dict[str, Any]:
    suites = [
        {"suite": name, "n": 320, "answers_per_item": 4, "power": 0.81, "minimal_effect": 0.031} for name in DOMAINS
    ]
    return {"suites": suites, "sentences": [f"{name}: 320 items × 4 answers." for name in DOMAINS]}


def _flips() -> list[dict[str, Any]]:
    kinds = ["regression"] * 4 + ["gain"] * 8
    return [
        {
            "suite": "arithmetic",
            "task": n,
            "prompt": f"Compute {20 + n} + {47 + n}.",
            "kind": kind,
            "champion": {"completion": str(67 + 2 * n), "reason": "Matches the reference.", "score": 1.0},
            "candidate": {"completion": str(57 + 2 * n), "reason": f"Expected {67 + 2 * n}.", "score": 0.0},
        }
        for n, kind in enumerate(kinds)
    ]


def sealed_prompts(portal: Portal) -> list[str]:
    return [task.prompt for task in Task.objects.filter(space=portal.line.team, split=Split.SEALED)[:5]]
