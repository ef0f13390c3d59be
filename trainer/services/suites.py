"""Freezing the held-out suites of a line: one a domain, from the sealed split of its space, and one an imported file.

Rows that came as a file form the suite of their own name, for their own line, and are in no domain's suite. A dataset's
held-out rows are a suite as well, beside their domain's, where the line's policy names it: dataset:TEAM/SLUG.
"""

from collections.abc import Collection, Container, Iterable, Mapping

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, QuerySet

from tasks.models import Dataset, DatasetTask, DatasetVersionTask, Task
from tasks.models.events import Subject, record
from tasks.services import heldout
from tasks.states import Split, TaskState
from tasks.types import Message
from trainer.contract import EvalItem
from trainer.evaluation.policy import policy_from
from trainer.evaluation.suites import SealedTask, choose, graders_digest, suite_digest
from trainer.models import ImportedSuite, Line, SuiteItem, SuiteVersion, TrainingRun
from trainer.services import rows
from trainer.states import LinePurpose

FEWEST = 20  # fewer sealed tasks of a domain are no suite: they could not carry an interval
MOST = 20_000
OF_DATASET = "dataset:"


@transaction.atomic
def freeze(
    line: Line, sizes: dict[str, int] | None = None, *, without: Mapping[str, Collection[str]] | None = None
) -> list[SuiteVersion]:
    """The line's current suites. What is sealed has not changed: the same versions again.

    `sizes` (from planning) limits how many items of a suite are used; `without`: exact keys by suite that are left out.
    """
    Line.objects.select_for_update().get(pk=line.pk)
    frozen = []
    for name, count in available(line, without=without).items():
        size = min((sizes or {}).get(name, 0) or count, MOST)
        frozen.append(_freeze(line, name, size, (without or {}).get(name, ())))
    return frozen


def available(line: Line, *, without: Mapping[str, Collection[str]] | None = None) -> dict[str, int]:
    """Approved sealed prompts per suite, of suites with enough of them."""
    counts: dict[str, set[str]] = {}
    imported = set(line.imported_suites.values_list("name", flat=True))
    for domain, key in _sealed(line).values_list("domain", "exact_key"):
        counts.setdefault(domain or rows.GENERAL, set()).add(key)
    found = {name: keys for name, keys in counts.items() if name not in imported}
    found |= {name: {task.exact_key for task in candidates(line, name)} for name in {*imported, *_datasets_of(line)}}
    left = {name: len(keys.difference((without or {}).get(name, ()))) for name, keys in sorted(found.items())}
    return {name: count for name, count in left.items() if count >= FEWEST}


def items(suite: SuiteVersion, *, but: Container[int] = ()) -> Iterable[EvalItem]:
    """In the suite's order, without the tasks `but`."""
    ordered = suite.items.order_by("position").values_list("task_id", flat=True)
    pks = [pk for pk in ordered if pk not in but]
    return (rows.eval_item(task, suite.name) for task in rows.in_order(pks))


def stand(frozen: Iterable[SuiteVersion]) -> bool:
    """Whether every item of them is held out still, as it was frozen."""
    found = list(frozen)
    items = SuiteItem.objects.filter(suite__in=found)
    held = items.filter(task__split=Split.SEALED, task__state=TaskState.APPROVED)
    return items.count() == held.count() and all(digests(suite)[0] == suite.digest for suite in found)


def digests(suite: SuiteVersion) -> tuple[str, str]:
    """Of the items and of their graders, computed from the rows as they are now."""
    now = list(items(suite))
    return suite_digest(now), graders_digest(now)


def of_name(line: Line, name: str, split: Split = Split.SEALED) -> QuerySet[Task]:
    """Approved tasks of which the suite of this name is made: of a domain, or of the file that was brought as it."""
    own = _approved(line, split)
    if name.startswith(OF_DATASET):
        dataset = dataset_of(line, name)
        return _of_domains(line, own).filter(memberships__dataset=dataset).distinct() if dataset else own.none()
    imported = ImportedSuite.objects.filter(line=line, name=name).first()
    if imported is not None:
        return own.filter(pk__in=imported.dataset.memberships.values("task")) if imported.registered else own.none()
    return _of_domains(line, own).filter(domain__in=[name, ""] if name == rows.GENERAL else [name])


def dataset_of(line: Line, name: str) -> Dataset | None:
    """The dataset whose held-out rows a suite of this name is made of, if it brings rows to the line's space."""
    team, _, slug = name.removeprefix(OF_DATASET).partition("/")
    return Dataset.objects.filter(space_id=line.team_id, team__slug=team, slug=slug, held_out=False).first()


def _datasets_of(line: Line) -> set[str]:
    policy = policy_from(line.policy)
    named = {policy.target, *(guard.suite for guard in policy.guards), *policy.invariants}
    return {name for name in named if name.startswith(OF_DATASET)}


def candidates(line: Line, name: str) -> list[SealedTask]:
    return [
        SealedTask(key=str(pk), exact_key=key, family=str(family or ""))
        for pk, key, family in of_name(line, name).values_list("pk", "exact_key", "family").iterator(chunk_size=10_000)
    ]


def named_otherwise(line: Line, name: str, tasks: Collection[int]) -> set[int]:
    """Of these tasks the sealed ones that belong to a suite of another name, of whichever line of the space."""
    sealed = _approved(line, Split.SEALED).filter(pk__any_of=list(tasks))
    own = of_name(line, name).filter(pk__any_of=list(tasks))
    return {*sealed.values_list("pk", flat=True)} - {*own.values_list("pk", flat=True)}


def _sealed(line: Line) -> QuerySet[Task]:
    return _of_domains(line, _approved(line, Split.SEALED))


def _approved(line: Line, split: Split) -> QuerySet[Task]:
    """Without what a team's runs on whole files were trained on, or chose their checkpoints by, whatever its split:
    nothing would be held out there. In the pool nobody's private run takes items from the gate."""
    tasks = Task.objects.filter(space_id=line.team_id, split=split, state=TaskState.APPROVED)
    if line.purpose == LinePurpose.SHARED:
        return tasks
    frozen = DatasetVersionTask.objects.filter(task=OuterRef("pk"))
    trained = frozen.filter(version__runs__training_file__isnull=False)
    chose = TrainingRun.objects.filter(validation_version__isnull=False).values("validation_version")
    validated = frozen.filter(version__in=chose)
    return tasks.exclude(Exists(trained)).exclude(Exists(validated))


def _of_domains(line: Line, tasks: QuerySet[Task]) -> QuerySet[Task]:
    """Without what came as a file for a suite of its own."""
    held_out = list(Dataset.objects.filter(space_id=line.team_id, held_out=True).values_list("pk", flat=True))
    if not held_out:
        return tasks
    return tasks.exclude(Exists(DatasetTask.objects.filter(dataset__in=held_out, task=OuterRef("pk"))))


def _freeze(line: Line, name: str, size: int, without: Collection[str]) -> SuiteVersion:
    offered = [task for task in candidates(line, name) if task.exact_key not in without]
    return _frozen(line, name, [int(key) for key in choose(offered, size=size, seed=line.pk)])


@transaction.atomic
def extend(suite: SuiteVersion, size: int, *, without: Collection[str] = ()) -> SuiteVersion:
    """The suite with more sealed items behind its own, up to `size` of them; itself where nothing is to be added.

    `without`: exact keys that are left out."""
    has = list(suite.items.order_by("position").values_list("task_id", "task__exact_key"))
    kept, known = [pk for pk, _ in has], {key for _, key in has}
    others = [
        task
        for task in candidates(suite.line, suite.name)
        if task.exact_key not in known and task.exact_key not in without
    ]
    lacking = min(size, MOST) - len(kept)
    if lacking <= 0 or not others:
        return suite
    return _frozen(suite.line, suite.name, [*kept, *map(int, choose(others, size=lacking, seed=suite.line_id))])


def _frozen(line: Line, domain: str, chosen: list[int]) -> SuiteVersion:
    digest = suite_digest([rows.eval_item(task, domain) for task in rows.in_order(chosen)])
    existing = SuiteVersion.objects.filter(line=line, name=domain, digest=digest).first()
    if existing is not None:
        return existing
    last = SuiteVersion.objects.filter(line=line, name=domain).aggregate(last=Max("number"))["last"] or 0
    suite = SuiteVersion.objects.create(line=line, name=domain, number=last + 1, digest=digest, item_count=len(chosen))
    SuiteItem.objects.bulk_create(
        (SuiteItem(suite=suite, position=i, task_id=pk) for i, pk in enumerate(chosen)), batch_size=5000
    )
    # What a rotation has retired is in a further look still, and held out no more.
    asked = Task.objects.filter(pk__in=chosen, split=Split.SEALED).values_list("messages", flat=True)
    prompts = ([Message(**message) for message in messages] for messages in asked.iterator(chunk_size=1000))
    heldout.register(line.team, digest, f"{line.slug}/{suite.name} v{suite.number}", prompts)
    record(
        "suite.frozen",
        subject=Subject("suiteversion", str(suite.pk)),
        team=line.team_id,
        actor=None,
        data={"name": domain, "number": suite.number, "digest": digest, "items": len(chosen)},
    )
    return suite
