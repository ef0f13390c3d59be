"""States of the model side and the tables of legal moves. Run states map one to one onto OpenAI's job states."""

from collections.abc import Mapping
from enum import StrEnum


class RunState(StrEnum):
    VALIDATING = "validating"  # OpenAI: validating_files
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class EvaluationState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Verdict(StrEnum):
    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


class AliasName(StrEnum):
    CHAMPION = "champion"
    CHALLENGER = "challenger"
    ANCHOR = "anchor"


class LinePurpose(StrEnum):
    SHARED = "shared"
    EXPERT = "expert"


_R = RunState
RUN_MOVES: Mapping[RunState, frozenset[RunState]] = {
    _R.VALIDATING: frozenset({_R.QUEUED, _R.FAILED, _R.CANCELLED}),
    _R.QUEUED: frozenset({_R.RUNNING, _R.FAILED, _R.CANCELLED}),
    # RUNNING → QUEUED: the lease expired or the engine handed it back; the next claim resumes as attempt n + 1.
    # RUNNING → PAUSED: a budget of the run is spent.
    _R.RUNNING: frozenset({_R.PAUSING, _R.PAUSED, _R.QUEUED, _R.SUCCEEDED, _R.FAILED, _R.CANCELLED}),
    _R.PAUSING: frozenset({_R.PAUSED, _R.SUCCEEDED, _R.FAILED, _R.CANCELLED, _R.QUEUED}),
    _R.PAUSED: frozenset({_R.QUEUED, _R.CANCELLED}),
    _R.SUCCEEDED: frozenset(),
    _R.FAILED: frozenset(),
    _R.CANCELLED: frozenset(),
}

RUN_ENDED = frozenset({_R.SUCCEEDED, _R.FAILED, _R.CANCELLED})

_E = EvaluationState
EVALUATION_MOVES: Mapping[EvaluationState, frozenset[EvaluationState]] = {
    _E.QUEUED: frozenset({_E.RUNNING, _E.FAILED, _E.CANCELLED}),
    _E.RUNNING: frozenset({_E.QUEUED, _E.SUCCEEDED, _E.FAILED, _E.CANCELLED}),
    _E.SUCCEEDED: frozenset(),
    _E.FAILED: frozenset(),
    _E.CANCELLED: frozenset(),
}

EVALUATION_ENDED = frozenset({_E.SUCCEEDED, _E.FAILED, _E.CANCELLED})


class DeliveryState(StrEnum):
    PENDING = "pending"  # its try is due, or will be
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"  # every try of it did
    CANCELLED = "cancelled"  # its webhook was switched off or deleted before it arrived


_D = DeliveryState
DELIVERY_MOVES: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    _D.PENDING: frozenset({_D.SENDING, _D.CANCELLED}),
    # SENDING → PENDING: the try failed and another one follows.
    _D.SENDING: frozenset({_D.PENDING, _D.DELIVERED, _D.FAILED, _D.CANCELLED}),
    # Back to PENDING: a person sends it again.
    _D.DELIVERED: frozenset({_D.PENDING}),
    _D.FAILED: frozenset({_D.PENDING}),
    _D.CANCELLED: frozenset({_D.PENDING}),
}

DELIVERY_ENDED = frozenset({_D.DELIVERED, _D.FAILED, _D.CANCELLED})
