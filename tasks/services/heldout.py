"""Held-out suites: the model side registers the prompts on which it measures, and no training task may repeat them."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef

from tasks.formats.codes import CODES
from tasks.models import HeldOutKey, HeldOutSuite, PromptSplit, Task, Team
from tasks.models.events import Subject, record
from tasks.services.copying import copy_rows, lock_space
from tasks.states import Split, TaskState

CHUNK = 5000


@transaction.atomic
def register(space: Team, digest: str, name: str, exact_keys: Iterable[str]) -> HeldOutSuite:
    """Keep the keys of a frozen suite, and reject stored tasks that repeat them outside the sealed split.

    The same digest again is the suite that is there.
    """
    lock_space(space.pk)
    suite, created = HeldOutSuite.objects.get_or_create(space=space, digest=digest, defaults={"name": name[:120]})
    if not created:
        return suite
    keys = sorted(set(exact_keys))
    copy_rows("tasks_heldoutkey", ("suite_id", "space_id", "exact_key"), ((suite.pk, space.pk, key) for key in keys))
    rejected = _reject_contaminated(suite)
    data = {"name": suite.name, "digest": digest, "keys": len(keys), "rejected": rejected}
    record("heldoutsuite.registered", subject=Subject("heldoutsuite", str(suite.pk)), team=space.pk, data=data)
    return suite


def _reject_contaminated(suite: HeldOutSuite) -> int:
    own = HeldOutKey.objects.filter(suite=suite, exact_key=OuterRef("exact_key"))
    sealed = PromptSplit.objects.filter(space=suite.space, exact_key=OuterRef("exact_key"), split=Split.SEALED)
    repeats = Task.objects.filter(Exists(own), ~Exists(sealed), space=suite.space)
    changes: dict[str, Any] = {
        "reason": CODES["contaminated"].sentence,
        "reason_code": "contaminated",
        "approved_at": None,
    }
    rejected = 0
    for state in sorted(set(TaskState) - {TaskState.PARSED, TaskState.REJECTED, TaskState.WITHDRAWN}):
        while pks := list(repeats.filter(state=state).values_list("pk", flat=True)[:CHUNK]):
            moved = Task.objects.advance_many(pks, state, TaskState.REJECTED, team=suite.space_id, **changes)
            rejected += len(moved)
    return rejected
