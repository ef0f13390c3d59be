from tasks.models.accounts import ApiKey, Membership, Team, User
from tasks.models.datasets import Dataset, DatasetTask, DatasetVersion, DatasetVersionTask, Grader, GraderChange
from tasks.models.events import Event, EventSeal
from tasks.models.heldout import HeldOutKey, HeldOutSuite
from tasks.models.idempotency import IdempotencyRecord
from tasks.models.reviews import Review
from tasks.models.tasks import PromptSplit, Proof, Task
from tasks.models.uploads import ProofFinding, ProofRun, RowIssue, Upload

__all__ = [
    "ApiKey",
    "Dataset",
    "DatasetTask",
    "DatasetVersion",
    "DatasetVersionTask",
    "Event",
    "EventSeal",
    "Grader",
    "GraderChange",
    "HeldOutKey",
    "HeldOutSuite",
    "IdempotencyRecord",
    "Membership",
    "PromptSplit",
    "Proof",
    "ProofFinding",
    "ProofRun",
    "Review",
    "RowIssue",
    "Task",
    "Team",
    "Upload",
    "User",
]
