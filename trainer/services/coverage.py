"""Coverage: what there is of each domain of a shared line, and which domains more is wanted of.

Counting reads every approved task, so a job does it (`keep`) and a page, which anybody may open, reads one row. Only
figures leave: domains with their rates and counts, of the shared pool alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import msgspec
from django.db.models import Count, Exists, F, OuterRef, Q
from django.utils import timezone

from tasks.models import Task
from tasks.states import Split, TaskState
from trainer.contract import Sampling
from trainer.evaluation import wanted
from trainer.evaluation.decision import Rate
from trainer.evaluation.policy import Guard, plan_for
from trainer.evaluation.scoring import OVERALL
from trainer.evaluation.wanted import Coverage, Wanted
from trainer.mixing import Band
from trainer.models import DomainCount, GateReport, Line, ModelVersion
from trainer.services import planning, policies, suites
from trainer.services.difficulty import Measure
from trainer.services.rows import GENERAL
from trainer.states import AliasName, LinePurpose, Verdict

AT_LEAST_SECONDS = 60  # between two counts of a line
WORTH = 50  # a count is shown for so many times as long as it took: at most a fiftieth of a worker's time goes into it
Counts = dict[str, dict[str, int]]  # domain → figure → tasks


@dataclass(frozen=True, slots=True)
class Listed:
    """The list of a line, as anybody may read it."""

    line: Line
    champion: ModelVersion | None
    measured_at: datetime | None  # of the report that the rates are of; None: the champion is not measured yet
    counted_at: datetime
    rows: tuple[Wanted, ...]

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        return tuple(row for row in self.rows if row.is_wanted)


# Reading


def listed(line: Line) -> Listed:
    """Counts as they were kept; where none are yet, as of now."""
    champion = line.alias(AliasName.CHAMPION)
    kept = DomainCount.objects.filter(line=line).first() or _counted(line, champion)
    report = _report_on(line, champion)
    rates = _rates(report, champion)
    known = kept.champion_id == (champion.pk if champion else None)  # else the rates are of another champion
    domains: Counts = {name: counts if known else _unasked(counts) for name, counts in kept.domains.items()}
    domains |= {name: {} for name in rates if name not in domains}
    needed = _needed_as_kept(line, kept, domains)
    found = (_coverage(name, counts, needed[name], rates.get(name)) for name, counts in domains.items())
    return Listed(line, champion, report.created_at if report else None, kept.counted_at, tuple(wanted.ordered(found)))


def _unasked(counts: Mapping[str, int]) -> dict[str, int]:
    return {**counts, "measured": 0, "solved": 0}


def _coverage(domain: str, counts: Mapping[str, int], needed: int | None, rated: Mapping[str, Any] | None) -> Coverage:
    rate = msgspec.convert(rated["rate"], Rate) if rated else None
    return Coverage(domain, **counts, needed=needed, rate=rate, items=rated["n"] if rated else 0)


def _report_on(line: Line, champion: ModelVersion | None) -> GateReport | None:
    """The newest comparison that says something and in which today's champion took part, on either side."""
    if champion is None:
        return None
    took_part = Q(evaluation__candidate=champion) | Q(evaluation__champion=champion)
    reports = GateReport.objects.filter(took_part, line=line).exclude(verdict=Verdict.INVALID)
    return reports.select_related("evaluation").defer("flips").first()


def _rates(report: GateReport | None, champion: ModelVersion | None) -> dict[str, dict[str, Any]]:
    if report is None or champion is None:
        return {}
    side = "candidate" if report.evaluation.candidate_id == champion.pk else "champion"
    rows = report.decision.get("rows", [])
    others = {OVERALL, *report.line.imported_suites.values_list("name", flat=True)}  # what is public are domains alone
    return {
        row["suite"]: {"rate": row[side], "n": row["n"]}
        for row in rows
        if row["suite"] not in others and not row["suite"].startswith(suites.OF_DATASET)
    }


def _needed_as_kept(line: Line, kept: DomainCount, domains: Counts) -> Mapping[str, int | None]:
    """Planned with the count; planned now where the policy is another one, or a report has brought a domain."""
    if kept.policy == policies.of(line).digest() and kept.needed.keys() >= domains.keys():
        return dict(kept.needed)
    return _needed(line, domains)


def _needed(line: Line, domains: Counts) -> dict[str, int | None]:
    """Sealed rows at which the guard of each domain sees its margin, as evaluations are planned; where it is no guard,
    what makes a suite."""
    sealed = {name: counts.get("sealed", 0) for name, counts in domains.items()}
    policy = policies.of(line)
    if not policy.guards:  # what each of them would need that asks for proof, also where too few are there for it now
        guards = tuple(Guard(suite) for suite in sealed if suite not in policy.invariants)
        policy = msgspec.structs.replace(policy, guards=guards)
    known = planning.champion_on(line, policy)
    planned = {suite.suite: suite.needed for suite in plan_for(policy, sealed, known=known).suites} if sealed else {}
    return {name: None if (least := planned[name]) is None else max(least, suites.FEWEST) for name in sealed}


# Counting


def keep() -> int:
    """Count the shared lines whose count is due; returns how many. Twice at a time gives the same rows."""
    due = [line for line in Line.objects.filter(purpose=LinePurpose.SHARED) if _is_due(line)]
    for line in due:
        count(line)
    return len(due)


def count(line: Line) -> DomainCount:
    """Replace the line's count by one of now. It tells nothing new, so it leaves no event."""
    fresh = _counted(line, line.alias(AliasName.CHAMPION))
    columns = ("champion", "domains", "needed", "policy", "seconds", "counted_at")
    facts = {name: getattr(fresh, name) for name in columns}
    return DomainCount.objects.update_or_create(line=line, defaults=facts)[0]


def _is_due(line: Line) -> bool:
    kept = DomainCount.objects.filter(line=line).first()
    champion = line.alias(AliasName.CHAMPION)
    if kept is None or kept.champion_id != (champion.pk if champion else None):
        return True
    return bool(timezone.now() >= kept.counted_at + timedelta(seconds=max(AT_LEAST_SECONDS, WORTH * kept.seconds)))


def _counted(line: Line, champion: ModelVersion | None) -> DomainCount:
    started, domains = monotonic(), Counts()
    approved = Task.objects.filter(space=line.team_id, state=TaskState.APPROVED)
    trains, sealed = approved.filter(split=Split.TRAIN), approved.filter(split=Split.SEALED)
    figures = {
        "rows": _by_domain(trains, Count("pk")),
        "sealed": _by_domain(sealed, Count("exact_key", distinct=True)),
    }
    if measure := _measure(line, champion):
        rated = measure.rates().filter(content=OuterRef("content_digest"))
        figures["measured"] = _by_domain(trains.filter(Exists(rated)), Count("pk"))
        solved = rated.filter(passes__gt=F("graded") * Band().max)
        figures["solved"] = _by_domain(trains.filter(Exists(solved)), Count("pk"))
    for figure, found in figures.items():
        for domain, n in found:
            told = domains.setdefault(domain or GENERAL, {})
            told[figure] = told.get(figure, 0) + n
    return DomainCount(
        line=line,
        champion=champion,
        domains=domains,
        needed=_needed(line, domains),
        policy=policies.of(line).digest(),
        seconds=monotonic() - started,
        counted_at=timezone.now(),
    )


def _by_domain(tasks: Any, count: Count) -> Any:
    return tasks.order_by().values_list("domain").annotate(n=count)


def _measure(line: Line, champion: ModelVersion | None) -> Measure | None:
    """As the champion was asked last: rates under other settings say nothing about these."""
    asked = line.difficulty_checks.filter(version=champion, space=line.team_id, measured__gt=0)
    check = asked.first() if champion else None
    return Measure(champion, line.team_id, msgspec.convert(check.sampling, Sampling)) if check and champion else None
