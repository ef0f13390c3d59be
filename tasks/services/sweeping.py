"""What wake-ups missed: sent again; and what killed uploads left over: removed. Safe at any time, twice too."""

from collections.abc import Sequence
from typing import Any

from tasks.models import DatasetTask, GraderChange, ProofRun, Upload
from tasks.services import (
    fetching,
    files,
    heldout,
    idempotency,
    leases,
    parts,
    rekeying,
    resumable,
    settling,
    uploads,
    wrapping,
)
from tasks.services.wake import wake
from tasks.states import ChangeState, ProofState, TaskState, UploadState

AT_ONCE = 20  # of a kind; the next sweep takes the next


def sweep() -> dict[str, int]:
    """Returns how many of each were sent or removed."""
    imports = _oldest(leases.due(Upload, UploadState.RECEIVED, UploadState.IMPORTING), "pk")
    proofs = _oldest(leases.due(ProofRun, ProofState.PENDING, ProofState.PROVING), "upload_id")
    changes = _oldest(leases.due(GraderChange, ChangeState.PENDING, ChangeState.CHANGING), "pk")
    settled = _oldest(settling.due(), "pk")
    waiting = list(_datasets_with_work())
    suites = _oldest(heldout.unscanned(), "pk")
    decided = wrapping.due().order_by("space_id").values_list("space_id", flat=True).distinct()[:AT_ONCE]
    spaces = sorted({*decided, *rekeying.behind(AT_ONCE)})
    fetches = [str(pk) for pk in _oldest(fetching.due(), "pk")]
    files.expire()
    deleted = _oldest(files.due(), "pk")
    jobs: dict[str, Sequence[int | str]] = {
        "import_upload": imports,
        "settle_upload": settled,
        "prove_upload": proofs,
        "change_grader": changes,
        "check_grader": waiting,
        "rescan_suite": suites,
        "rekey_space": spaces,
        "fetch_from_hub": fetches,
        "clear_file": deleted,
    }
    for job, pks in jobs.items():
        for pk in pks:
            wake(job, pk)
    return {
        "imports": len(imports),
        "settled": len(settled),
        "proofs": len(proofs),
        "changes": len(changes),
        "graders": len(waiting),
        "suites": len(suites),
        "rekeyed": len(spaces),
        "fetches": len(fetches),
        "deleted": len(deleted),
        "files": uploads.reap() + resumable.reap() + parts.reap(),
        "replies": idempotency.forget_old(),
    }


def _oldest(rows: Any, column: str) -> list[int]:
    return list(rows.order_by("pk").values_list(column, flat=True)[:AT_ONCE])


def _datasets_with_work() -> Any:
    """Datasets that have a default grader by now, and rows that wait for one."""
    rows = DatasetTask.objects.filter(task__state=TaskState.NEEDS_GRADER, dataset__default_grader__isnull=False)
    return rows.order_by("dataset_id").values_list("dataset_id", flat=True).distinct()[:AT_ONCE]
