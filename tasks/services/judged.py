"""Proof by judges: what it would cost, told before anything is spent, and which rows stand for all.

A judge costs tokens with every grade, and a proof takes seven. So judges prove a sample, spread evenly over the file,
after somebody has agreed to the estimate; the other rows stay unproved.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from django.db.models import OuterRef, Subquery

from tasks.graders import registry
from tasks.models import DatasetTask, Grader, Proof, ProofRun, Upload, User
from tasks.models.events import Subject, record
from tasks.proof import OUTPUT_LIMIT, DecoyKind
from tasks.states import TaskState

SAMPLE_ROWS = 50
MAX_SAMPLE = 1000  # rows
GRADES_A_ROW = 1 + len(DecoyKind)
VERDICT_TOKENS = 300  # of an answer whose length nothing limits
CHARACTERS_A_TOKEN = 4  # rule of thumb for English text
GRADERS_AT_ONCE = 1000


class Candidate(msgspec.Struct, frozen=True, array_like=True):
    line: int
    calls: int
    tokens: int  # of one grade


class Estimate(msgspec.Struct, frozen=True):
    """About what a sample costs. Kept with the proof run as JSON."""

    judged_rows: int  # with a gold and a judge
    sample_rows: int
    calls: int
    tokens: int
    models: list[str]
    lines: list[int]  # of the file: the sample
    candidates: list[Candidate]  # spread over the file, for a sample of another size


def graders(upload: Upload) -> set[str]:
    """Digests of the upload's graders that ask a model."""
    asking = [kind for kind, module in registry.modules().items() if getattr(module, "ASKS_A_MODEL", False)]
    rows = DatasetTask.objects.filter(upload=upload, task__grader__type__in=asking)
    digests = list(rows.order_by().values_list("task__grader_id", flat=True).distinct())
    return {
        grader.digest
        for start in range(0, len(digests), GRADERS_AT_ONCE)
        for grader in Grader.objects.filter(digest__in=digests[start : start + GRADERS_AT_ONCE])
        if registry.asks_a_model(grader.config)
    }


def estimate(upload: Upload, asking: Iterable[str]) -> Estimate | None:
    """For SAMPLE_ROWS of those that a judge would prove; None where there is no such row. Reads the whole upload."""
    models: set[str] = set()
    rows = list(_rows(upload, asking, models))
    if not rows:
        return None
    found = Estimate(len(rows), 0, 0, 0, sorted(models), [], _spread(rows, MAX_SAMPLE))
    return resized(found, SAMPLE_ROWS)


def resized(given: Estimate, wanted: int | None) -> Estimate:
    """The same for a sample of `wanted` rows, or of as many as there are candidates; None leaves it as it is."""
    if wanted is None:
        return given
    sample = _spread(given.candidates, wanted)
    return msgspec.structs.replace(
        given,
        sample_rows=len(sample),
        calls=sum(GRADES_A_ROW * row.calls for row in sample),
        tokens=sum(GRADES_A_ROW * row.tokens for row in sample),
        lines=[row.line for row in sample],
    )


def forget_agreement(run: ProofRun, *, actor: User | None, reason: str) -> None:
    """What was agreed on is spent, or was for another grader: the next look at the judges estimates anew and asks."""
    ProofRun.objects.filter(pk=run.pk).update(agreed_rows=None, estimate={})
    if run.agreed_rows is not None:
        data = {"rows": run.agreed_rows, "reason": reason}
        subject = Subject("proofrun", str(run.pk))
        record("proofrun.cost_forgotten", subject=subject, team=run.owner_team_id, actor=actor, data=data)


def _rows(upload: Upload, asking: Iterable[str], models: set[str]) -> Iterator[Candidate]:
    """By line. Rows without a gold cost nothing: no proof is tried. Nor do those that have their proof."""
    undecided = (TaskState.VALID, TaskState.CONFLICT)
    kept = Proof.objects.filter(task=OuterRef("task"), grader=OuterRef("task__grader")).values("pk")[:1]
    rows = DatasetTask.objects.filter(upload=upload, task__grader__in=list(asking), task__state__in=undecided)
    rows = rows.annotate(proved=Subquery(kept)).filter(proved=None).order_by("line")
    columns = ("line", "task_id", "task__grader__config", "task__item", "task__gold")
    seen: set[int] = set()
    for line, pk, config, item, gold in rows.values_list(*columns).iterator(chunk_size=1000):
        completion = gold if gold is not None else registry.gold(config, item)
        if completion is not None and pk not in seen:
            seen.add(pk)
            judges = list(_judges(config))
            read = len(msgspec.json.encode(item)) + max(len(completion), OUTPUT_LIMIT // GRADES_A_ROW)
            models.update(str(judge.get("model", "")) for judge in judges)
            yield Candidate(line, len(judges), sum(_tokens(judge, read) for judge in judges))


def _judges(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every configuration inside this one, itself included, that asks a model by itself."""
    if isinstance(config, Mapping):
        module = registry.modules().get(str(config.get("type")))
        if getattr(module, "ASKS_A_MODEL", False) is True:
            yield config
            return
        for inner in config.values():
            yield from _judges(inner)
    elif isinstance(config, list):
        for inner in config:
            yield from _judges(inner)


def _tokens(judge: Mapping[str, Any], read_characters: int) -> int:
    """One call: its instructions, what they quote of the row, and the verdict."""
    asked = len(msgspec.json.encode(judge.get("input", ""))) + read_characters
    limit = (judge.get("sampling_params") or {}).get("max_completions_tokens") or VERDICT_TOKENS
    return asked // CHARACTERS_A_TOKEN + int(limit)


def _spread(rows: Sequence[Candidate], wanted: int) -> list[Candidate]:
    count = min(wanted, len(rows))
    return [rows[at * len(rows) // count] for at in range(count)]
