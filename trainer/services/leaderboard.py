"""The leaderboard: what the promotions that lead to the shared champion did on each contributor's own held-out rows."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q

from tasks.errors import Conflict, Invalid
from tasks.models import Dataset, Team
from tasks.models.events import Subject, record
from tasks.services.access import require_role
from tasks.states import Visibility
from trainer.evaluation import credit as measures
from trainer.evaluation.claim import Claim
from trainer.evaluation.credit import Effect, Sum, needs
from trainer.models import CreditEntry, CreditName, Line
from trainer.services import credit, policies

ANONYMOUS = "Anonymous contributor"
LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Standing:
    """A contributor with held-out rows enough in at least one promotion that its rows have trained."""

    name: str
    mine: bool  # of a team of the reader
    effect: Effect  # of all its promotions together
    claim: Claim
    adjusted_p: float  # over all contributors of the board
    versions: tuple[str, ...]  # promoted ones that count, oldest first
    rows: int  # of the newest of them


@dataclass(frozen=True, slots=True)
class Waiting:
    """A contributor of whom nothing can be said yet, with the newest figures and what is missing."""

    name: str
    mine: bool
    effect: Effect | None
    version: str  # "": none of its rows has trained a champion
    rows: int
    missing: int  # held-out tasks, near-duplicates once
    sentence: str


@dataclass(frozen=True, slots=True)
class Board:
    line: Line
    versions: tuple[str, ...]  # the promotions that count, oldest first
    standings: tuple[Standing, ...]  # by the lower end of the interval, highest first
    waiting: tuple[Waiting, ...]


def board(line: Line, *, own: Collection[int]) -> Board:
    """As a reader in the teams `own` may see it: only what was contributed, and nobody by a name that they keep back.

    Ranked by the lower end of the interval: a point estimate of few rows is far off as often as not, and a list of many
    contributors would be led by whoever was luckiest.
    """
    order = {move.report_id: move.report.evaluation.candidate.name for move in credit.promotions(line) if move.report}
    entries = _by_team(order)
    names = _Names(own)
    counted = {team: some for team, rows in entries.items() if (some := [row for row in rows if _counts(row)])}
    effects = {team: measures.added([_part(row) for row in rows]) for team, rows in counted.items()}
    claims = dict(zip(effects, measures.claims(list(effects.values()), fewest=0), strict=True))
    standings = [
        Standing(
            name=names.of(rows[0].team),
            mine=team in names.own,
            effect=effects[team],
            claim=claims[team][0],
            adjusted_p=claims[team][1],
            versions=tuple(order[row.report_id] for row in rows),
            rows=rows[-1].rows,
        )
        for team, rows in counted.items()
    ]
    standings.sort(key=lambda one: (-one.effect.low, one.name))
    waiting = sorted(_waiting(line, entries, set(counted), order, names), key=lambda one: (one.missing, one.name))
    return Board(line, tuple(order.values()), tuple(standings), tuple(waiting))


def _by_team(order: Mapping[int | None, str]) -> dict[int, list[CreditEntry]]:
    """Entries of teams as a whole, in the order of the promotions."""
    rows = CreditEntry.objects.filter(report__in=[pk for pk in order if pk], dataset=None).select_related("team")
    position = {report: place for place, report in enumerate(order)}
    found: dict[int, list[CreditEntry]] = {}
    for row in sorted(rows, key=lambda row: position[row.report_id]):
        found.setdefault(row.team_id, []).append(row)
    return found


def _counts(row: CreditEntry) -> bool:
    """Its rows were among those that trained the version, and its held-out rows are enough to tell."""
    return bool(row.rows) and row.claim != Claim.TOO_FEW


def _part(row: CreditEntry) -> tuple[Effect, dict[str, Sum]]:
    part = credit.part_of(row)
    assert part is not None  # there is a claim
    return part


def _waiting(
    line: Line,
    entries: Mapping[int, list[CreditEntry]],
    counted: Collection[int],
    order: Mapping[int | None, str],
    names: "_Names",
) -> Iterator[Waiting]:
    fewest = policies.of(line).minimum_clusters
    contributed = Dataset.objects.filter(visibility=Visibility.CONTRIBUTED, versions__task_count__gt=0)
    for team in Team.objects.filter(pk__in=contributed.values("team")).exclude(pk__in=counted):
        rows = entries.get(team.pk, [])
        newest = next((row for row in reversed(rows) if row.rows), rows[-1] if rows else None)
        effect = credit.effect_of(newest) if newest else None
        missing = max(fewest - (effect.clusters if effect else 0), 0)
        yield Waiting(
            name=names.of(team),
            mine=team.pk in names.own,
            effect=effect,
            version=order[newest.report_id] if newest and newest.rows else "",
            rows=newest.rows if newest else 0,
            missing=missing,
            sentence=_what_is_missing(newest, missing, fewest),
        )


def _what_is_missing(newest: CreditEntry | None, missing: int, fewest: int) -> str:
    if newest is None:
        return "No promotion has measured it yet: the next one does."
    if not newest.rows:
        return "None of its tasks has trained a champion yet: the next mixture takes what is approved."
    return f"{needs(fewest - missing, fewest)}."


# Names


class _Names:
    """Who is called what, for one reader."""

    def __init__(self, own: Collection[int]) -> None:
        self.own = frozenset(own)
        self._given = {row.team_id: row for row in CreditName.objects.all()}

    def of(self, team: Team) -> str:
        given = self._given.get(team.pk)
        if given is None:
            return team.name
        if given.anonymous:
            return f"{team.name} (others read: {ANONYMOUS})" if team.pk in self.own else ANONYMOUS
        return given.name or team.name


def name_of(team: Team) -> CreditName:
    """As chosen, or the team's own."""
    return CreditName.objects.filter(team=team).first() or CreditName(team=team)


@transaction.atomic
def set_name(team: Team, name: str, *, anonymous: bool, actor: object) -> CreditName:
    """How the team is named on the leaderboard; "" is its own name. Nobody takes the name of another."""
    require_role(actor, team)
    name = " ".join(name.split())
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise Invalid("bad_credit_name", f"Give a name of at most {LONGEST_NAME} printable characters.", "name")
    if name and _taken(team, name):
        raise Conflict(
            "credit_name_taken", f"Another contributor is called {name} already: choose another name.", "name"
        )
    chosen, _ = CreditName.objects.update_or_create(team=team, defaults={"name": name, "anonymous": anonymous})
    data = {"name": name, "anonymous": anonymous}
    record("team.credit_name", subject=Subject("team", str(team.pk)), team=team.pk, actor=actor, data=data)
    return chosen


def _taken(team: Team, name: str) -> bool:
    if name.casefold() == ANONYMOUS.casefold():
        return True
    others = Team.objects.exclude(pk=team.pk)
    return others.filter(Q(name__iexact=name) | Q(credit_name__name__iexact=name)).exists()
