"""Held-out suites: the model side registers the prompts on which it measures, and no training task may repeat them."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef

from tasks.dedup import fingerprint
from tasks.formats.codes import CODES
from tasks.models import HeldOutItem, HeldOutSuite, Task, Team
from tasks.models.events import Subject, record
from tasks.services.copying import copy_rows, lock_space
from tasks.states import Split, TaskState
from tasks.types import Message

CHUNK = 5000


@transaction.atomic
def register(space: Team, digest: str, name: str, prompts: Iterable[Sequence[Message]]) -> HeldOutSuite:
    """Keep the items of a frozen suite, and reject stored tasks that repeat them outside the sealed split.

    The same digest again is the suite that is there.
    """
    lock_space(space.pk)
    suite, created = HeldOutSuite.objects.get_or_create(space=space, digest=digest, defaults={"name": name[:120]})
    if not created:
        return suite
    items = {keys.exact_key: keys.folded for keys in map(fingerprint.fingerprint, prompts)}
    rows = ((suite.pk, space.pk, key, folded) for key, folded in sorted(items.items()))
    copy_rows("tasks_heldoutitem", ("suite_id", "space_id", "exact_key", "folded"), rows)
    rejected = _reject_contaminated(suite)
    data = {"name": suite.name, "digest": digest, "keys": len(items), "rejected": rejected}
    record("heldoutsuite.registered", subject=Subject("heldoutsuite", str(suite.pk)), team=space.pk, data=data)
    return suite


def _reject_contaminated(suite: HeldOutSuite) -> int:
    own = HeldOutItem.objects.filter(suite=suite, exact_key=OuterRef("exact_key"))
    repeats = Task.objects.filter(Exists(own), space=suite.space).exclude(split=Split.SEALED)
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
