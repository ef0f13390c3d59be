"""Celery's entry points of the data side. Messages are wake-ups: losing or repeating one changes nothing."""

from celery import shared_task

from tasks.models import events
from tasks.services import (
    fetching,
    files,
    heldout,
    importing,
    proving,
    pruning,
    regrading,
    rekeying,
    settling,
    sweeping,
    waiting,
    wrapping,
)


@shared_task
def import_upload(upload_id: int) -> None:
    importing.import_upload(upload_id)


@shared_task
def settle_upload(upload_id: int) -> None:
    settling.settle(upload_id)


@shared_task
def fetch_from_hub(partial_id: str) -> None:
    fetching.fetch(partial_id)


@shared_task
def clear_file(file_id: int) -> None:
    files.clear(file_id)


@shared_task
def prove_upload(upload_id: int) -> None:
    proving.prove_upload(upload_id)


@shared_task
def check_grader(dataset_id: int) -> None:
    waiting.check_grader(dataset_id)


@shared_task
def change_grader(change_id: int) -> None:
    regrading.run(change_id)


@shared_task
def rescan_suite(suite_id: int) -> None:
    rekeying.rekey_for_suite(suite_id)
    heldout.rescan(suite_id)


@shared_task
def rekey_space(space_id: int) -> None:
    rekeying.rekey(space_id)
    wrapping.rekey(space_id)


@shared_task
def sweep() -> None:
    sweeping.sweep()


@shared_task
def seal_events() -> None:
    events.seal()


@shared_task
def prune() -> None:
    pruning.prune_by_the_clock(pruning.rules())
