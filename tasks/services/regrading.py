"""A dataset changes to another grader: what the old one graded is proved again before it counts.

The verb changes the default at once and leaves the tasks to a job, which takes them chunk by chunk, each a transaction:
a kill at any moment loses at most the chunk under way. A task that was never approved takes the new grader itself. One
that was may stand in frozen versions, suites and mixtures, or belong to another dataset too, so it is never altered:
the dataset's rows move to a new task, and the old one is retired where nothing else holds it.

What a person has approved comes back for review, unless the space's policy lets proved tasks in. What a person has
rejected stays rejected, except for a weak grader.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from tasks import proof
from tasks.crash import crash_point
from tasks.graders import judges, registry
from tasks.models import Dataset, DatasetTask, DatasetVersionTask, Grader, GraderChange, Review, Task, User
from tasks.models.events import Subject, record
from tasks.models.moves import ids_digest
from tasks.preparation import content_digest_of
from tasks.services import graders, leases, rekeying
from tasks.services.access import require_role, who_brings
from tasks.services.copying import lock_space
from tasks.services.importing import add_counts, keep_issues
from tasks.services.waiting import at_line, clashing, prove_again, rows_of, set_reasons, to_conflict
from tasks.services.wake import wake
from tasks.states import ChangeState, TaskState
from tasks.types import Issue
from tasks.validation import check_against

CHUNK = 1000
CHANGED = "grader_changed"
RETIRED = "Its dataset has another grader now: a task with that grader has taken its place."
_OPEN = (TaskState.VALID, TaskState.CONFLICT, TaskState.PROVED, TaskState.UNPROVED, TaskState.APPROVED)
# What was rejected because of its grader, and may be right with another one
_ITS_GRADER = (
    proof.GOLD_FAILED,
    proof.GOLD_UNGRADABLE,
    proof.UNAVAILABLE,
    "grader_refused",
    CHANGED,
    Review.ReasonCode.WEAK_GRADER.value,
)
_UNFINISHED = (ChangeState.PENDING, ChangeState.CHANGING, ChangeState.FAILED)


def change_grader(dataset: Dataset, config: Mapping[str, Any], *, actor: User | None) -> GraderChange:
    """Give the dataset this grader, for what it holds too. A change still under way is superseded by this one."""
    require_role(actor, dataset.team, who_brings(dataset))
    graders.require_usable(config, dataset.space_id)
    return _change(dataset, graders.keep(config), actor)


@transaction.atomic
def _change(dataset: Dataset, grader: Grader, actor: User | None) -> GraderChange:
    lock_space(dataset.space_id)  # an import prepares rows with the default that it has read
    old = Dataset.objects.select_for_update().get(pk=dataset.pk).default_grader
    for before in GraderChange.objects.filter(dataset=dataset, state__in=_UNFINISHED):
        GraderChange.objects.advance(before.pk, ChangeState(before.state), ChangeState.SUPERSEDED, actor=actor)
    change = GraderChange.objects.create(dataset=dataset, old=old, new=grader, created_by=actor)
    Dataset.objects.filter(pk=dataset.pk).update(default_grader=grader)
    dataset.default_grader = grader
    data = {"old": None if old is None else old.digest, "grader": grader.digest, "type": grader.type}
    subject = Subject("dataset", str(dataset.pk))
    record("dataset.grader_changed", subject=subject, team=dataset.team_id, actor=actor, data=data)
    wake("change_grader", change.pk)
    wake("check_grader", dataset.pk)
    return change


def affected(dataset: Dataset) -> int:
    """How many tasks a change would send back to proof now."""
    now = [] if dataset.default_grader_id is None else [dataset.default_grader_id]
    return _tasks(dataset, [*_replaced(dataset), *now]).count()


def run(change_id: int) -> None:
    """Do a change, if nobody else does. Repeated or late calls change nothing."""
    attempt = leases.claim(GraderChange, change_id, ChangeState.PENDING, ChangeState.CHANGING)
    if attempt is None:
        poisoned = leases.poisoned(GraderChange, ChangeState.PENDING, ChangeState.CHANGING)
        poisoned.advance(change_id, ChangeState.CHANGING, ChangeState.FAILED, finished_at=timezone.now())
        return
    work = _Work(GraderChange.objects.select_related("dataset", "new").get(pk=change_id), attempt)
    try:
        while work.chunk():
            crash_point("regrade.after_chunk")
    except leases.FencedOff:
        return


def _replaced(dataset: Dataset) -> set[str]:
    """Digests of the graders that changes of this dataset have replaced, finished or not."""
    changes = GraderChange.objects.filter(dataset=dataset, old__isnull=False)
    return {str(digest) for digest in changes.values_list("old_id", flat=True).distinct()}


def _tasks(dataset: Dataset, old: Iterable[str]) -> QuerySet[Task]:
    """Tasks of the dataset with one of these graders that another one may change something for."""
    back = Q(state__in=_OPEN) | Q(state=TaskState.REJECTED, reason_code__in=_ITS_GRADER)
    here = DatasetTask.objects.filter(dataset=dataset, task=OuterRef("pk"))
    return Task.objects.filter(back, Exists(here), space=dataset.space_id, grader__in=list(old)).order_by("pk")


def _once_approved(tasks: Sequence[Task]) -> set[int]:
    """Tasks that versions, suites or mixtures may hold: approved now, or at some time."""
    pks = [task.pk for task in tasks]
    reviews = Review.objects.filter(task__in=pks, decision=Review.Decision.APPROVED)
    frozen = DatasetVersionTask.objects.filter(task__in=pks)
    now = {task.pk for task in tasks if task.approved_at or task.state == TaskState.APPROVED}
    return now.union(reviews.values_list("task_id", flat=True), frozen.values_list("task_id", flat=True))


class _Work:
    """One attempt at one change."""

    def __init__(self, change: GraderChange, attempt: int) -> None:
        self.pk, self.attempt = change.pk, attempt
        self.dataset, self.grader = change.dataset, change.new
        self.space: int = change.dataset.space_id
        self.after = 0  # id of the last task taken
        self.counts: Counter[str] = Counter()

    def chunk(self) -> bool:
        """Take the next tasks; False once there are none left and the change is done. What takes long is done before
        the space is locked."""
        rekeying.rekey(self.space)  # its copies are the newest tasks, and must be of the newest version
        checked = self._check(self._next())
        crash_point("regrade.checked")
        with transaction.atomic():
            lock_space(self.space)
            return self._chunk(checked)

    def _next(self) -> QuerySet[Task]:
        old = _replaced(self.dataset) - {self.grader.digest}
        found: QuerySet[Task] = _tasks(self.dataset, old).filter(pk__gt=self.after)[:CHUNK]
        return found

    def _check(self, tasks: Iterable[Task]) -> dict[int, list[Issue]]:
        """{task: why it does not give the new grader what that reads}."""
        with judges.for_team(self.space):
            return {task.pk: list(check_against(self.grader.config, task.item, 0)) for task in tasks}

    def _chunk(self, checked: Mapping[int, list[Issue]]) -> bool:
        held = leases.hold(GraderChange, self.pk, self.attempt, ChangeState.CHANGING)
        tasks = list(Task.objects.filter(pk__in=[task.pk for task in self._next()]).order_by("pk").select_for_update())
        if not all(task.pk in checked for task in tasks):
            return True  # others have come in the meantime: check those too
        self.counts = Counter()
        if not tasks and self.after == 0:
            return not GraderChange.objects.advance(
                self.pk,
                ChangeState.CHANGING,
                ChangeState.DONE,
                attempt=self.attempt,
                finished_at=timezone.now(),
                data=held.counts,
            )
        self.after = tasks[-1].pk if tasks else 0  # from the start once more: rows may have come behind us
        self._take(tasks, checked)
        counts = add_counts(held.counts, dict(self.counts))
        crash_point("regrade.before_commit")
        leases.keep(GraderChange, self.pk, self.attempt, ChangeState.CHANGING, counts=counts)
        return True

    def _take(self, chunk: Sequence[Task], checked: Mapping[int, list[Issue]]) -> None:
        """Of tasks that become one (two graders may have been replaced), the second waits for the last pass."""
        tasks = list({(task.exact_key, task.answer_digest): task for task in reversed(chunk)}.values())
        if not tasks:
            return
        twins = self._twins(tasks)
        shared = self._shared([task.pk for task in tasks])
        kept = shared | _once_approved(tasks)
        own = [task for task in tasks if task.pk not in twins and task.pk not in kept]
        copies = self._copy([task for task in tasks if task.pk not in twins and task.pk in kept])
        moved = {**twins, **copies}
        self._move_rows(moved, set(twins))
        self._retire([task for task in tasks if task.pk in moved and task.pk not in shared])
        back = self._take_over(own)
        back += self._revive(list(set(twins.values())))
        new = [*back, *copies.values()]
        issues = {**{task.pk: checked[task.pk] for task in own}, **{new: checked[old] for old, new in copies.items()}}
        rejected = self._reject({pk: found for pk, found in issues.items() if found})
        to_conflict(self.space, clashing([pk for pk in new if pk not in rejected]))
        prove_again([*(task.pk for task in own), *moved.values()], ask_anew=registry.asks_a_model(self.grader.config))
        self.counts.update(changed=len(own), copied=len(copies), twins=len(twins), rejected=len(rejected))

    def _twins(self, tasks: Sequence[Task]) -> dict[int, int]:
        """{task: the task that it would become, where that is there already}."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT w.id, twin.id FROM tasks_task w, LATERAL (
                       SELECT t.id FROM tasks_task t
                        WHERE t.space_id = w.space_id AND t.exact_key = w.exact_key
                          AND t.answer_digest = w.answer_digest
                          AND t.grader_id = %s AND t.state <> 'withdrawn' OFFSET 0) twin
                 WHERE w.id = ANY(%s)
                """,
                [self.grader.pk, [task.pk for task in tasks]],
            )
            return dict(cursor.fetchall())

    def _shared(self, pks: Sequence[int]) -> set[int]:
        """Tasks that other datasets hold too."""
        others = DatasetTask.objects.filter(task__in=pks).exclude(dataset=self.dataset)
        return set(others.values_list("task_id", flat=True))

    def _copy(self, tasks: Sequence[Task]) -> dict[int, int]:
        """{task: its copy with the new grader, valid and not yet proved}."""
        if not tasks:
            return {}
        columns = (
            "space_id, messages, item, gold, domain, metadata, exact_key, stripped_key, answer_digest,"
            " number_signature, template, bands, family, norm_version, split"
        )
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                INSERT INTO tasks_task ({columns}, state, reason, reason_code, grader_id, content_digest, created_at)
                SELECT {columns}, 'valid', '', %s, %s, decode(given.digest, 'hex'), now()
                  FROM unnest(%s::bigint[], %s::text[]) WITH ORDINALITY AS given (old, digest, n),
                       LATERAL (SELECT * FROM tasks_task t WHERE t.id = given.old OFFSET 0) t
                 ORDER BY given.n
                RETURNING id, exact_key, answer_digest
                """,  # noqa: S608
                [CHANGED, self.grader.pk, [task.pk for task in tasks], self._digests(tasks)],
            )
            made = {(key.hex, answer.hex): pk for pk, key, answer in cursor.fetchall()}
        copies = {task.pk: made[task.exact_key, task.answer_digest] for task in tasks}
        pks = list(copies.values())
        data = {"change": self.pk, "count": len(pks), "ids_digest": ids_digest(pks)}
        record("task.copied", subject=Subject("task", "*"), team=self.space, actor=None, data=data)
        return copies

    def _digests(self, tasks: Iterable[Task]) -> list[str]:
        return [content_digest_of(task.messages, task.item, task.gold, self.grader.pk) for task in tasks]

    def _move_rows(self, moved: Mapping[int, int], twins: set[int]) -> None:
        """The dataset's rows become rows of other tasks; of a twin that was there before, they are duplicates."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE tasks_datasettask m SET task_id = given.new, duplicate = m.duplicate OR given.twin
                  FROM unnest(%s::bigint[], %s::bigint[], %s::boolean[]) AS given (old, new, twin)
                 WHERE m.task_id = given.old AND m.dataset_id = %s
                """,
                [list(moved), list(moved.values()), [pk in twins for pk in moved], self.dataset.pk],
            )

    def _retire(self, tasks: Sequence[Task]) -> None:
        for old in {TaskState(task.state) for task in tasks} - {TaskState.REJECTED}:
            self._advance([task.pk for task in tasks if task.state == old], old, TaskState.REJECTED, RETIRED)

    def _take_over(self, tasks: Sequence[Task]) -> list[int]:
        """Give tasks the new grader where they are; those in conflict stay there. Returns what is valid now."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE tasks_task t SET grader_id = %s, content_digest = decode(given.digest, 'hex')
                  FROM unnest(%s::bigint[], %s::text[]) AS given (id, digest) WHERE t.id = given.id
                """,
                [self.grader.pk, [task.pk for task in tasks], self._digests(tasks)],
            )
        back = [task.pk for task in tasks if task.state == TaskState.VALID]
        for old in (TaskState.PROVED, TaskState.UNPROVED, TaskState.REJECTED):
            back += self._advance([task.pk for task in tasks if task.state == old], old, TaskState.VALID)
        return back

    def _revive(self, twins: Sequence[int]) -> list[int]:
        """A twin that was rejected because of its grader, or retired by an earlier change, is proved again."""
        rejected = Task.objects.filter(pk__in=twins, state=TaskState.REJECTED, reason_code__in=_ITS_GRADER)
        return self._advance(list(rejected.values_list("pk", flat=True)), TaskState.REJECTED, TaskState.VALID)

    def _advance(self, pks: Sequence[int], old: TaskState, new: TaskState, reason: str = "") -> list[int]:
        if not pks:
            return []
        data = {"reason": CHANGED, "change": self.pk}
        return Task.objects.advance_many(
            pks, old, new, team=self.space, data=data, reason=reason, reason_code=CHANGED, approved_at=None
        )

    def _reject(self, issues: Mapping[int, list[Issue]]) -> set[int]:
        """Rows that do not give the new grader what it reads, unless they are rejected already."""
        open_ones = Task.objects.filter(pk__in=list(issues), state__in=(TaskState.VALID, TaskState.CONFLICT))
        issues = {pk: issues[pk] for pk in open_ones.values_list("pk", flat=True)}
        if not issues:
            return set()
        set_reasons({pk: (found[0].code, found[0].sentence) for pk, found in issues.items()})
        for old in (TaskState.VALID, TaskState.CONFLICT):
            Task.objects.advance_many(
                list(issues), old, TaskState.REJECTED, team=self.space, data={"reason": CHANGED, "change": self.pk}
            )
        self._keep_issues(issues)
        return set(issues)

    def _keep_issues(self, issues: Mapping[int, Sequence[Issue]]) -> None:
        for upload_id, rows in rows_of(list(issues)).items():
            keep_issues(upload_id, [at_line(line, issue) for pk, line, _ in rows for issue in issues[pk]])
