"""Looks of suites, and what happens when they are spent: a quarter of the items makes way for others.

A look is a candidate that was evaluated on items of the suite, whatever version of it that was: a new version holds
most of the items of the last. Failed and cancelled evaluations told nobody anything and are none.

An item goes only where another takes its place, so that a suite never gets shorter and its plan holds. The first to
come are sealed tasks that nobody has asked yet; what they do not fill is sealed from training tasks that no model was
trained on, in whole groups of which not one member was. Where that is not enough, fewer are replaced, and as large a
share of the looks stays counted. The whole rotation is one transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Exists, Max, Min, OuterRef, Q, QuerySet

from tasks.crash import crash_point
from tasks.errors import Conflict, Invalid
from tasks.models import DatasetTask, DatasetVersionTask, Task
from tasks.models.events import Subject, record
from tasks.services import sealing
from tasks.services.access import require_role
from tasks.states import Role, Split, TaskState
from trainer.evaluation.exposure import Exposure, carried, is_spent
from trainer.evaluation.rotation import Asked, quarter, retiring
from trainer.models import (
    Line,
    Mixture,
    MixtureEntry,
    MixtureSource,
    ModelVersion,
    SuiteItem,
    SuiteRotation,
    SuiteVersion,
    TrainingRun,
)
from trainer.services import suites
from trainer.states import EvaluationState

LONGEST_REASON = 300
SPENT = "Its looks were spent."
_NO_LOOK = [EvaluationState.FAILED, EvaluationState.CANCELLED]
_NAMED = [DatasetTask.MembershipRole.TRAIN, DatasetTask.MembershipRole.VALIDATION]


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a rotation would do now."""

    suite: SuiteVersion
    wanted: int  # items to replace: a quarter
    retired: int  # items that can be
    retiring: Sequence[int]  # tasks: these items with all that must share their split
    reserve: int  # successors that are sealed already
    sealed: int  # successors to be sealed
    sealing: Sequence[int]  # tasks: these with all that must share their split

    @property
    def sentence(self) -> str:
        if not self.retired:
            return (
                f"Nothing of {self.suite.name} can be replaced: it has no sealed task that was never asked, and its "
                "space no approved task of that domain that no model was trained on. Approve more tasks."
            )
        told = (
            f"{self.retired:,} of the {self.suite.item_count:,} items become validation, those asked longest. In their "
            f"place come {self.reserve:,} sealed tasks that no candidate was asked, and {self.sealed:,} training tasks "
            "that no model was trained on."
        )
        return told if self.retired == self.wanted else f"{told} {self.wanted:,} were to go: there are no others."


# Looks


def used(line: Line, name: str) -> int:
    """Candidates that were evaluated on items of the suite since its last rotation, and what that left counted."""
    last = last_of(line, name)
    return (last.carried if last else 0) + len(_candidates(line, name, last))


def last_of(line: Line, name: str) -> SuiteRotation | None:
    return SuiteRotation.objects.filter(line=line, name=name).first()


def _candidates(line: Line, name: str, last: SuiteRotation | None) -> set[int]:
    since = line.evaluations.filter(suites__name=name, pk__gt=last.after if last else 0).exclude(state__in=_NO_LOOK)
    return set(since.values_list("candidate", flat=True))


def exposure(line: Line, names: Iterable[str], budget: int, notes: dict[str, list[str]]) -> list[Exposure]:
    """As an evaluation begins, its own look counted in: it is queued."""
    return [Exposure(name, used(line, name), budget, notes.get(name, [])) for name in sorted(names)]


# Rotation


def prospect(line: Line, name: str) -> Prospect | None:
    """What a rotation would do now; None where the suite was never frozen, or came as a file and has no others."""
    suite = SuiteVersion.objects.filter(line=line, name=name).order_by("-number").first()
    of_dataset = name.startswith(suites.OF_DATASET)  # its rows make way with their domain's
    if suite is None or of_dataset or line.imported_suites.filter(name=name).exists():
        return None
    items = _items(suite)
    wanted, reserve = quarter(len(items)), _reserve(suite)
    fresh = _untouched(line, name, wanted - reserve) if reserve < wanted else []
    there = reserve + sum(count for count, _ in fresh)
    chosen = retiring(items, min(wanted, there), seed=line.pk)
    groups = _own_groups(line, name, [int(key) for key in chosen])
    inside = {int(item.key) for item in items}
    retired = sum(len(inside & set(group)) for group in groups)
    sealed = _as_many(fresh, retired - reserve)
    return Prospect(
        suite=suite,
        wanted=wanted,
        retired=retired,
        retiring=[pk for group in groups for pk in group],
        reserve=min(reserve, retired),
        sealed=sum(count for count, _ in sealed),
        sealing=[pk for _, group in sealed for pk in group],
    )


def rotate(line: Line, name: str, *, actor: Any, reason: str) -> SuiteRotation:
    """Replace the items that were asked longest, before the budget asks for it."""
    require_role(actor, line.team, Role.OPERATOR)
    if not reason.strip() or len(reason) > LONGEST_REASON:
        raise Invalid("reason_missing", f"Say why, in at most {LONGEST_REASON} characters.", "reason")
    with transaction.atomic():
        done, sentence = _rotate(Line.objects.select_for_update().get(pk=line.pk), name, actor, reason.strip())
    if done is None:
        raise Conflict("nothing_to_rotate", sentence, "name")
    return done


def when_spent(line: Line, candidate: ModelVersion, names: Iterable[str], budget: int) -> dict[str, list[str]]:
    """Rotate the suites at which this candidate's would be one look too many; what came of it, by suite. The caller
    holds the line's row, within the transaction that queues the evaluation."""
    notes: dict[str, list[str]] = {}
    for name in sorted(names):
        last = last_of(line, name)
        known = _candidates(line, name, last)
        if candidate.pk not in known and is_spent((last.carried if last else 0) + len(known), budget):
            notes[name] = [_rotate(line, name, None, SPENT)[1]]
    return notes


def _rotate(line: Line, name: str, actor: Any, reason: str) -> tuple[SuiteRotation | None, str]:
    """The caller holds the line's row. Nothing is written where nothing can be replaced."""
    sealing.lock_splits(line.team_id)
    found = prospect(line, name)
    if found is None:
        return None, f"{name} has no others to take: only what was frozen from sealed tasks of a domain is rotated."
    if not found.retired:
        return None, found.sentence
    sealing.retire(line.team, found.retiring, actor=actor, reason=f"{line.slug}/{name}: {reason}")
    crash_point("rotation.between")
    if found.sealing:
        sealing.seal(line.team, found.sealing, actor=actor, reason=f"{line.slug}/{name}: {reason}")
    done = _kept(line, found, actor, reason)
    return done, done.sentence


def _kept(line: Line, found: Prospect, actor: Any, reason: str) -> SuiteRotation:
    name, looks = found.suite.name, used(line, found.suite.name)
    done = SuiteRotation.objects.create(
        line=line,
        name=name,
        suite=found.suite,
        looks=looks,
        carried=carried(looks, found.wanted, found.retired),
        wanted=found.wanted,
        retired=found.retired,
        reserve=found.reserve,
        sealed=found.sealed,
        after=line.evaluations.aggregate(last=Max("pk"))["last"] or 0,
        reason=reason,
        actor=actor,
    )
    data = {"name": name, "looks": looks, "carried": done.carried, "reason": reason, "sentence": done.sentence}
    subject = Subject("suiteversion", str(found.suite.pk))
    record("suite.rotated", subject=subject, team=line.team_id, actor=actor, data=data)
    return done


# What goes


def _items(suite: SuiteVersion) -> list[Asked]:
    """Items of the suite that are held out still, with the evaluation that asked each first."""
    held = suite.items.filter(task__split=Split.SEALED, task__state=TaskState.APPROVED)
    families = dict(held.values_list("task_id", "task__family"))
    first = _asked(suite.line, suite.name, families)
    return [Asked(str(pk), str(family or ""), first.get(pk, 0)) for pk, family in families.items()]


def _asked(line: Line, name: str, tasks: Iterable[int]) -> dict[int, int]:
    """{task: id of the evaluation that asked it first}, of those that were asked."""
    rows = SuiteItem.objects.filter(suite__line=line, suite__name=name, task__pk__any_of=list(tasks)).order_by()
    looked = Min("suite__evaluations", filter=~Q(suite__evaluations__state__in=_NO_LOOK))
    return {pk: first for pk, first in rows.values_list("task").annotate(first=looked) if first}


def _reserve(suite: SuiteVersion) -> int:
    """Sealed tasks of the suite's name that nobody was asked, and that are not in it: prompts, each once."""
    others = {int(task.key): task.exact_key for task in suites.candidates(suite.line, suite.name)}
    inside = set(suite.items.values_list("task__exact_key", flat=True))
    asked = _asked(suite.line, suite.name, others)
    return len({key for pk, key in others.items() if pk not in asked} - inside)


def _own_groups(line: Line, name: str, tasks: Sequence[int]) -> list[list[int]]:
    """With all that must share their split. What a suite of another name holds stays: that would get shorter."""
    groups = sealing.groups(line.team_id, tasks)
    shared = suites.named_otherwise(line, name, [pk for group in groups for pk in group])
    return [group for group in groups if not shared & set(group)]


# What comes


def _untouched(line: Line, name: str, least: int) -> list[tuple[int, list[int]]]:
    """(prompts of the suite's name, tasks) of groups in which nobody was trained on anything, until there are `least`.

    By content digest: a choice that depends neither on arrival nor on the clock.
    """
    found: list[tuple[int, list[int]]] = []
    seen: set[int] = set()
    offered = _never_trained(suites.of_name(line, name, Split.TRAIN)).order_by("content_digest", "pk")
    pks = offered.values_list("pk", flat=True).iterator(chunk_size=sealing.CHUNK)
    while least > 0 and (some := [pk for _, pk in zip(range(sealing.CHUNK), pks, strict=False)]):
        fresh = [group for group in sealing.groups(line.team_id, some) if not seen & set(group)]
        seen.update(pk for group in fresh for pk in group)
        for count, group in _usable(line, name, fresh, {pk: place for place, pk in enumerate(some)}):
            if least > 0:
                found.append((count, group))
                least -= count
    return found


def _usable(line: Line, name: str, groups: list[list[int]], places: dict[int, int]) -> list[tuple[int, list[int]]]:
    """Groups that hold nothing but untouched training tasks, in the order in which they were offered."""
    members = [pk for group in groups for pk in group]
    clean = set(_never_trained(Task.objects.filter(pk__any_of=members, split=Split.TRAIN)).values_list("pk", flat=True))
    named = suites.of_name(line, name, Split.TRAIN).filter(pk__any_of=members)
    keys = dict(named.values_list("pk", "exact_key"))
    whole = [group for group in groups if clean.issuperset(group)]
    whole.sort(key=lambda group: min(places.get(pk, len(places)) for pk in group))
    return [(len({keys[pk] for pk in group if pk in keys}), group) for group in whole]


def _never_trained(tasks: QuerySet[Task]) -> QuerySet[Task]:
    """That stood in no mixture and in no version that a run took whole, and whose team has given them no role of their
    own. Validation rows chose checkpoints: they are none of these."""
    taken = DatasetVersionTask.objects.filter(version__in=_given_whole(), task=OuterRef("pk"))
    named = DatasetTask.objects.filter(task=OuterRef("pk"), role__in=_NAMED)
    mixed = MixtureEntry.objects.filter(task=OuterRef("pk"))
    asked = SuiteItem.objects.filter(task=OuterRef("pk"))
    return tasks.filter(~Exists(mixed), ~Exists(taken), ~Exists(named), ~Exists(asked))


def _given_whole() -> list[int]:
    """Dataset versions that runs were given without a mixture. And those of which a mixture took nothing: its digest
    counts them among what was offered, for as long as they have a training task."""
    whole = TrainingRun.objects.exclude(dataset_version=None).values_list("dataset_version", flat=True)
    offered = set(Mixture.dataset_versions.through.objects.values_list("mixture_id", "datasetversion_id"))
    taken = set(MixtureSource.objects.values_list("mixture_id", "dataset_version_id"))
    return sorted({*whole, *(version for _, version in offered - taken)})


def _as_many(groups: list[tuple[int, list[int]]], least: int) -> list[tuple[int, list[int]]]:
    """The first of them that hold `least` prompts together."""
    kept: list[tuple[int, list[int]]] = []
    for count, group in groups:
        if sum(one for one, _ in kept) >= least:
            break
        kept.append((count, group))
    return kept
