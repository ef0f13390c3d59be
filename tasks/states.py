"""States of the data side and the tables of legal moves. The guard is the UPDATE itself (see models.advance)."""

from collections.abc import Mapping
from enum import StrEnum


class TaskState(StrEnum):
    PARSED = "parsed"  # read, not yet checked against a grader
    NEEDS_GRADER = "needs_grader"  # neither the row nor its dataset names a grader
    VALID = "valid"  # checked and unique; proof is next
    CONFLICT = "conflict"  # same prompt, different answer: a person decides
    PROVED = "proved"  # gold earns full score, decoys do not
    UNPROVED = "unproved"  # no gold, or a decoy passed: only a person (or a private space's policy) lets it in
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"  # by its contributor; final


class UploadState(StrEnum):
    RECEIVED = "received"
    UNMAPPED = "unmapped"  # read, and its columns wait for somebody to say what they are
    IMPORTING = "importing"
    IMPORTED = "imported"
    FAILED = "failed"  # unreadable as a whole, quarantined after three attempts, or withdrawn while unmapped


class UploadMode(StrEnum):
    APPEND = "append"
    REPLACE = "replace"  # its rows take the place of all that the dataset held before


class FilePurpose(StrEnum):
    """What a stored file is for. Only `fine-tune` has rows that are imported; of the others just the bytes are kept."""

    ASSISTANTS = "assistants"
    BATCH = "batch"
    FINE_TUNE = "fine-tune"
    VISION = "vision"
    USER_DATA = "user_data"
    EVALS = "evals"
    FINE_TUNE_RESULTS = "fine-tune-results"  # made here


class PartsState(StrEnum):
    """Of a file that comes in parts, in any order, and is put together at the end."""

    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class ProofState(StrEnum):
    PENDING = "pending"
    PROVING = "proving"
    DONE = "done"
    WAITING = "waiting"  # for somebody to agree to what its judges cost
    REFUSED = "refused"  # a grader passed one decoy on more than 5 % of the rows, or could not grade


class ChangeState(StrEnum):
    """Of a dataset's change to another grader."""

    PENDING = "pending"
    CHANGING = "changing"
    DONE = "done"
    SUPERSEDED = "superseded"  # by the next change, which takes over what was left
    FAILED = "failed"  # quarantined after three attempts


_T = TaskState
TASK_MOVES: Mapping[TaskState, frozenset[TaskState]] = {
    _T.PARSED: frozenset({_T.NEEDS_GRADER, _T.VALID, _T.CONFLICT, _T.REJECTED, _T.WITHDRAWN}),
    _T.NEEDS_GRADER: frozenset({_T.VALID, _T.CONFLICT, _T.REJECTED, _T.WITHDRAWN}),
    _T.VALID: frozenset({_T.PROVED, _T.UNPROVED, _T.CONFLICT, _T.REJECTED, _T.WITHDRAWN}),
    _T.CONFLICT: frozenset({_T.VALID, _T.APPROVED, _T.REJECTED, _T.WITHDRAWN}),
    _T.PROVED: frozenset({_T.VALID, _T.CONFLICT, _T.APPROVED, _T.REJECTED, _T.WITHDRAWN}),
    _T.UNPROVED: frozenset({_T.VALID, _T.CONFLICT, _T.APPROVED, _T.REJECTED, _T.WITHDRAWN}),
    # Undo of a review returns a task to where it was; a changed grader sends it back to proof.
    _T.APPROVED: frozenset({_T.PROVED, _T.UNPROVED, _T.CONFLICT, _T.VALID, _T.REJECTED, _T.WITHDRAWN}),
    _T.REJECTED: frozenset({_T.PROVED, _T.UNPROVED, _T.CONFLICT, _T.VALID, _T.WITHDRAWN}),
    _T.WITHDRAWN: frozenset(),
}

REVIEWABLE = frozenset({_T.CONFLICT, _T.PROVED, _T.UNPROVED})

_U = UploadState
UPLOAD_MOVES: Mapping[UploadState, frozenset[UploadState]] = {
    _U.RECEIVED: frozenset({_U.IMPORTING, _U.FAILED}),
    _U.UNMAPPED: frozenset({_U.RECEIVED, _U.FAILED}),
    _U.IMPORTING: frozenset({_U.IMPORTED, _U.FAILED, _U.RECEIVED, _U.UNMAPPED}),
    _U.IMPORTED: frozenset({_U.RECEIVED}),  # its rows had to leave for a later file, and it is uploaded again
    _U.FAILED: frozenset({_U.RECEIVED}),
}

PARTS_MOVES: Mapping[PartsState, frozenset[PartsState]] = {
    PartsState.PENDING: frozenset({PartsState.COMPLETED, PartsState.CANCELLED, PartsState.EXPIRED}),
    PartsState.COMPLETED: frozenset(),
    PartsState.CANCELLED: frozenset(),
    PartsState.EXPIRED: frozenset(),
}

_P = ProofState
PROOF_MOVES: Mapping[ProofState, frozenset[ProofState]] = {
    _P.PENDING: frozenset({_P.PROVING}),
    _P.PROVING: frozenset({_P.DONE, _P.WAITING, _P.REFUSED, _P.PENDING}),
    _P.DONE: frozenset({_P.PENDING}),
    _P.WAITING: frozenset({_P.PENDING}),
    _P.REFUSED: frozenset({_P.PENDING}),
}

_C = ChangeState
CHANGE_MOVES: Mapping[ChangeState, frozenset[ChangeState]] = {
    _C.PENDING: frozenset({_C.CHANGING, _C.SUPERSEDED}),
    _C.CHANGING: frozenset({_C.DONE, _C.SUPERSEDED, _C.FAILED}),
    _C.DONE: frozenset(),
    _C.SUPERSEDED: frozenset(),
    _C.FAILED: frozenset({_C.SUPERSEDED}),
}


class WrapperState(StrEnum):
    PROPOSED = "proposed"
    APPROVED = "approved"
    REFUSED = "refused"


WRAPPER_MOVES: Mapping[WrapperState, frozenset[WrapperState]] = {
    WrapperState.PROPOSED: frozenset({WrapperState.APPROVED, WrapperState.REFUSED}),
    WrapperState.APPROVED: frozenset({WrapperState.REFUSED}),
    WrapperState.REFUSED: frozenset({WrapperState.APPROVED}),
}


class AppealState(StrEnum):
    OPEN = "open"
    GRANTED = "granted"
    REFUSED = "refused"


APPEAL_MOVES: Mapping[AppealState, frozenset[AppealState]] = {
    AppealState.OPEN: frozenset({AppealState.GRANTED, AppealState.REFUSED}),
    AppealState.GRANTED: frozenset(),
    AppealState.REFUSED: frozenset(),
}


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    SEALED = "sealed"  # opened only by the gate


class Visibility(StrEnum):
    PRIVATE = "private"
    CONTRIBUTED = "contributed"


class Role(StrEnum):
    CONTRIBUTOR = "contributor"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"
    TRAIN = "train"
    ADMIN = "admin"
