"""The matrix of an upload: false accepts and false rejects of its graders, each cell with its rows."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from tasks import proof
from tasks.errors import Invalid
from tasks.models import Proof, ProofFinding, ProofRun, Upload
from tasks.services import proofs
from tasks.services.grouping import Group, Groups

COUNTED_AT_ONCE = 10_000  # lines
PAGE = 50  # rows
UNLISTED = ("earned", "refused", "not_made")  # as it should be (nearly all rows), or nothing to show: only counted

_MEANINGS = {
    ("gold", "earned"): "right",
    ("gold", "failed"): "false_reject",
    ("decoy", "refused"): "right",
    ("decoy", "passed"): "false_accept",
}

_COUNT = """
WITH cells AS MATERIALIZED (
  SELECT m.line, m.task_id, g.type AS kind, c.cell, c.outcome,
         CASE WHEN p.grader_id = ANY(%(shared)s) THEN p.grader_id ELSE '' END AS own
    FROM (SELECT line, task_id FROM tasks_datasettask
           WHERE upload_id = %(upload)s AND line > %(after)s ORDER BY line LIMIT %(rows)s) m,
         LATERAL (SELECT p.code, p.decoys, p.grader_id FROM tasks_task t, tasks_proof p
                   WHERE t.id = m.task_id AND p.task_id = t.id AND p.grader_id = t.grader_id OFFSET 0) p,
         LATERAL (SELECT type FROM tasks_grader WHERE digest = p.grader_id OFFSET 0) g,
         LATERAL (SELECT 'gold' AS cell, coalesce(%(golds)s::jsonb ->> p.code, 'earned') AS outcome
                   UNION ALL
                  SELECT d ->> 'kind', d ->> 'outcome' FROM jsonb_array_elements(p.decoys) d
                   WHERE d ->> 'outcome' <> 'refused') c
), kept AS (
  INSERT INTO tasks_prooffinding (upload_id, kind, cell, outcome, line, task_id)
  SELECT %(upload)s, kind, cell, outcome, line, task_id FROM cells WHERE outcome <> ALL(%(right)s)
)
SELECT kind, own, cell, outcome, count(*) FROM cells GROUP BY kind, own, cell, outcome
"""
_LAST = """
SELECT max(line) FROM (SELECT line FROM tasks_datasettask WHERE upload_id = %(upload)s AND line > %(after)s
                        ORDER BY line LIMIT %(rows)s) m
"""

_GOLDS = json.dumps(dict(proof.GOLD_OF_CODE))


@dataclass(frozen=True, slots=True)
class Cell:
    outcome: str
    count: int
    share: float  # of the rows that this kind of grader has in the upload
    meaning: str  # right | false_reject | false_accept | open

    @property
    def has_rows(self) -> bool:
        return self.count > 0 and self.outcome not in UNLISTED


@dataclass(frozen=True, slots=True)
class Line:
    name: str  # gold, or a decoy's kind
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class KindMatrix:
    type: str
    rows: int
    refusals: tuple[str, ...]  # a sentence for each grader of this type that is refused
    lines: tuple[Line, ...]

    @property
    def refusal(self) -> str:
        return " ".join(self.refusals)


@dataclass(frozen=True, slots=True)
class CellRow:
    line: int  # of the file
    task_id: int
    excerpt: str  # of what was graded
    reason: str
    read: str | None
    score: float | None  # golds only


@dataclass(frozen=True, slots=True)
class Page:
    rows: tuple[CellRow, ...]  # may be fewer than asked for: a row that has another grader by now has no proof to show
    next_after: int | None  # `after` of the next page; None on the last


def of(upload: Upload) -> list[KindMatrix]:
    """One matrix for each kind of grader; none before the proof has counted."""
    run = ProofRun.objects.filter(upload=upload).first()
    counts = {} if run is None else run.counts
    kinds: dict[str, proof.Tally] = counts.get("matrix", {})
    return [_of_kind(kind, kinds[kind], counts.get("refused", {}).get(kind, ())) for kind in sorted(kinds)]


def _of_kind(kind: str, counts: proof.Tally, refusals: Sequence[str]) -> KindMatrix:
    rows = sum(counts["gold"].values())
    lines = tuple(
        Line(
            name,
            tuple(
                Cell(outcome, count, count / rows if rows else 0.0, _meaning(name, outcome))
                for outcome, count in cells.items()
            ),
        )
        for name, cells in _ordered(counts)
    )
    return KindMatrix(kind, rows, tuple(refusals), lines)


def _ordered(counts: proof.Tally) -> list[tuple[str, dict[str, int]]]:
    """As tasks.proof lists lines and cells: Postgres keeps the keys of an object by length."""
    return [
        (name, {outcome: counts.get(name, {}).get(outcome, 0) for outcome in cells})
        for name, cells in proof.tally(()).items()
    ]


def _meaning(line: str, outcome: str) -> str:
    return _MEANINGS.get(("gold" if line == "gold" else "decoy", outcome), "open")


def rows(upload: Upload, kind: str, line: str, outcome: str, *, after: int = 0, limit: int = PAGE) -> Page:
    """The rows of a cell by line of the file; `after` is the last line of the page before."""
    cells = proof.tally(())
    if line not in cells or outcome not in cells[line] or outcome in UNLISTED:
        raise Invalid("unknown_cell", "The matrix lists no rows there: choose one that has something to show.")
    found = list(
        ProofFinding.objects.filter(upload=upload, kind=kind, cell=line, outcome=outcome, line__gt=after)
        .order_by("line")
        .select_related("task")
        .only("line", "task_id", "task__grader_id")[: limit + 1]
    )
    more, found = len(found) > limit, found[:limit]
    kept = {(one.task_id, one.grader_id): one for one in Proof.objects.filter(task__in=[row.task_id for row in found])}
    shown = ((row, kept.get((row.task_id, row.task.grader_id or ""))) for row in found)
    listed = tuple(_row(row, one, line) for row, one in shown if one is not None)
    return Page(listed, found[-1].line if more else None)


def _row(row: ProofFinding, kept: Proof, line: str) -> CellRow:
    shown = proofs.whole(kept)
    if line == "gold":
        gold = shown.gold or {}
        return CellRow(
            row.line, row.task_id, gold.get("completion", ""), shown.reason, gold.get("read"), gold.get("score")
        )
    decoy: dict[str, Any] = next((decoy for decoy in shown.decoys if decoy["kind"] == line), {})
    return CellRow(row.line, row.task_id, decoy.get("excerpt", ""), decoy.get("reason", ""), None, None)


def count(upload_id: int, groups: Groups, keep: Callable[[dict[str, proof.Tally]], None]) -> dict[Group, proof.Tally]:
    """Count every row of the upload by its proof, anew, and note the rows of the cells that are not as they should be.

    Chunk by chunk; `keep` stores the counts so far, by type, within each chunk's transaction, or raises where the work
    is no longer ours.
    """
    counts: dict[Group, Counter[_Cell]] = {}
    with transaction.atomic():
        keep({})
        ProofFinding.objects.filter(upload=upload_id).delete()
    after: int | None = 0
    while after is not None:
        with transaction.atomic():
            after = _count_chunk(upload_id, after, groups, counts)
            keep(_by_kind(counts))
    return {group: _tally(cells) for group, cells in counts.items()}


_Cell = tuple[str, str]  # line, outcome


def _by_kind(counts: Mapping[Group, Counter[_Cell]]) -> dict[str, proof.Tally]:
    kinds: dict[str, Counter[_Cell]] = {}
    for group, cells in counts.items():
        kinds.setdefault(group.kind, Counter()).update(cells)
    return {kind: _tally(cells) for kind, cells in kinds.items()}


def _tally(cells: Counter[_Cell]) -> proof.Tally:
    """Every decoy of a gold that earned full score is in a cell: in `refused`, if nothing else was kept of it."""
    counts = proof.tally((line, outcome, number) for (line, outcome), number in cells.items())
    for kind in proof.DecoyKind:
        counts[kind][proof.DecoyOutcome.REFUSED] = counts["gold"]["earned"] - sum(counts[kind].values())
    return counts


def _count_chunk(upload_id: int, after: int, groups: Groups, counts: dict[Group, Counter[_Cell]]) -> int | None:
    """Returns the last line of the chunk, or None where there was none."""
    values: dict[str, Any] = {
        "upload": upload_id,
        "after": after,
        "rows": COUNTED_AT_ONCE,
        "golds": _GOLDS,
        "right": list(UNLISTED),
        "shared": list(groups.shared),
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, values)
        for kind, own, cell, outcome, number in cursor.fetchall():
            counts.setdefault(Group(kind, own), Counter())[cell, outcome] += number
        cursor.execute(_LAST, values)
        last: int | None = cursor.fetchone()[0]
    return last
