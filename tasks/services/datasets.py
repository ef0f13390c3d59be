"""Datasets: create, give a default grader, freeze, count."""

import hashlib
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Count, QuerySet
from django.utils.text import slugify

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, DatasetVersion, DatasetVersionTask, Task, Team, Upload, User
from tasks.models.events import Subject, record
from tasks.services import accounts, graders, licences
from tasks.services.access import require_role, who_brings
from tasks.services.copying import lock_space
from tasks.services.licences import CONSENT_TEXT, CONSENT_VERSION
from tasks.services.wake import wake
from tasks.states import Role, TaskState, Visibility

__all__ = [
    "CONSENT_TEXT",
    "CONSENT_VERSION",
    "approved",
    "counts",
    "create",
    "digest",
    "freeze",
    "freeze_file",
    "set_default_grader",
]

_LIVE = frozenset(TaskState) - {TaskState.REJECTED, TaskState.WITHDRAWN}


def create(
    team: Team,
    name: str,
    *,
    actor: User | None,
    slug: str = "",
    domain: str = "",
    visibility: Visibility | str = Visibility.PRIVATE,
    licence: str = "",
    consent_version: str = "",
    default_grader: Mapping[str, Any] | None = None,
    description: str = "",
    held_out: bool = False,
) -> Dataset:
    """A default grader is tried in the sandbox where only that shows whether it works. `held_out`: a suite, of which
    every row is sealed; its team's operators bring it."""
    require_role(actor, team, Role.OPERATOR if held_out else Role.CONTRIBUTOR)
    name, slug = _checked_name(name, slug)
    if visibility not in set(Visibility):
        raise Invalid("unknown_visibility", f"Visibility is one of {', '.join(Visibility)}.", "visibility")
    contributed = visibility == Visibility.CONTRIBUTED
    if contributed:
        licence = licences.check(licence, consent_version)
    if len(domain) > 64 or "\n" in domain:
        raise Invalid("bad_domain", "A domain is a short text of at most 64 characters on one line.", "domain")
    space = accounts.pool() if contributed else team
    if default_grader is not None:
        graders.require_usable(default_grader, space.pk)
    dataset = Dataset(
        team=team,
        space=space,
        name=name,
        slug=slug,
        description=description.strip(),
        domain=domain.strip(),
        visibility=visibility,
        licence=licence[:60],
        consent_version=consent_version[:20],
        held_out=held_out,
        created_by=actor,
    )
    _create(dataset, default_grader, actor)
    return dataset


@transaction.atomic
def _create(dataset: Dataset, default_grader: Mapping[str, Any] | None, actor: User | None) -> None:
    dataset.default_grader = None if default_grader is None else graders.keep(default_grader)
    try:
        with transaction.atomic():
            dataset.save(force_insert=True)
    except IntegrityError:
        raise Conflict(
            "dataset_exists",
            f"{dataset.team.name} has a dataset '{dataset.slug}' already: choose another name.",
            "slug",
        ) from None
    data = {"slug": dataset.slug, "visibility": dataset.visibility, "licence": dataset.licence}
    record("dataset.created", subject=_subject(dataset), team=dataset.team_id, actor=actor, data=data)


def _checked_name(name: str, slug: str) -> tuple[str, str]:
    name = name.strip()
    if not name or len(name) > 120:
        raise Invalid("bad_name", "A dataset needs a name of 1 to 120 characters.", "name")
    slug = slug or slugify(name)[:80]
    if not slug or slug != slugify(slug) or len(slug) > 80:
        raise Invalid("bad_slug", "A slug has 1 to 80 small letters, digits and hyphens.", "slug")
    return name, slug


def set_default_grader(dataset: Dataset, config: Mapping[str, Any], *, actor: User | None) -> int:
    """For rows that name none, from now on. Returns how many rows wait for it; a job checks them.

    What the dataset holds keeps its grader: regrading.change_grader changes that too.
    """
    require_role(actor, dataset.team, who_brings(dataset))
    graders.require_usable(config, dataset.space_id)
    return _set_default_grader(dataset, config, actor)


@transaction.atomic
def _set_default_grader(dataset: Dataset, config: Mapping[str, Any], actor: User | None) -> int:
    grader = graders.keep(config)
    lock_space(dataset.space_id)  # an import prepares rows with the default that it has read
    Dataset.objects.filter(pk=dataset.pk).update(default_grader=grader)
    dataset.default_grader = grader
    waiting = Task.objects.filter(state=TaskState.NEEDS_GRADER, memberships__dataset=dataset).distinct().count()
    data = {"grader": grader.digest, "type": grader.type, "waiting": waiting}
    record("dataset.grader_set", subject=_subject(dataset), team=dataset.team_id, actor=actor, data=data)
    if waiting:
        wake("check_grader", dataset.pk)
    return waiting


@transaction.atomic
def freeze(dataset: Dataset, *, actor: User | None) -> DatasetVersion:
    """The approved tasks of now, by content. The same content again is the version that is there."""
    _require_may_freeze(actor, dataset)
    if dataset.held_out:
        raise Invalid("held_out", f"{dataset} is a held-out suite: nothing is trained on it.", "dataset")
    Dataset.objects.select_for_update().get(pk=dataset.pk)  # one number after the other
    digest, count = _content(dataset, TaskState.APPROVED)
    if not count:
        raise Invalid("nothing_approved", f"{dataset} has no approved task: have some reviewed first.", "dataset")
    if same := dataset.versions.filter(digest=digest).first():
        return same
    newest = dataset.versions.order_by("-number").first()
    version = DatasetVersion.objects.create(
        dataset=dataset,
        number=newest.number + 1 if newest else 1,
        digest=digest,
        task_count=count,
        created_by=actor,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO tasks_datasetversiontask (version_id, task_id)
            SELECT %s, t.id FROM tasks_task t WHERE t.state = 'approved'
               AND EXISTS (SELECT FROM tasks_datasettask m WHERE m.task_id = t.id AND m.dataset_id = %s)
             ORDER BY t.id
            """,
            [version.pk, dataset.pk],
        )
        if cursor.rowcount != count:  # a review came in between: the digest would not be of what was frozen
            raise Conflict("dataset_changed", "Tasks were reviewed while the dataset was frozen: do it again.")
    _frozen(version, actor)
    return version


@transaction.atomic
def freeze_file(upload: Upload, *, actor: User | None) -> DatasetVersion:
    """Every row of one file that became a task, approved or not, as far as it is `left`: what a run on a file trains
    on. Equal rows again are the version that is there."""
    dataset = Dataset.objects.select_for_update().get(pk=upload.dataset_id)
    if dataset.held_out:
        raise Invalid("held_out", f"{dataset} is a held-out suite: nothing is trained on it.", "dataset")
    rows = left(Task.objects.filter(pk__in=upload.memberships.values("task")))
    digest, pks = hashlib.sha256(), list[int]()
    for content, pk in rows.order_by("content_digest").values_list("content_digest", "pk").iterator(chunk_size=10_000):
        digest.update(content.encode() + b"\n")
        pks.append(pk)
    if not pks:
        raise Invalid("nothing_to_train_on", f"{upload.filename} has no row that can be used.", "training_file")
    if same := dataset.versions.filter(digest=digest.hexdigest()).first():
        return same
    newest = dataset.versions.order_by("-number").first()
    number = newest.number + 1 if newest else 1
    version = DatasetVersion.objects.create(
        dataset=dataset, number=number, digest=digest.hexdigest(), task_count=len(pks), created_by=actor
    )
    DatasetVersionTask.objects.bulk_create(
        (DatasetVersionTask(version=version, task_id=pk) for pk in sorted(pks)), batch_size=5000
    )
    _frozen(version, actor, upload=upload.pk)
    return version


# A row that repeats a suite comes in as no task; one that a later suite repeats is rejected where it stands.
CAUGHT: Mapping[str, Any] = {"state": TaskState.REJECTED, "reason_code": "contaminated"}


def left(tasks: Any) -> Any:
    """What a run on a whole file may use, whatever review says: neither withdrawn nor caught by a held-out suite."""
    return tasks.exclude(state=TaskState.WITHDRAWN).exclude(**CAUGHT)


def _frozen(version: DatasetVersion, actor: User | None, **more: Any) -> None:
    data = {"dataset": version.dataset_id, "number": version.number, "digest": version.digest}
    record(
        "datasetversion.frozen",
        subject=Subject("datasetversion", str(version.pk)),
        team=version.dataset.team_id,
        actor=actor,
        data={**data, "count": version.task_count, **more},
    )


def _require_may_freeze(actor: User | None, dataset: Dataset) -> None:
    """Its team's contributors and operators; operators of the pool where it is contributed."""
    try:
        require_role(actor, dataset.team, Role.CONTRIBUTOR, Role.OPERATOR)
    except Forbidden:
        if dataset.visibility != Visibility.CONTRIBUTED:
            raise
        require_role(actor, dataset.space, Role.OPERATOR)


def digest(dataset: Dataset) -> str:
    """SHA-256 over what the dataset holds now, reviewed or not: equal for equal rows, in whatever order they came."""
    return _content(dataset, *_LIVE)[0]


def _content(dataset: Dataset, *states: TaskState) -> tuple[str, int]:
    """(sha-256 over the sorted content digests of the tasks in these states, one a line; how many)."""
    contents = (
        Task.objects.filter(state__in=states, pk__in=dataset.memberships.values("task"))
        .order_by("content_digest")
        .values_list("content_digest", flat=True)
    )
    digest, count = hashlib.sha256(), 0
    for content in contents.iterator(chunk_size=10_000):
        digest.update(content.encode() + b"\n")
        count += 1
    return digest.hexdigest(), count


def approved(dataset: Dataset) -> QuerySet[Task]:
    """The dataset's approved tasks as they are now, each once."""
    return Task.objects.filter(pk__in=dataset.memberships.values("task"), state=TaskState.APPROVED)


def counts(dataset: Dataset) -> dict[str, int]:
    """How many of its tasks are in each state and, of those not rejected or withdrawn, in each split."""
    own = Task.objects.filter(pk__in=dataset.memberships.values("task")).order_by()
    by_state = own.values_list("state").annotate(n=Count("pk"))
    by_split = own.filter(state__in=_LIVE).values_list("split").annotate(n=Count("pk"))
    return {**dict(by_state), **dict(by_split)}


def _subject(dataset: Dataset) -> Subject:
    return Subject("dataset", str(dataset.pk))
