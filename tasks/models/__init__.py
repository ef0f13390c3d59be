from tasks.models.accounts import ApiKey, Membership, Team, User
from tasks.models.datasets import Dataset, DatasetTask, DatasetVersion, DatasetVersionTask, Grader, GraderChange
from tasks.models.events import Event, EventSeal
from tasks.models.files import File, FileInParts, FilePart
from tasks.models.heldout import HeldOutItem, HeldOutSuite
from tasks.models.idempotency import IdempotencyRecord
from tasks.models.reviews import Appeal, Review
from tasks.models.samples import Sample
from tasks.models.tasks import Proof, Task, TaskFinding
from tasks.models.uploads import PartialUpload, ProofFinding, ProofRun, RowIssue, SavedMapping, Upload, Wrapper
from tasks.models.withdrawals import WithdrawalReceipt, WithdrawnTask

__all__ = [
    "ApiKey",
    "Appeal",
    "Dataset",
    "DatasetTask",
    "DatasetVersion",
    "DatasetVersionTask",
    "Event",
    "EventSeal",
    "File",
    "FileInParts",
    "FilePart",
    "Grader",
    "GraderChange",
    "HeldOutItem",
    "HeldOutSuite",
    "IdempotencyRecord",
    "Membership",
    "PartialUpload",
    "Proof",
    "ProofFinding",
    "ProofRun",
    "Review",
    "RowIssue",
    "Sample",
    "SavedMapping",
    "Task",
    "TaskFinding",
    "Team",
    "Upload",
    "User",
    "WithdrawalReceipt",
    "WithdrawnTask",
    "Wrapper",
]
