"""Proofs of stored rows: what each row's proof reads, and what is kept of it under (task, grader digest)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from django.db import connection
from django.utils import timezone

from tasks import proof
from tasks.graders import registry
from tasks.services.copying import copy_rows
from tasks.text import prompt_text
from tasks.types import Message

# Codes of proofs that a repair can change while row and grader stay the same: done again when somebody asks.
RETRIED = (proof.UNAVAILABLE, proof.GOLD_UNGRADABLE, proof.DECOY_UNGRADABLE)
_COLUMNS = ("task_id", "grader_id", "outcome", "code", "reason", "gold", "decoys", "at")


class Candidate(NamedTuple):
    """One row of an upload with what its proof reads."""

    line: int
    task_id: int
    state: str
    grader_id: Any  # digest, or None while it waits for a grader
    kind: str | None  # of grader
    messages: list[dict[str, str]]
    item: dict[str, Any]
    gold: str | None
    proved: int | None  # its proof, where there is one


CANDIDATE_FIELDS = (
    "line",
    "task_id",
    "task__state",
    "task__grader_id",
    "task__grader__type",
    "task__messages",
    "task__item",
    "task__gold",
    "proved",
)


def claims_of(
    stretch: Sequence[Candidate], configs: Mapping[str, registry.Config], wanted: Mapping[int, Candidate]
) -> dict[int, proof.Claim]:
    """{task: claim}, each beside the golds of the tasks behind it in the stretch that have the same kind of grader."""
    rings: dict[str, dict[int, Candidate]] = {}
    for row in stretch:
        if row.kind is not None:
            rings.setdefault(row.kind, {})[row.task_id] = row
    return {pk: claim for ring in rings.values() for pk, claim in _claims(list(ring.values()), configs, wanted).items()}


def _claims(
    ring: Sequence[Candidate], configs: Mapping[str, registry.Config], wanted: Mapping[int, Candidate]
) -> dict[int, proof.Claim]:
    if not any(row.task_id in wanted for row in ring):
        return {}
    golds = [row.gold if row.gold is not None else registry.gold(configs[row.grader_id], row.item) for row in ring]
    steps = range(1, min(len(ring), proof.MAX_CANDIDATES + 1))
    claims = {}
    for position, row in enumerate(ring):
        if row.task_id in wanted:
            others = (golds[(position + step) % len(ring)] for step in steps)
            neighbours = [gold for gold in others if gold is not None]
            prompt = prompt_text([Message(**message) for message in row.messages])
            claims[row.task_id] = proof.Claim(configs[row.grader_id], row.item, golds[position], prompt, neighbours)
    return claims


def prove_candidates(claims: Mapping[int, proof.Claim], tried: dict[str, str | None]) -> dict[int, proof.Proof]:
    """Prove tasks. A grader that needs a trial gets it once; `tried` remembers. Writes nothing."""
    configs = {id(claim.config): claim.config for claim in claims.values() if claim.gold is not None}
    down = {key: sentence for key, config in configs.items() if (sentence := registry.unavailable(config))}
    broken = {
        key: problem
        for key, config in configs.items()
        if key not in down
        and hasattr(registry.module_of(config), "trial_problem")
        and (problem := _trial(config, tried))
    }
    proofs: dict[int, proof.Proof] = {}
    for pk, claim in claims.items():
        if claim.gold is not None and (sentence := down.get(id(claim.config))):
            proofs[pk] = proof.unavailable(claim.gold, sentence)
        elif claim.gold is not None and (problem := broken.get(id(claim.config))):
            proofs[pk] = proof.untried(claim.gold, problem)
    left = [pk for pk in claims if pk not in proofs]
    proofs.update(zip(left, proof.prove_many([claims[pk] for pk in left]), strict=True))
    return proofs


def _trial(config: registry.Config, tried: dict[str, str | None]) -> str | None:
    digest = registry.digest(config)
    if digest not in tried:
        tried[digest] = registry.trial_problem(config)
    return tried[digest]


def store(tasks: Mapping[int, Candidate], proofs: Mapping[int, proof.Proof]) -> list[int]:
    """Keep proofs; returns the ids of those that nobody had kept before."""
    now = timezone.now()
    rows = (
        (pk, tasks[pk].grader_id, found.outcome.value, found.code, found.reason[:300], *_evidence(found), now)
        for pk, found in sorted(proofs.items())
    )
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE found (LIKE tasks_proof) ON COMMIT DROP; ALTER TABLE found DROP COLUMN id")
        copy_rows("found", _COLUMNS, rows)
        names = ", ".join(_COLUMNS)
        cursor.execute(
            f"INSERT INTO tasks_proof ({names}) SELECT {names} FROM found ON CONFLICT DO NOTHING RETURNING task_id"  # noqa: S608
        )
        new = [pk for (pk,) in cursor.fetchall()]
        cursor.execute("DROP TABLE found")
    return new


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _evidence(found: proof.Proof) -> tuple[str | None, str]:
    """The gold with its grade, and the decoys: those that were refused by kind only, because they are nearly all."""
    whole = proof.as_json(found)
    gold = None if whole["gold"] is None else _text({"completion": whole["gold"], **(whole["gold_grade"] or {})})
    decoys = [
        {"kind": decoy["kind"], "outcome": decoy["outcome"]}
        if decoy["outcome"] == proof.DecoyOutcome.REFUSED
        else {
            "kind": decoy["kind"],
            "outcome": decoy["outcome"],
            "excerpt": decoy["completion"],
            "reason": (decoy["grade"] or {}).get("reason", ""),
        }
        for decoy in whole["decoys"]
    ]
    return gold, _text(decoys)
