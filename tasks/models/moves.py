"""State changes: a conditional UPDATE plus an event row in one transaction. Zero rows updated: another was first."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any, ClassVar

from django.db import models, transaction

from tasks.models.events import Subject, record


@models.Field.register_lookup
class AnyOf(models.Lookup):
    """`in`, for thousands of whole numbers: one array, because a parameter each takes Django as long as the rows take
    Postgres."""

    lookup_name = "any_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, values = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s::bigint[])", (*values, list(self.rhs))


class IllegalMoveError(Exception):
    """A bug: the table of moves has no such move."""


class Moving(models.QuerySet[Any]):
    """A queryset of rows with a `state` column and a MOVES table on the model."""

    def _check(self, old: StrEnum, new: StrEnum) -> None:
        moves: Mapping[StrEnum, frozenset[StrEnum]] = self.model.MOVES
        if new not in moves[old]:
            raise IllegalMoveError(f"{self.model.__name__}: {old} → {new} is not in the table of moves.")

    def advance(
        self,
        pk: int,
        old: StrEnum,
        new: StrEnum,
        *,
        actor: Any = None,
        attempt: int | None = None,
        data: Any = None,
        **changes: Any,
    ) -> bool:
        """Move one row if it is still in `old` (and in `attempt`, where given: fencing). True when it was ours."""
        self._check(old, new)
        with transaction.atomic():
            rows = self.filter(pk=pk, state=old)
            if attempt is not None:
                rows = rows.filter(attempt=attempt)
            if rows.update(state=new, **changes) == 0:
                return False
            subject = self.model._base_manager.get(pk=pk)
            record(
                f"{self.model._meta.model_name}.{new}",
                subject=Subject(str(self.model._meta.model_name), str(pk)),
                team=subject.owner_team_id,
                actor=actor,
                data={"old": old, "new": new, **(data or {})},
            )
            return True

    def advance_many(
        self,
        pks: Collection[int],
        old: StrEnum,
        new: StrEnum,
        *,
        team: int | None,
        actor: Any = None,
        kind: str = "",
        data: Any = None,
        **changes: Any,
    ) -> list[int]:
        """Move a chunk with one event that holds the count and the digest of the ids. Returns the ids that moved."""
        return self.advance_along(pks, (old, new), team=team, actor=actor, kind=kind, data=data, **changes)

    def advance_along(
        self,
        pks: Collection[int],
        path: Sequence[StrEnum],
        *,
        team: int | None,
        actor: Any = None,
        kind: str = "",
        data: Any = None,
        **changes: Any,
    ) -> list[int]:
        """Move a chunk from the first of the states to the last: one UPDATE, and one event for each move between them.
        `kind` and `data` are the last event's."""
        moves = list(pairwise(path))
        for old, new in moves:
            self._check(old, new)
        with transaction.atomic():
            there = self.filter(pk__any_of=list(pks), state=path[0])
            moved = list(there.select_for_update().order_by("pk").values_list("pk", flat=True))
            if not moved:
                return []
            self.filter(pk__any_of=moved).update(state=path[-1], **changes)
            name, digest = str(self.model._meta.model_name), ids_digest(moved)
            for old, new in moves:
                last = new is path[-1]
                told = {"old": old, "new": new, "count": len(moved), "ids_digest": digest}
                record(
                    (kind if last else "") or f"{name}.{new}",
                    subject=Subject(name, "*"),
                    team=team,
                    actor=actor,
                    data={**told, **(data or {})} if last else told,
                )
            return moved


def ids_digest(pks: Collection[int]) -> str:
    return hashlib.sha256(",".join(map(str, sorted(pks))).encode()).hexdigest()


class StateModel(models.Model):
    """Abstract: a row whose state moves only along its table."""

    MOVES: ClassVar[Mapping[Any, frozenset[Any]]] = {}

    class Meta:
        abstract = True

    @property
    def owner_team_id(self) -> int | None:
        return getattr(self, "team_id", None)
