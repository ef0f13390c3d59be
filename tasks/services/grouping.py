"""Whose failures count together in an upload's proof: the rows of one grader, where it has enough of them to be told
by, and the rows of all others of its type (row graders that were written for a row or two)."""

from collections import Counter
from typing import Any, NamedTuple

import msgspec
from django.db.models import Count, Q

from tasks import proof
from tasks.evidence import Kept
from tasks.models import Dataset, DatasetTask, Grader, Upload
from tasks.text import excerpt

SHARED_FROM = 20  # rows
FAILED_FROM = 20  # rows that could not be graded before that says something about their grader
OUR_FAULTS = 0.05  # share of them above which the machine or a judge is plainly down


class Group(NamedTuple):
    kind: str  # of grader
    digest: str = ""  # of the one grader; "" for all others of its type


class Groups:
    """The groups of an upload as it is now."""

    def __init__(self, upload: Upload) -> None:
        rows = DatasetTask.objects.filter(upload=upload, task__grader__isnull=False).order_by()
        shared = rows.values("task__grader").annotate(rows=Count("pk")).filter(rows__gte=SHARED_FROM)
        self.default: str | None = Dataset.objects.values_list("default_grader", flat=True).get(pk=upload.dataset_id)
        self.shared = set(shared.values_list("task__grader", flat=True)) | ({self.default} if self.default else set())

    def of(self, kind: Any, digest: Any) -> Group:
        return Group(str(kind), digest if digest in self.shared else "")

    def rows(self, group: Group) -> Q:
        """Of DatasetTask."""
        if group.digest:
            return Q(task__grader=group.digest)
        return Q(task__grader__type=group.kind) & ~Q(task__grader__in=list(self.shared))

    def name(self, group: Group) -> str:
        """For the contributor: its type, and which of that type it is."""
        if group.digest == self.default:
            return f"{group.kind} (the dataset's)"
        if not group.digest:
            return f"{group.kind} (graders of single rows)"
        config = {key: value for key, value in Grader.objects.get(pk=group.digest).config.items() if key != "type"}
        return f"{group.kind} {excerpt(msgspec.json.encode(config).decode(), 80)}"


class Budget:
    """How often the graders of each group could not grade a gold in this attempt, and the groups stopped for it."""

    def __init__(self) -> None:
        self.rows: Counter[Group] = Counter()
        self.ours: Counter[Group] = Counter()
        self.its: Counter[Group] = Counter()
        self.stopped: dict[Group, str] = {}  # with the sentence why

    def count(self, group: Group, found: Kept) -> bool:
        """Whether this row is the one too many."""
        if found.code in (proof.NO_GOLD, proof.NOT_SAMPLED):
            return False
        self.rows[group] += 1
        self.ours[group] += found.code == proof.UNAVAILABLE
        self.its[group] += found.code == proof.GOLD_UNGRADABLE
        return group not in self.stopped and self._is_exceeded(group)

    def stop(self, group: Group, name: str, last: Kept) -> None:
        failed = self.ours[group] + self.its[group]
        flags = ", ".join(dict.fromkeys(last.faults)) or last.code
        self.stopped[group] = (
            f"{name}: {failed:,} of {self.rows[group]:,} rows could not be graded ({flags}), so its rows wait: "
            f"repair the grader, then prove the upload again. The last: {last.reason}"
        )[:500]

    def _is_exceeded(self, group: Group) -> bool:
        """Faults of the author reject row by row, unless the grader has not graded a single one."""
        ours, rows = self.ours[group], self.rows[group]
        none_graded = rows >= FAILED_FROM and ours + self.its[group] == rows
        return none_graded or (ours >= FAILED_FROM and ours > OUR_FAULTS * rows)
