"""What the model side asks of the data side."""

from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from tasks.models import DatasetVersion, DatasetVersionTask, Task, Team
from tasks.states import Split, TaskState


def approved_tasks(scope: Team | DatasetVersion, split: Split) -> QuerySet[Task]:
    """Approved tasks of one split: of a whole space, or those that a dataset version froze. By id.

    A frozen task that was rejected or withdrawn since is left out: nobody trains on it against its owner's will.
    """
    approved = Task.objects.filter(state=TaskState.APPROVED, split=split).order_by("pk")
    if isinstance(scope, Team):
        return approved.filter(space=scope)
    return approved.filter(Exists(DatasetVersionTask.objects.filter(version=scope, task=OuterRef("pk"))))


def new_approved_since(space: Team, moment: datetime | None) -> int:
    """How many training tasks a space has let in since a moment; all of them for None."""
    approved = Task.objects.filter(space=space, state=TaskState.APPROVED, split=Split.TRAIN)
    return approved.count() if moment is None else approved.filter(approved_at__gt=moment).count()
