"""Freezing the held-out suites of a line: one per domain, from the sealed split of its space."""

from collections.abc import Container, Iterable
from typing import Any

from django.db import transaction
from django.db.models import Max

from tasks.models import Task
from tasks.models.events import Subject, record
from tasks.services import heldout
from tasks.states import Split, TaskState
from tasks.types import Message
from trainer.contract import EvalItem
from trainer.evaluation.suites import SealedTask, choose, graders_digest, suite_digest
from trainer.models import Line, SuiteItem, SuiteVersion
from trainer.services import rows

FEWEST = 20  # fewer sealed tasks of a domain are no suite: they could not carry an interval
MOST = 20_000


@transaction.atomic
def freeze(line: Line, sizes: dict[str, int] | None = None) -> list[SuiteVersion]:
    """The line's current suites. What is sealed has not changed: the same versions again.

    `sizes` (from planning) limits how many items of a domain are used.
    """
    Line.objects.select_for_update().get(pk=line.pk)
    frozen = []
    for domain, count in available(line).items():
        size = min((sizes or {}).get(domain, 0) or count, MOST)
        frozen.append(_freeze_domain(line, domain, size))
    return frozen


def available(line: Line) -> dict[str, int]:
    """Approved sealed tasks per domain, of domains with enough for a suite."""
    counts: dict[str, set[str]] = {}
    for domain, key in _sealed(line).values_list("domain", "exact_key"):
        counts.setdefault(domain or rows.GENERAL, set()).add(key)
    return {domain: len(keys) for domain, keys in sorted(counts.items()) if len(keys) >= FEWEST}


def items(suite: SuiteVersion, *, but: Container[int] = ()) -> Iterable[EvalItem]:
    """In the suite's order, without the tasks `but`."""
    ordered = suite.items.order_by("position").values_list("task_id", flat=True)
    pks = [pk for pk in ordered if pk not in but]
    return (rows.eval_item(task, suite.name) for task in rows.in_order(pks))


def digests(suite: SuiteVersion) -> tuple[str, str]:
    """Of the items and of their graders, computed from the rows as they are now."""
    now = list(items(suite))
    return suite_digest(now), graders_digest(now)


def _sealed(line: Line) -> Any:
    return Task.objects.filter(space_id=line.team_id, split=Split.SEALED, state=TaskState.APPROVED)


def _freeze_domain(line: Line, domain: str, size: int) -> SuiteVersion:
    chosen = [int(key) for key in choose(_candidates(line, domain), size=size, seed=line.pk)]
    return _frozen(line, domain, chosen)


@transaction.atomic
def extend(suite: SuiteVersion, size: int) -> SuiteVersion:
    """The suite with more sealed items behind its own, up to `size` of them; itself where nothing is to be added."""
    has = list(suite.items.order_by("position").values_list("task_id", "task__exact_key"))
    kept, known = [pk for pk, _ in has], {key for _, key in has}
    others = [task for task in _candidates(suite.line, suite.name) if task.exact_key not in known]
    lacking = min(size, MOST) - len(kept)
    if lacking <= 0 or not others:
        return suite
    return _frozen(suite.line, suite.name, [*kept, *map(int, choose(others, size=lacking, seed=suite.line_id))])


def _candidates(line: Line, domain: str) -> list[SealedTask]:
    sealed = _sealed(line).filter(domain__in=[domain, ""] if domain == rows.GENERAL else [domain])
    return [
        SealedTask(key=str(pk), exact_key=key, family=str(family or ""))
        for pk, key, family in sealed.values_list("pk", "exact_key", "family").iterator(chunk_size=10_000)
    ]


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
    asked = Task.objects.filter(pk__in=chosen).values_list("messages", flat=True)
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
