"""The matrix of an upload: false accepts and false rejects of its graders, each cell with its rows."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from tasks import proof
from tasks.errors import Invalid
from tasks.models import Proof, ProofFinding, ProofRun, Upload

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
  SELECT m.line, m.task_id, g.type AS kind, c.cell, c.outcome
    FROM (SELECT line, task_id FROM tasks_datasettask
           WHERE upload_id = %(upload)s AND line > %(after)s ORDER BY line LIMIT %(rows)s) m,
         LATERAL (SELECT p.code, p.decoys, p.grader_id FROM tasks_task t, tasks_proof p
                   WHERE t.id = m.task_id AND p.task_id = t.id AND p.grader_id = t.grader_id OFFSET 0) p,
         LATERAL (SELECT type FROM tasks_grader WHERE digest = p.grader_id OFFSET 0) g,
         LATERAL (SELECT 'gold' AS cell, coalesce(%(golds)s::jsonb ->> p.code, 'earned') AS outcome
                   UNION ALL
                  SELECT d ->> 'kind', d ->> 'outcome' FROM jsonb_array_elements(p.decoys) d) c
), kept AS (
  INSERT INTO tasks_prooffinding (upload_id, kind, cell, outcome, line, task_id)
  SELECT %(upload)s, kind, cell, outcome, line, task_id FROM cells WHERE outcome <> ALL(%(right)s)
)
SELECT kind, cell, outcome, count(*) FROM cells GROUP BY kind, cell, outcome
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
    refusal: str  # a sentence, or ""
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class CellRow:
    line: int  # of the file
    task_id: int
    excerpt: str  # of what was graded
    reason: str
    read: str | None
    score: float | None  # golds only


def of(upload: Upload) -> list[KindMatrix]:
    """One matrix for each kind of grader; none before the proof has counted."""
    run = ProofRun.objects.filter(upload=upload).first()
    counts = {} if run is None else run.counts.get("matrix", {})
    return [_of_kind(kind, counts[kind]) for kind in sorted(counts)]


def _of_kind(kind: str, counts: proof.Tally) -> KindMatrix:
    rows = sum(counts["gold"].values())
    refusal = proof.refusal(counts)
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
    return KindMatrix(kind, rows, refusal.sentence if refusal else "", lines)


def _ordered(counts: proof.Tally) -> list[tuple[str, dict[str, int]]]:
    """As tasks.proof lists lines and cells: Postgres keeps the keys of an object by length."""
    return [
        (name, {outcome: counts.get(name, {}).get(outcome, 0) for outcome in cells})
        for name, cells in proof.tally(()).items()
    ]


def _meaning(line: str, outcome: str) -> str:
    return _MEANINGS.get(("gold" if line == "gold" else "decoy", outcome), "open")


def rows(upload: Upload, kind: str, line: str, outcome: str, *, after: int = 0, limit: int = PAGE) -> list[CellRow]:
    """The rows of a cell by line of the file; `after` is the last line of the page before."""
    cells = proof.tally(())
    if line not in cells or outcome not in cells[line] or outcome in UNLISTED:
        raise Invalid("unknown_cell", "The matrix lists no rows there: choose one that has something to show.")
    found = list(
        ProofFinding.objects.filter(upload=upload, kind=kind, cell=line, outcome=outcome, line__gt=after)
        .order_by("line")
        .select_related("task")
        .only("line", "task_id", "task__grader_id")[:limit]
    )
    proofs = {
        (one.task_id, one.grader_id): one for one in Proof.objects.filter(task__in=[row.task_id for row in found])
    }
    shown = ((row, proofs.get((row.task_id, row.task.grader_id or ""))) for row in found)
    return [_row(row, one, line) for row, one in shown if one is not None]


def _row(row: ProofFinding, kept: Proof, line: str) -> CellRow:
    if line == "gold":
        gold = kept.gold or {}
        return CellRow(
            row.line, row.task_id, gold.get("completion", ""), kept.reason, gold.get("read"), gold.get("score")
        )
    decoy: dict[str, Any] = next((decoy for decoy in kept.decoys if decoy["kind"] == line), {})
    return CellRow(row.line, row.task_id, decoy.get("excerpt", ""), decoy.get("reason", ""), None, None)


def count(upload_id: int, keep: Callable[[dict[str, proof.Tally]], None]) -> dict[str, proof.Tally]:
    """Count every row of the upload by its proof, anew, and note the rows of the cells that are not as they should be.

    Chunk by chunk; `keep` stores the counts so far within each chunk's transaction, or raises where the work is no
    longer ours.
    """
    counts: dict[str, list[tuple[str, str, int]]] = {}
    with transaction.atomic():
        keep({})
        ProofFinding.objects.filter(upload=upload_id).delete()
    after: int | None = 0
    while after is not None:
        with transaction.atomic():
            after = _count_chunk(upload_id, after, counts)
            keep({kind: proof.tally(cells) for kind, cells in counts.items()})
    return {kind: proof.tally(cells) for kind, cells in counts.items()}


def _count_chunk(upload_id: int, after: int, counts: dict[str, list[tuple[str, str, int]]]) -> int | None:
    """Returns the last line of the chunk, or None where there was none."""
    values: dict[str, Any] = {
        "upload": upload_id,
        "after": after,
        "rows": COUNTED_AT_ONCE,
        "golds": _GOLDS,
        "right": list(UNLISTED),
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, values)
        for kind, cell, outcome, number in cursor.fetchall():
            counts.setdefault(kind, []).append((cell, outcome, number))
        cursor.execute(_LAST, values)
        last: int | None = cursor.fetchone()[0]
    return last
