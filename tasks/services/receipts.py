"""What a receipt of a withdrawal says, and how it is held against the log."""

import hashlib
import json
from typing import Any

from tasks.models import EventSeal, WithdrawalReceipt

DIGEST_OF = "SHA-256 over a line '<task id> <content digest>' for each task that went, by id"


def digest(receipt: WithdrawalReceipt) -> tuple[str, int]:
    """(digest over the tasks that went, how many): DIGEST_OF says over what. A content digest outlives the content."""
    went = receipt.tasks.filter(kept=False).order_by("task_id").values_list("task_id", "task__content_digest")
    found, count = hashlib.sha256(), 0
    for pk, content in went.iterator(chunk_size=10_000):
        found.update(f"{pk} {content}\n".encode())
        count += 1
    return found.hexdigest(), count


def facts(receipt: WithdrawalReceipt) -> dict[str, Any]:
    """What the receipt says. Its digest is in the event, so that a changed receipt no longer agrees with the log."""
    assert receipt.finished_at is not None
    return {
        "id": receipt.pk,
        "begun_at": receipt.begun_at.isoformat(),
        "finished_at": receipt.finished_at.isoformat(),
        "team": receipt.team_id,
        "withdrawn_by": receipt.withdrawn_by_id,
        "dataset": receipt.dataset_id,
        "task": receipt.task_id,
        **({} if receipt.upload_id is None else {"upload": receipt.upload_id}),
        "reason": receipt.reason,
        "withdrawn": receipt.withdrawn,
        "kept": receipt.kept,
        "digest": receipt.digest,
        "seen": receipt.seen,
    }


def content_digest(receipt: WithdrawalReceipt) -> str:
    told = json.dumps(facts(receipt), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(told.encode()).hexdigest()


def holds(receipt: WithdrawalReceipt) -> bool:
    """Whether receipt and tasks are still what the event of the log says they were."""
    if receipt.event is None:
        return False
    recorded = receipt.event.data
    return (content_digest(receipt), digest(receipt)[0]) == (recorded["receipt_digest"], recorded["tasks_digest"])


def shown(receipt: WithdrawalReceipt) -> dict[str, Any]:
    """The receipt as it is given out, names beside ids, with its place in the log's hash chain."""
    event = receipt.event
    assert event is not None
    link = EventSeal.objects.filter(event=event).first()
    return {
        **facts(receipt),
        "team": receipt.team.slug,
        "withdrawn_by": receipt.withdrawn_by.username if receipt.withdrawn_by else None,
        "dataset": str(receipt.dataset) if receipt.dataset else None,
        "digest_of": DIGEST_OF,
        "receipt_digest": event.data["receipt_digest"],
        "event": {
            "id": event.pk,
            "at": event.at.isoformat(),
            "digest": hashlib.sha256(event.content().encode()).hexdigest(),
            "link": link.digest if link else None,  # null for some seconds: the sealer works behind the writers
        },
    }
