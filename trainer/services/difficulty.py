"""Difficulty: how often a line's champion solves the tasks that it may learn from.

A check asks the tasks that have no rate for this artifact yet, k answers each, in one engine process. Rates are stored
while they come, so that a check that is cancelled or breaks keeps what it has measured. What no answer solved goes to
the data side as a suspected wrong reference; what was solved withdraws such a suspicion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, QuerySet
from django.utils import timezone

from tasks.errors import Conflict, Invalid
from tasks.models import Dataset, Task
from tasks.models.events import Subject, record
from tasks.models.moves import ids_digest
from tasks.services import datasets, pool, suspecting
from tasks.services.access import require_role
from tasks.services.suspecting import Tried
from tasks.states import Role, Split
from trainer.contract import PromptItem, Result, SampleSpec, Sampling, TaskAnswers, encode, sampling_digest
from trainer.launchers import protocol
from trainer.models import DifficultyCheck, Line, ModelVersion, PassRate, Recipe
from trainer.presets import resolve
from trainer.services import rows, training_data, usage, wake
from trainer.services.bases import reference
from trainer.services.launching import path_of
from trainer.states import AliasName, EvaluationState, LinePurpose

ANSWERS = 8  # k, as training.md has it
MOST = 20_000  # tasks of one check: hours of an engine, not days; the next check asks the rest
_GOING = (EvaluationState.QUEUED, EvaluationState.RUNNING)


# What is known


@dataclass(frozen=True, slots=True)
class Measure:
    """By whom and how tasks are answered: rates under another measure say nothing about this one."""

    version: ModelVersion
    space: int
    sampling: Sampling

    @property
    def drawn(self) -> str:
        """Digest of the settings without the seed."""
        return sampling_digest(msgspec.structs.replace(self.sampling, seed=0))[:32]

    def rates(self) -> QuerySet[PassRate]:
        rates: QuerySet[PassRate] = PassRate.objects.filter(
            space=self.space, model=self.version.digest, sampling=self.drawn
        )
        return rates

    def without_rate(self, tasks: Any) -> Any:
        return tasks.filter(~Exists(self.rates().filter(content=OuterRef("content_digest"))))


def measure_of(recipe: Recipe) -> Measure | None:
    """The line's champion, with the settings that the recipe's runs train with; None while there is no champion."""
    champion = recipe.line.alias(AliasName.CHAMPION)
    return _measure(champion, recipe.line.team_id, recipe.preset, recipe.overrides) if champion else None


def _measure(version: ModelVersion, space: int, preset: str, overrides: Mapping[str, Any]) -> Measure:
    spec = resolve(preset, rows=1000, parameters=version.parameters, overrides=overrides).spec
    sampling = Sampling(
        answers_per_item=ANSWERS,
        temperature=spec.temperature,
        max_completion_tokens=spec.max_completion_tokens,
        seed=version.pk,
    )
    return Measure(version, space, sampling)


def tasks_of(recipe: Recipe) -> Any:
    """Training tasks that the recipe may draw from. Domains of weight 0 are left out: nobody asks for their rates."""
    unwanted = [domain for domain, weight in recipe.body.get("weights", {}).items() if weight == 0]
    approved = pool.approved_tasks(recipe.line.team, Split.TRAIN)
    return approved.exclude(domain__in=unwanted) if unwanted else approved


def rates_of(recipe: Recipe) -> dict[str, float]:
    """{content digest: pass rate of the champion}."""
    measure = measure_of(recipe)
    if measure is None:
        return {}
    known = measure.rates().values_list("content", "passes", "graded")
    return {content: passes / graded for content, passes, graded in known.iterator(chunk_size=10_000)}


def missing(recipe: Recipe) -> int:
    """Tasks of the recipe that nobody has measured for its champion."""
    measure = measure_of(recipe)
    found: int = measure.without_rate(tasks_of(recipe)).count() if measure else 0
    return found


@dataclass(frozen=True, slots=True)
class Picture:
    """How difficult a recipe's tasks are for the champion."""

    version: ModelVersion
    tasks: int
    known: int  # with a rate
    counts: Mapping[tuple[int, int], int]  # (passes, graded) → tasks
    never_solved: int  # suspected, in the queue of the reviewers
    answers: int = ANSWERS  # k

    @property
    def missing(self) -> int:
        return self.tasks - self.known


def picture(recipe: Recipe) -> Picture | None:
    measure = measure_of(recipe)
    if measure is None:
        return None
    tasks = tasks_of(recipe)
    within = measure.rates().filter(content__in=tasks.order_by().values("content_digest"))
    grouped = within.order_by().values_list("passes", "graded").annotate(n=Count("pk"))
    counts = {(passes, graded): n for passes, graded, n in grouped}
    suspects = suspecting.suspected([measure.space]).count()
    return Picture(measure.version, tasks.count(), sum(counts.values()), counts, suspects)


Rated = tuple[Task, PassRate]


def ends(recipe: Recipe, visible: Any, most: int = 5) -> tuple[list[Rated], list[Rated]]:
    """(the hardest, the easiest) of the tasks that somebody may see, each with its rate."""
    measure = measure_of(recipe)
    if measure is None:
        return [], []
    rates: Any = measure.rates().annotate(share=F("passes") * 1.0 / F("graded"))
    hardest, easiest = rates.order_by("share", "reward", "pk"), rates.order_by("-share", "-reward", "pk")
    return _shown(hardest, visible, most), _shown(easiest, visible, most)


def _shown(rates: Any, visible: Any, most: int) -> list[Rated]:
    """The first of these rates whose tasks can be seen and still ask what they asked then."""
    some = list(rates[: 4 * most])
    tasks = visible.in_bulk([rate.task for rate in some])
    still = [(tasks[rate.task], rate) for rate in some if rate.task in tasks]
    return [(task, rate) for task, rate in still if task.content_digest == rate.content][:most]


# Verbs


def start(line: Line, *, actor: Any, recipe: Recipe | None = None, dataset: Dataset | None = None) -> DifficultyCheck:
    """Queue the questions that the champion has not answered yet. A check of the same that is under way is returned."""
    require_role(actor, line.team, Role.OPERATOR, *_private_extra(line))
    usage.require_left(line.team)
    measure, tasks = _source(line, recipe, dataset)
    with transaction.atomic():
        Line.objects.select_for_update().get(pk=line.pk)
        going = line.difficulty_checks.filter(
            state__in=_GOING, version=measure.version, recipe=recipe, dataset=dataset
        ).first()
        if going is not None:
            return going
        total, asked = tasks.count(), measure.without_rate(tasks).count()
        if not total:
            raise Invalid("nothing_approved", "No approved task is in the training split: there is nothing to measure.")
        if not asked:
            name = measure.version.name
            raise Conflict("all_measured", f"All {total:,} tasks have a pass rate for {name}: nothing is left to ask.")
        check = DifficultyCheck.objects.create(
            line=line,
            version=measure.version,
            recipe=recipe,
            dataset=dataset,
            space_id=measure.space,
            sampling=msgspec.to_builtins(measure.sampling),
            known=total - asked,
            asked=min(asked, MOST),
            total_steps=min(asked, MOST),
            requested_by=actor,
        )
        data = {"version": measure.version.name, "asked": check.asked, "known": check.known}
        _tell("difficultycheck.queued", check, actor, data)
        wake.supervisor()
    return check


@transaction.atomic
def cancel(check: DifficultyCheck, *, actor: Any) -> None:
    """End the check. The rates that it has measured stay."""
    require_role(actor, check.line.team, Role.OPERATOR, *_private_extra(check.line))
    for state in _GOING:
        changes = {"actor": actor, "finished_at": timezone.now()}
        if DifficultyCheck.objects.advance(check.pk, state, EvaluationState.CANCELLED, **changes):
            transaction.on_commit(lambda: _ask_to_leave(check))
            wake.supervisor()
            return
    raise Conflict("already_ended", f"This check has ended already: it is {check.state}.")


def _ask_to_leave(check: DifficultyCheck) -> None:
    directory = path_of(check.directory)
    if check.directory and directory.is_dir():
        protocol.ask(directory, "cancel")


def _source(line: Line, recipe: Recipe | None, dataset: Dataset | None) -> tuple[Measure, Any]:
    """One source, and of this line: another line's rows are not for this line's team."""
    if (recipe is None) == (dataset is None):
        raise Invalid("one_source", "Name one thing to measure: a recipe or a dataset.", "recipe")
    champion = line.alias(AliasName.CHAMPION) or line.versions.without_controls().order_by("-number").first()
    if champion is None:
        raise Conflict("no_base", f"{line.name} has no version yet: its base is still being built.")
    if recipe is not None:
        if recipe.line_id != line.pk:
            raise Invalid("other_line", f"The recipe belongs to another line than {line.name}.", "recipe")
        return _measure(champion, line.team_id, recipe.preset, recipe.overrides), tasks_of(recipe)
    assert dataset is not None
    if line.team_id not in (dataset.space_id, dataset.team_id):
        raise Invalid("other_team", "A line answers tasks of its own team's datasets.", "dataset")
    private = line.purpose == LinePurpose.EXPERT
    tasks = training_data.train_tasks(datasets.approved(dataset), private=private)
    return _measure(champion, dataset.space_id, "few-shot", {}), tasks


def _private_extra(line: Line) -> tuple[Role, ...]:
    return (Role.CONTRIBUTOR,) if line.purpose == LinePurpose.EXPERT else ()


def _tell(kind: str, check: DifficultyCheck, actor: Any, data: dict[str, Any]) -> None:
    record(kind, subject=Subject("difficultycheck", str(check.pk)), team=check.line.team_id, actor=actor, data=data)


# The engine's side


class DifficultyKind:
    name = "difficulty"
    model = DifficultyCheck
    states = EvaluationState
    queued = EvaluationState.QUEUED
    running = frozenset({EvaluationState.RUNNING})
    succeeded = EvaluationState.SUCCEEDED
    failed = EvaluationState.FAILED

    def queue(self) -> Any:
        return DifficultyCheck.objects.filter(state=EvaluationState.QUEUED).order_by("pk")

    def prepare(self, work: DifficultyCheck, directory: Path) -> None:
        """The tasks are chosen with the first attempt: a later one goes on with the same."""
        sampling = msgspec.convert(work.sampling, Sampling)
        if not (directory / "items.jsonl").exists():
            _write_items(work, Measure(work.version, work.space_id, sampling), directory)
        told = SampleSpec(check=str(work.pk), model=reference(work.version), sampling=sampling, attempt=work.attempt)
        protocol.write_whole(directory / "spec.json", encode(told))

    def read_progress(self, work: DifficultyCheck, directory: Path) -> None:
        _store_next(work, directory)

    def finish(self, work: DifficultyCheck, directory: Path, result: Result) -> bool:
        while _store_next(work, directory):
            pass
        return DifficultyCheck.objects.advance(
            work.pk,
            EvaluationState.RUNNING,
            EvaluationState.SUCCEEDED,
            attempt=work.attempt,
            data={"measured": work.measured, "never_solved": work.never_solved, "ungradable": work.ungradable},
            finished_at=timezone.now(),
            handle=None,
            lease_until=None,
            step=result.step,
            peak_memory_bytes=max(work.peak_memory_bytes, result.peak_memory_bytes),
        )

    def wants_pause(self, work: DifficultyCheck) -> bool:
        return False

    def stopped_early(self, work: DifficultyCheck) -> EvaluationState:
        return EvaluationState.QUEUED


def _write_items(work: DifficultyCheck, measure: Measure, directory: Path) -> None:
    _, tasks = _source(work.line, work.recipe, work.dataset)
    chosen = measure.without_rate(tasks).order_by("content_digest").values_list("pk", flat=True)[: work.asked]
    pks = list(chosen)
    if not pks:
        raise Invalid("all_measured", "What was to be measured has been withdrawn, or measured by another check.")
    rows.write_lines(directory / "items.jsonl", (_item(task) for task in rows.in_order(pks)))


def _item(task: Task) -> PromptItem:
    """Its key holds what was asked as well: the task may ask something else by the time of the answer."""
    return msgspec.structs.replace(rows.prompt_item(task), key=f"{task.pk}:{task.content_digest}")


def _store_next(work: DifficultyCheck, directory: Path) -> bool:
    """Store what the engine has written since the last time; False where that is nothing, or is another's to store."""
    lines, offset = protocol.tail(directory / "answers.jsonl", work.answers_offset)
    answered = _decoded(lines)
    if not lines:
        return False
    anew = offset < work.answers_offset + sum(len(line) + 1 for line in lines)  # the engine cut off a torn tail
    with transaction.atomic():
        mine = DifficultyCheck.objects.filter(
            pk=work.pk, attempt=work.attempt, answers_offset=work.answers_offset
        ).select_for_update()
        if not mine.exists():
            return False
        changes = _counted(work, answered, anew) | {"answers_offset": offset}
        _keep(work, answered)
        DifficultyCheck.objects.filter(pk=work.pk).update(**changes)
    for name, value in changes.items():
        setattr(work, name, value)
    return True


def _decoded(lines: Sequence[bytes]) -> list[TaskAnswers]:
    """A line that a killed engine tore is no answer and is passed over."""
    found = []
    for line in lines:
        try:
            answered = msgspec.json.decode(line, type=TaskAnswers)
        except msgspec.DecodeError:
            continue
        texts = {"wrong": _storable(answered.wrong), "fault": _storable(answered.fault)}
        found.append(msgspec.structs.replace(answered, **texts))
    return found


def _storable(text: str) -> str:
    """Without NUL: small models say it, and Postgres stores it in no text and in no JSON."""
    return text.replace("\x00", "\ufffd")


def _counted(work: DifficultyCheck, answered: Sequence[TaskAnswers], anew: bool) -> dict[str, Any]:
    graded = [line for line in answered if _graded(line)]
    faults = [line.fault for line in answered if line.fault]
    counts = {
        "measured": len(graded),
        "solved": sum(line.passes == len(_graded(line)) for line in graded),
        "never_solved": sum(map(_never_solved, graded)),
        "ungradable": sum(score is None for line in answered for score in line.scores),
        "tokens": sum(line.tokens for line in answered),
    }
    before = dict.fromkeys(counts, 0) if anew else {name: getattr(work, name) for name in counts}
    told: dict[str, Any] = {name: before[name] + count for name, count in counts.items()}
    return told | ({"fault": faults[-1][:300]} if faults else {})


def _graded(line: TaskAnswers) -> list[float]:
    return [score for score in line.scores if score is not None]


def _never_solved(line: TaskAnswers) -> bool:
    """0 of k: every answer was graded and none earned anything; who earns a part has met some of the reference."""
    return bool(line.scores) and line.passes == 0 and all(score == 0 for score in line.scores)


def _keep(work: DifficultyCheck, answered: Sequence[TaskAnswers]) -> None:
    """Rates and suspicions of one chunk, with one event."""
    measure = Measure(work.version, work.space_id, msgspec.convert(work.sampling, Sampling))
    rates = [_rate(measure, line) for line in answered if _graded(line)]
    PassRate.objects.bulk_create(
        rates,
        batch_size=2000,
        update_conflicts=True,
        unique_fields=["space", "content", "model", "sampling"],
        update_fields=["task", "graded", "passes", "reward"],
    )
    if work.space_id == work.line.team_id:  # what a team's own model says of the pool's tasks stays with the team
        _settle(work, answered)
    data = {"count": len(rates), "ids_digest": ids_digest([rate.task for rate in rates])}
    _tell("difficultycheck.measured", work, None, {"version": work.version.name, **data})


def _rate(measure: Measure, line: TaskAnswers) -> PassRate:
    task, content = _named(line)
    graded = _graded(line)
    return PassRate(
        space_id=measure.space,
        content=content,
        model=measure.version.digest,
        sampling=measure.drawn,
        version=measure.version,
        task=task,
        answers=len(line.scores),
        graded=len(graded),
        passes=line.passes,
        reward=sum(graded) / len(graded),
    )


def _named(line: TaskAnswers) -> tuple[int, str]:
    task, _, content = line.key.partition(":")
    return int(task), content


def _settle(work: DifficultyCheck, answered: Sequence[TaskAnswers]) -> None:
    """A task that any model of the space has ever solved is not suspected: its reference can be met."""
    failed = {_named(line): line for line in answered if _never_solved(line)}
    contents = [content for _, content in failed]
    met = PassRate.objects.filter(space=work.space_id, content__in=contents, passes__gt=0)
    solved_before = set(met.values_list("content", flat=True))
    never = [
        Tried(task, content, len(line.scores), line.passes, line.wrong, line.wrong_count)
        for (task, content), line in failed.items()
        if content not in solved_before
    ]
    solved = [_named(line)[0] for line in answered if line.passes]
    suspecting.settle(work.space_id, model=work.version.name, never_solved=never, solved=solved)
