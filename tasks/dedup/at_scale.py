"""De-duplication past one machine: the rules of an import as joins of DuckDB over Parquet, for files of any length.

Rows are considered in the order of their numbers, and each looks at earlier ones only, as tasks look at older tasks; so
the verdicts are the ones that an import into an empty space comes to, row by row. Every step is a table on disk that
DuckDB may spill beside, and what is worth more than a join (comparing texts) is a pure function over batches, which Ray
fans out where there is one (tasks.dedup.fanning).

Features are what is known of a row by itself, verdicts what it is to the rows before it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.dedup import families
from tasks.dedup.bands import SHORTLIST
from tasks.dedup.families import Family, Near
from tasks.dedup.fanning import Fan, locally
from tasks.dedup.runs import LIMIT
from tasks.dedup.signature import SKETCH_WORDS, alike

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

MEMORY_BYTES = 2**30  # of DuckDB's memory_limit, where nothing else is said
COMPARED_AT_ONCE = 4096  # rows with their candidates


class Verdict(StrEnum):
    UNIQUE = "unique"
    DUPLICATE = "duplicate"  # the same prompt, answer and grader
    CONFLICT = "conflict"  # the same prompt, another answer
    NEAR_DUPLICATE = "near_duplicate"
    SUSPECT = "suspect"  # nearly the same prompt, another answer
    REFUSED = "refused"  # no task, so no later row looks at it; the rule is the code of its issue


@dataclass(frozen=True, slots=True)
class Place:
    """Where and with what to calculate."""

    scratch: Path  # tables and what spills; several times the size of the features
    memory_bytes: int = MEMORY_BYTES
    threads: int = 2
    fan: Fan = locally


def features_schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            ("row", pa.int64()),
            ("exact_key", pa.binary(16)),
            ("bare_key", pa.binary(16)),  # without approved wrappers: the exact key where it has none
            ("answer", pa.binary(16)),
            ("grader", pa.string()),  # digest; "": none
            ("numbers", pa.uint64()),  # signature
            ("bands", pa.list_(pa.uint64())),
            ("sketch", pa.binary(8 * SKETCH_WORDS)),
            ("folded", pa.string()),  # without approved wrappers
            (
                "refused",
                pa.string(),
            ),  # code of the issue of a row that becomes no task, which has nothing else; "": none
        ]
    )


def decide(features: Path, out: Path, place: Place) -> dict[Verdict, int]:
    """A folder of Parquet files of features to one Parquet file of verdicts, by row; returns how many of each.

    Columns: row; verdict; rule (exact, wrapped, near, an issue's code, or ""); other (the earlier row, or null);
    similarity (in [0, 1], or null); family (row of its oldest member; null: the row itself, or its older copy's).
    """
    place.scratch.mkdir(parents=True, exist_ok=True)
    with _database(place) as database:
        for statement in (_FEATURES, _PROMPTS, _DUPLICATES, _CONFLICTS, _WRAPPED, _BUCKETS, _CANDIDATES):
            _run(database, statement, features=f"{features}/*.parquet", limit=LIMIT, shortlist=SHORTLIST)
        pairs, compared = place.scratch / "pairs", place.scratch / "compared"
        pairs.mkdir()
        _run(database, _PAIRS, out=str(pairs / "pairs.parquet"))
        place.fan(pairs, compare, compared, COMPARED_AT_ONCE)
        _run(database, _COMPARED if any(compared.iterdir()) else _NOTHING_COMPARED, compared=f"{compared}/*.parquet")
        _run(database, _LINKS)
        _find_families(database)
        _run(database, _VERDICTS, out=str(out))
        counts = database.execute("SELECT verdict, count(*) FROM verdicts GROUP BY verdict").fetchall()
    return {Verdict(verdict): count for verdict, count in counts}


@contextmanager
def _database(place: Place) -> Iterator["duckdb.DuckDBPyConnection"]:
    import duckdb

    with duckdb.connect(str(place.scratch / "decide.duckdb")) as database:
        database.execute(f"SET memory_limit = '{place.memory_bytes // 2**20}MiB'")
        database.execute(f"SET threads = {place.threads}")
        database.execute("SET preserve_insertion_order = false")
        database.execute(f"SET temp_directory = {_quoted(str(place.scratch / 'spilled'))}")
        yield database


def _run(database: "duckdb.DuckDBPyConnection", statement: str, **values: Any) -> None:
    """DuckDB takes no parameters where files are named or limits stand: the values are ours, and quoted."""
    database.execute(statement.format(**{name: _quoted(value) for name, value in values.items()}))


def _quoted(value: Any) -> str:
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


# The texts stay in the Parquet files: only pairs of them are ever read.
_FEATURES = """
CREATE VIEW features AS SELECT * FROM read_parquet({features})
"""
_PROMPTS = """
CREATE TABLE tasks AS
SELECT exact_key, answer, grader, min(row) AS row, arg_min(bare_key, row) AS bare_key
  FROM features WHERE refused = '' GROUP BY exact_key, answer, grader
"""
_DUPLICATES = """
CREATE TABLE duplicates AS
SELECT f.row, t.row AS other FROM features f JOIN tasks t USING (exact_key, answer, grader)
 WHERE f.row > t.row AND f.refused = ''
"""
# For the rows with a prompt's first answer the oldest with another one, for all others the oldest of all.
_CONFLICTS = """
CREATE TABLE conflicts AS
WITH answers AS (SELECT exact_key, answer, min(row) AS row FROM tasks GROUP BY exact_key, answer),
     several AS (SELECT exact_key, min(row) AS row, arg_min(answer, row) AS answer
                   FROM answers GROUP BY exact_key HAVING count(*) > 1),
     others AS (SELECT exact_key, min(a.row) AS row FROM answers a JOIN several s USING (exact_key)
                 WHERE a.answer <> s.answer GROUP BY exact_key)
SELECT t.row, CASE WHEN t.answer = s.answer THEN o.row ELSE s.row END AS other
  FROM tasks t JOIN several s USING (exact_key) JOIN others o USING (exact_key)
 WHERE t.row > CASE WHEN t.answer = s.answer THEN o.row ELSE s.row END
"""
# The same question in another wrapper, or without one.
_WRAPPED = """
CREATE TABLE wrapped AS
WITH oldest AS (SELECT bare_key, answer, min(row) AS row, arg_min(exact_key, row) AS exact_key
                  FROM tasks GROUP BY bare_key, answer)
SELECT t.row, o.row AS other FROM tasks t JOIN oldest o USING (bare_key, answer)
 WHERE o.row < t.row AND o.exact_key <> t.exact_key
"""
# Whoever has more than {limit} before it in a bucket does not look there, and is never among those looked at.
_BUCKETS = """
CREATE TABLE buckets AS
SELECT row, band, row_number() OVER (PARTITION BY band ORDER BY row) AS place
  FROM (SELECT row, unnest(bands) AS band FROM features SEMI JOIN tasks USING (row))
QUALIFY place <= {limit} + 1 AND count(*) OVER (PARTITION BY band) > 1
"""
_CANDIDATES = """
CREATE TABLE candidates AS
SELECT * FROM (
  SELECT n.row AS newer, o.row AS older, count(*) AS shared
    FROM buckets n JOIN buckets o ON n.band = o.band AND o.place < n.place
   GROUP BY n.row, o.row)
QUALIFY row_number() OVER (PARTITION BY newer ORDER BY shared DESC, older) <= {shortlist}
"""
_PAIRS = """
COPY (SELECT n.row, any_value(n.folded) AS folded, any_value(n.numbers) AS numbers, any_value(n.answer) AS answer,
             any_value(n.sketch) AS sketch,
             list({{'row': o.row, 'folded': o.folded, 'numbers': o.numbers, 'answer': o.answer, 'sketch': o.sketch}}
                  ORDER BY c.shared DESC, c.older) AS others
        FROM candidates c JOIN features n ON n.row = c.newer JOIN features o ON o.row = c.older
       WHERE c.newer NOT IN (SELECT row FROM conflicts)
       GROUP BY n.row)
  TO {out} (FORMAT parquet, ROW_GROUP_SIZE 20480)
"""
_COMPARED = "CREATE VIEW compared AS SELECT * FROM read_parquet({compared})"
_NOTHING_COMPARED = """
CREATE TABLE compared (row BIGINT, other BIGINT, verdict VARCHAR, similarity DOUBLE)
"""
_LINKS = """
CREATE TABLE links AS
SELECT row, other, 'near_duplicate' AS verdict, 'wrapped' AS rule, 1.0 AS similarity
  FROM wrapped WHERE row NOT IN (SELECT row FROM conflicts)
UNION ALL
SELECT row, other, verdict, 'near' AS rule, similarity FROM compared WHERE row NOT IN (SELECT row FROM wrapped)
"""
_VERDICTS = """
CREATE TABLE verdicts AS
SELECT f.row,
       CASE WHEN f.refused <> '' THEN 'refused' WHEN d.row IS NOT NULL THEN 'duplicate'
            WHEN c.row IS NOT NULL THEN 'conflict' ELSE coalesce(l.verdict, 'unique') END AS verdict,
       CASE WHEN f.refused <> '' THEN f.refused WHEN coalesce(d.row, c.row) IS NOT NULL THEN 'exact'
            ELSE coalesce(l.rule, '') END AS rule,
       coalesce(d.other, c.other, l.other) AS other,
       CASE WHEN coalesce(d.row, c.row) IS NOT NULL THEN 1.0 ELSE l.similarity END AS similarity,
       r.family
  FROM features f LEFT JOIN duplicates d USING (row) LEFT JOIN conflicts c USING (row) LEFT JOIN links l USING (row)
       LEFT JOIN roots r USING (row);
COPY (SELECT * FROM verdicts ORDER BY row) TO {out} (FORMAT parquet)
"""


def compare(pairs: "pa.Table") -> "pa.Table":
    """Rows with their candidates, best first, to verdicts: tasks.dedup.families says which are alike."""
    import pyarrow as pa

    found: list[tuple[int, int, str, float]] = []
    for row in pairs.to_pylist():
        others = [other for other, worth in zip(row["others"], _alike(row), strict=True) if worth]
        decided = families.decide(_near(row), [_near(other) for other in others])
        if decided is not None:
            verdict = Verdict.NEAR_DUPLICATE if isinstance(decided, Family) else Verdict.SUSPECT
            found.append((row["row"], decided.task, str(verdict), decided.similarity / 100))
    types = (pa.int64(), pa.int64(), pa.string(), pa.float64())
    columns: Sequence[Sequence[Any]] = list(zip(*found, strict=True)) or [[], [], [], []]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    return pa.table(arrays, names=["row", "other", "verdict", "similarity"])


def _alike(row: dict[str, Any]) -> "NDArray[np.bool_]":
    """Which of a row's candidates do not share a band with it by chance."""
    import numpy as np

    others = np.frombuffer(b"".join(other["sketch"] for other in row["others"]), dtype="<u8").reshape(-1, SKETCH_WORDS)
    return alike(np.frombuffer(row["sketch"], dtype="<u8")[np.newaxis, :], others)


def _near(row: dict[str, Any]) -> Near:
    return Near(row["row"], row["folded"], str(row["numbers"]), row["answer"].hex())


def _find_families(database: "duckdb.DuckDBPyConnection") -> None:
    """A row is in the family of the row that it is linked to. Every round halves the way to the oldest."""
    database.execute("CREATE TABLE roots AS SELECT row, other AS family FROM links WHERE verdict = 'near_duplicate'")
    moved = 1
    while moved:
        moved = database.execute(
            "UPDATE roots SET family = older.family FROM roots older WHERE roots.family = older.row"
        ).fetchall()[0][0]
