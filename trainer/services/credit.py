"""Credit: what each promotion did on the held-out rows of each dataset, and of each team, that brought some.

A task that two datasets brought counts for both: each of them asked for it. What is withdrawn afterwards stays counted,
as the model that it trained stays.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from django.db import transaction
from django.db.models import Count, Q, QuerySet

from tasks.models import DatasetTask, Task
from tasks.models.events import Subject, record
from tasks.states import Visibility
from trainer.evaluation import credit
from trainer.evaluation.claim import Claim
from trainer.evaluation.credit import Effect, Sum
from trainer.evaluation.policy import policy_from
from trainer.evaluation.scoring import CANDIDATE, CHAMPION, FloatArray, SuiteScores, pooled
from trainer.models import AliasMove, CreditEntry, GateReport, Line, TrainingRun
from trainer.services import answers, training_data
from trainer.states import AliasName, LinePurpose, Verdict

_LARGE = ("report__decision", "report__flips")  # of a report, and not shown here
Who = tuple[int, int | None]  # (team, one of its datasets; None: all of them together)


@dataclass(slots=True)
class _Part:
    """What one team or dataset has in a report."""

    rows: int = 0
    at: list[int] = field(default_factory=list)  # positions of its items


# What the gate writes


@transaction.atomic
def measure(report: GateReport, scores: Sequence[SuiteScores]) -> list[CreditEntry]:
    """Remember what the report's comparison shows of every contributor. Repeated it gives the same rows again.

    Of an INVALID comparison nothing may be read, and of a control run a coin would have the credit.
    """
    GateReport.objects.select_for_update().get(pk=report.pk)
    CreditEntry.objects.filter(report=report).delete()
    entries = [] if _says_nothing(report) else list(_entries(report, scores))
    CreditEntry.objects.bulk_create(entries)
    record(
        "credit.measured",
        subject=Subject("gatereport", str(report.pk)),
        team=report.line.team_id,
        data={"datasets": sum(entry.dataset_id is not None for entry in entries), "entries": len(entries)},
    )
    return entries


def recount(report: GateReport) -> bool:
    """Measure again from the engine's files; False where they have gone. What is remembered then stays."""
    if not answers.kept(report.evaluation):
        return False
    measure(report, answers.grouped(answers.read(report.evaluation)))
    return True


def _says_nothing(report: GateReport) -> bool:
    return report.verdict == Verdict.INVALID or report.evaluation.candidate.is_control


def _entries(report: GateReport, scores: Sequence[SuiteScores]) -> Iterator[CreditEntry]:
    """Datasets are adjusted among datasets and teams among teams: they are shown so."""
    usable = [suite for suite in scores if {CHAMPION, CANDIDATE} <= set(suite.sides)]
    whole = pooled(usable) if usable else None
    parts = _parts(report, whole.keys if whole else ())
    for one_team in (False, True):
        chosen = {who: part for who, part in sorted(parts.items(), key=str) if (who[1] is None) is one_team}
        yield from _told(report, whole, chosen)


def _told(report: GateReport, whole: SuiteScores | None, parts: Mapping[Who, _Part]) -> Iterator[CreditEntry]:
    fewest = policy_from(report.evaluation.policy).minimum_clusters
    found = {who: _measured(whole, part.at) for who, part in parts.items() if whole is not None and part.at}
    claims = dict(zip(found, credit.claims([effect for effect, _ in found.values()], fewest=fewest), strict=True))
    for (team, dataset), part in parts.items():
        effect, sums = found.get((team, dataset), (None, {}))
        claim, p = claims.get((team, dataset), (Claim.TOO_FEW, 1.0))
        yield CreditEntry(
            report=report,
            team_id=team,
            dataset_id=dataset,
            rows=part.rows,
            effect=msgspec.to_builtins(effect),
            sums=msgspec.to_builtins(sums),
            claim=claim,
            adjusted_p=p,
            fewest=fewest,
        )


def _measured(whole: SuiteScores, at: Sequence[int]) -> tuple[Effect, dict[str, Sum]]:
    chosen = np.asarray(at)
    champion_n, candidate_n = (_scores(whole, side)[chosen] for side in (CHAMPION, CANDIDATE))
    clusters = [whole.clusters[row] for row in at]
    effect = credit.measured(champion_n, candidate_n, clusters, answers_per_item=whole.answers_per_item)
    return effect, credit.sums(champion_n, candidate_n, clusters)


def _scores(whole: SuiteScores, side: str) -> FloatArray:
    return whole.sides[side].mean_n("score")


# Whose rows they are


def _parts(report: GateReport, keys: Sequence[str]) -> dict[Who, _Part]:
    """Everybody who brought a row of the training, or an item of the suites."""
    brought = _memberships(report.line)
    parts: dict[Who, _Part] = {}
    for who, rows in _rows(brought, report.evaluation.candidate.run):
        parts.setdefault(who, _Part()).rows = rows
    for who, row in _items(brought, keys):
        parts.setdefault(who, _Part()).at.append(row)
    return parts


def _memberships(line: Line) -> QuerySet[DatasetTask]:
    """Of an expert its own team's; of the shared line what is contributed: nobody's private rows are counted there.
    A suite that came as a file trained nothing, and has no credit."""
    if line.purpose == LinePurpose.EXPERT:
        return DatasetTask.objects.filter(dataset__team=line.team_id, dataset__held_out=False)
    return DatasetTask.objects.filter(dataset__visibility=Visibility.CONTRIBUTED)


def _rows(brought: QuerySet[DatasetTask], run: TrainingRun | None) -> Iterator[tuple[Who, int]]:
    if run is None:
        return
    mine = brought.filter(task__in=_trained(run)).order_by()
    count = Count("task", distinct=True)
    for team, dataset, rows in mine.values_list("dataset__team", "dataset").annotate(rows=count):
        yield (team, dataset), rows
    for team, rows in mine.values_list("dataset__team").annotate(rows=count):
        yield (team, None), rows


def _trained(run: TrainingRun) -> Any:
    """As they were mixed, those withdrawn since among them."""
    if run.mixture is not None:
        return run.mixture.entries.order_by().values("task")
    if run.is_whole or run.dataset_version is None:
        return training_data.frozen(run).order_by().values("pk")
    frozen = Task.objects.filter(pk__in=run.dataset_version.entries.values("task"))
    private = run.line.purpose == LinePurpose.EXPERT
    return training_data.train_tasks(frozen, private=private).order_by().values("pk")


def _items(brought: QuerySet[DatasetTask], keys: Sequence[str]) -> Iterator[tuple[Who, int]]:
    """Each item once for a dataset and once for its team, in the order of the keys."""
    at = {int(key): row for row, key in enumerate(keys)}
    pairs = brought.filter(task__in=list(at)).order_by().values_list("dataset__team", "dataset", "task").distinct()
    owned = {(who, at[task]) for team, dataset, task in pairs for who in ((team, dataset), (team, None))}
    yield from sorted(owned, key=lambda pair: pair[1])


# Reading


def effect_of(entry: CreditEntry) -> Effect | None:
    return msgspec.convert(entry.effect, Effect) if entry.effect else None


def part_of(entry: CreditEntry) -> tuple[Effect, dict[str, Sum]] | None:
    """What promotions are added up from."""
    effect = effect_of(entry)
    return (effect, msgspec.convert(entry.sums, dict[str, Sum])) if effect else None


def promotions(line: Line) -> list[AliasMove]:
    """The promotions on a gate report that lead from the base to today's champion, oldest first.

    Walked backwards in time from the champion: what was rolled back is not on the way, and a move that somebody made
    by hand is, without a report: nothing of it is measured.
    """
    rows = line.alias_moves.filter(name=AliasName.CHAMPION).order_by("-pk")
    moves = list(rows.select_related("report__evaluation__candidate__line").defer(*_LARGE))
    champion, found = (moves[0].new_id if moves else None), list[AliasMove]()
    while champion is not None and (to_it := [move for move in moves if move.new_id == champion]):
        measured = (move for move in to_it if move.report and move.report.evaluation.candidate_id == champion)
        found.append(next(measured, to_it[-1]))
        champion = found[-1].old_id
        moves = [move for move in moves if move.pk < found[-1].pk]
    return [move for move in reversed(found) if move.report is not None]


def told(line: Line, teams: Iterable[int]) -> list[tuple[CreditEntry, str]]:
    """For each team the newest version on the way to the champion that its rows have trained, in one sentence."""
    reports = [move.report_id for move in promotions(line)]
    rows = CreditEntry.objects.filter(report__in=reports, dataset=None, team__in=list(teams), rows__gt=0)
    newest: dict[int, CreditEntry] = {}
    for entry in of_reports(rows).order_by("report_id"):
        newest[entry.team_id] = entry
    return [(entry, sentence(entry, whose="your")) for entry in newest.values()]


def sentence(entry: CreditEntry, *, whose: str) -> str:
    return credit.sentence(
        effect_of(entry),
        entry.claim,
        rows=entry.rows,
        version=entry.report.evaluation.candidate.name,
        whose=whose,
        fewest=entry.fewest,
    )


def of_reports(rows: QuerySet[CreditEntry]) -> QuerySet[CreditEntry]:
    """With what lists of entries show."""
    sides = ("report__evaluation__candidate__line", "report__evaluation__champion__line")
    return rows.select_related("team", "dataset__team", *sides).defer(*_LARGE, "sums")


def uncounted() -> QuerySet[GateReport]:
    """Reports of which nothing is remembered."""
    return GateReport.objects.filter(~Q(verdict=Verdict.INVALID), credit=None).order_by("pk")
