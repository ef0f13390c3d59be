"""A stretch of an upload's rows to their proofs: rows as they are stored in, proofs as they are kept out.

Pure, so that graders which are plain functions can prove in child processes (tasks/crew.py). Those that work with
judges, the sandbox or processes of their own (`works_elsewhere`) prove where their pools are.
"""

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple

import msgspec

from tasks import proof
from tasks.evidence import Kept, kept
from tasks.graders import registry
from tasks.text import prompt_text
from tasks.types import Message

_item = msgspec.json.Decoder(dict[str, Any]).decode
_messages = msgspec.json.Decoder(list[Message]).decode


class Row(NamedTuple):
    """One row of an upload with what its proof reads. JSON is left as text until somebody needs it."""

    line: int
    task_id: int
    duplicate: bool
    state: str
    grader_id: Any  # digest, or None while it waits for a grader
    kind: str | None  # of grader
    proved: bool
    gold: str | None
    messages: str  # JSON
    item: str  # JSON


class Part(NamedTuple):
    """Rows with one kind of grader, in the order of their lines. Of the first `size` those in `wanted` are proved, each
    beside the golds of the `steps` rows behind it."""

    size: int
    steps: int
    wanted: frozenset[int]
    rows: list[tuple[Any, ...]]  # Row


Configs = Mapping[str, bytes]  # digest → JSON


def works_elsewhere(kind: str) -> bool:
    module = registry.modules()[kind]
    return any(hasattr(module, name) for name in ("compile_many", "trial_problem", "ASKS_A_MODEL"))


def rings(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each kind of grader; a row that is repeated stands once."""
    found: dict[str, dict[int, Row]] = {}
    for row in rows:
        if row.kind is not None:
            found.setdefault(row.kind, {}).setdefault(row.task_id, row)
    return {kind: list(ring.values()) for kind, ring in found.items()}


def parts(all_rings: Mapping[str, Sequence[Row]], wanted: Sequence[Row]) -> list[Part]:
    """What is needed to prove the wanted rows: of each ring those between the first and the last of them, and the next
    MAX_CANDIDATES, around the ring."""
    by_kind: dict[str, set[int]] = {}
    for row in wanted:
        by_kind.setdefault(str(row.kind), set()).add(row.task_id)
    return [_part(all_rings[kind], frozenset(own)) for kind, own in by_kind.items()]


def _part(ring: Sequence[Row], wanted: frozenset[int]) -> Part:
    places = [place for place, row in enumerate(ring) if row.task_id in wanted]
    first, size = places[0], places[-1] - places[0] + 1
    steps = min(len(ring) - 1, proof.MAX_CANDIDATES)
    return Part(size, steps, wanted, [tuple(ring[(first + at) % len(ring)]) for at in range(size + steps)])


def graders_of(given: Iterable[Part]) -> set[str]:
    return {row[_GRADER] for part in given for row in part.rows}


_GRADER = Row._fields.index("grader_id")


def prove(given: Sequence[Part], configs: Configs) -> tuple[float, list[Kept]]:
    """The proofs of a piece, and how many seconds they took."""
    begun = monotonic()
    claims = {task_id: claim for part in given for task_id, claim in claims_of(part, configs).items()}
    proofs = prove_claims(claims, {})
    return monotonic() - begun, [kept(task_id, found) for task_id, found in proofs.items()]


def claims_of(part: Part, configs: Configs) -> dict[int, proof.Claim]:
    """{task: claim} of the part's wanted rows."""
    rows = list(map(Row._make, part.rows))
    parsed = {digest: registry.parse(msgspec.json.decode(configs[digest])) for digest in {r.grader_id for r in rows}}
    items = [_item(row.item) for row in rows]
    golds = [
        row.gold if row.gold is not None else registry.gold(parsed[row.grader_id], item)
        for row, item in zip(rows, items, strict=True)
    ]
    claims = {}
    for at, row in enumerate(rows[: part.size]):
        if row.task_id in part.wanted:
            neighbours = [gold for gold in golds[at + 1 : at + 1 + part.steps] if gold is not None]
            prompt = prompt_text(_messages(row.messages))
            claims[row.task_id] = proof.Claim(parsed[row.grader_id], items[at], golds[at], prompt, neighbours)
    return claims


def prove_claims(claims: Mapping[int, proof.Claim], tried: dict[str, str | None]) -> dict[int, proof.Proof]:
    """Prove tasks. A grader that needs a trial gets it once; `tried` remembers."""
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
