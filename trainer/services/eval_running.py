"""The work of an eval's run: rows of its file become items, items are asked and graded, chunk by chunk.

A background job that may be lost, repeated or killed: whoever claims the run goes on behind the last chunk that was
committed, under an attempt of its own, and a worker that has lost its lease writes nothing more. Runs take turns of
SLICE_SECONDS, AT_ONCE at a time, so that neither imports nor the runs of other teams wait for a long one.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from tasks.crash import crash_point
from tasks.errors import Busy, FlywheelError, Invalid
from tasks.graders import judges, registry
from tasks.models import File
from tasks.services import files, leases
from trainer.evaluation import eval_items
from trainer.evaluation.eval_items import Answer, Result
from trainer.models import EvalItem, EvalRun, RunCheckpoint
from trainer.services import checkpoints, eval_asking, eval_runs, wake
from trainer.services.eval_asking import NeverAnswered, Unavailable
from trainer.states import EvaluationState

SLICE_SECONDS = 60.0
AT_ONCE = 1  # runs: an installation may have no more than two worker processes for everything
LOADED_AT_ONCE, LOADED_BYTES = 500, 16 << 20  # rows of a file
GRADED_AT_ONCE = 100  # rows, where nobody has to be waited for
ASKED_AT_ONCE = 16  # rows, where a model answers or judges, or a program runs
AWAY_SECONDS = 30.0  # until a model server that did not answer is asked again
LONGEST_LINE = 2 << 20  # bytes: a hundred rows are in memory at once
_QUEUED, _RUNNING = EvaluationState.QUEUED, EvaluationState.RUNNING
POISONED = {
    "code": "worker_stopped",
    "sentence": "Grading these rows stopped its worker three times at the same place: report it.",
}


def sweep() -> list[int]:
    """Wake the next ones: those whose wake-up was lost, whose worker was, or whose turn it is. Who had none comes
    first, then who had the last one longest ago."""
    free = AT_ONCE - _at_work().count()
    due = leases.due(EvalRun, _QUEUED, _RUNNING).order_by(F("lease_until").asc(nulls_first=True), "pk")
    found = list(due.values_list("pk", flat=True)[: max(free, 0)])
    for pk in found:
        wake.eval_run(pk)
    return found


def _at_work() -> Any:
    """A run that waits for its model server holds no worker."""
    return EvalRun.objects.filter(state=_RUNNING, lease_until__gt=timezone.now(), error__isnull=True)


def run_eval(run_id: int) -> None:
    """Work on a run, if nobody else does and it is its turn. Repeated or late calls change nothing."""
    if _at_work().exclude(pk=run_id).count() >= AT_ONCE:
        return
    attempt = leases.claim(EvalRun, run_id, _QUEUED, _RUNNING)
    if attempt is None:
        _give_up(run_id)
        return
    crash_point("eval.after_claim")
    _go_on(
        _Work(
            EvalRun.objects.select_related("eval__team", "version__line", "checkpoint__run__line").get(pk=run_id),
            attempt,
        )
    )
    sweep()


def _go_on(work: "_Work") -> None:
    try:
        if work.load() and work.has_a_model() and work.grade():
            work.finish()
    except leases.FencedOff:
        return
    except Unavailable as away:
        work.wait(away.fault)
    except NeverAnswered as refused:
        work.fail(refused.fault)
    except FlywheelError as refused:
        work.fail(refused)


def _give_up(run_id: int) -> None:
    """A run whose last claims all came to nothing: what it waited for did not come, or it kills its workers."""
    stuck = leases.poisoned(EvalRun, _QUEUED, _RUNNING)
    found = stuck.filter(pk=run_id, state=_RUNNING).first()
    if found is not None:
        stuck.advance(
            run_id, _RUNNING, EvaluationState.FAILED, error=found.error or POISONED, finished_at=timezone.now()
        )


class _Work:
    """One attempt at one run."""

    def __init__(self, run: EvalRun, attempt: int) -> None:
        self.run, self.pk, self.attempt = run, run.pk, attempt
        self.criteria: list[Mapping[str, Any]] = run.eval.criteria
        self.until = time.monotonic() + SLICE_SECONDS

    def _hold(self) -> EvalRun:
        held: EvalRun = leases.hold(EvalRun, self.pk, self.attempt, _RUNNING)
        return held

    def _keep(self, **changes: Any) -> None:
        leases.keep(EvalRun, self.pk, self.attempt, _RUNNING, error=None, **changes)

    def _hand_over(self) -> bool:
        """Somebody else's turn, or the next one of this run."""
        mine = EvalRun.objects.filter(pk=self.pk, attempt=self.attempt, state=_RUNNING)
        mine.update(lease_until=timezone.now())
        return False

    # Rows of a file

    def load(self) -> bool:
        """Every row of the file as an item. False: the time is up."""
        if self.run.loaded:
            return True
        there = self.run.items.count()
        rows = islice(_rows(self.run), there, None)
        while chunk := _chunk(rows):
            with transaction.atomic():
                self._hold()
                eval_runs.add_items(self.run, there, chunk)
                there += len(chunk)
                self._keep(total=there)
            crash_point("eval.after_load")
            if time.monotonic() > self.until:
                return self._hand_over()
        if not there:
            raise Invalid("no_rows", 'The file holds no rows: write {"item": {…}} on each line.', "file")
        self._keep(loaded=True)
        return True

    # Items

    def has_a_model(self) -> bool:
        """A checkpoint comes into the store with its first use."""
        if isinstance(self.run.served, RunCheckpoint) and self._next(-1):
            with leases.kept_alive(EvalRun, self.pk, self.attempt, _RUNNING):
                try:
                    checkpoints.in_store(self.run.served)
                except Busy as others:
                    raise Unavailable(others) from others
        return True

    def grade(self) -> bool:
        """Answers and results of every item that has none. False: the time is up."""
        behind = -1
        while items := self._next(behind):
            with leases.kept_alive(EvalRun, self.pk, self.attempt, _RUNNING):
                answers = self._answers(items)
                results = self._results(items, answers)
            self._write(items, answers, results)
            crash_point("eval.after_chunk")
            behind = items[-1].position
            if time.monotonic() > self.until and self._next(behind):
                return self._hand_over()
        return True

    def _next(self, behind: int) -> list[EvalItem]:
        waits = self.run.prompt is not None or any(_waits(one["grader"]) for one in self.criteria)
        size = ASKED_AT_ONCE if waits else GRADED_AT_ONCE
        return list(self.run.items.filter(position__gt=behind, status="").order_by("position")[:size])

    def _answers(self, items: Sequence[EvalItem]) -> list[Answer]:
        if self.run.prompt is None:
            return [eval_items.given_answer(item.sample) for item in items]
        first = items[0].position == 0
        return eval_asking.ask_all(self.run, [item.item for item in items], first=first)

    def _results(self, items: Sequence[EvalItem], answers: Sequence[Answer]) -> list[list[Result]]:
        """By item, in the order of the criteria."""
        answered = [place for place, answer in enumerate(answers) if not answer.code]
        given = [(answers[place].text, items[place].item) for place in answered]
        results: list[list[Result]] = [[] for _ in items]
        with judges.for_team(self.run.eval.team_id):
            for criterion in self.criteria:
                grades = dict(zip(answered, registry.grade_many(criterion["grader"], given), strict=True))
                for place, found in enumerate(results):
                    grade = grades.get(place)
                    key = criterion["key"]
                    found.append(
                        eval_items.result_of(key, grade) if grade else eval_items.unanswered(key, answers[place])
                    )
        return results

    @transaction.atomic
    def _write(self, items: Sequence[EvalItem], answers: Sequence[Answer], results: Sequence[list[Result]]) -> None:
        held = self._hold()
        tally = eval_items.tally_from(held.by_criterion, held.usage)
        for item, answer, found in zip(items, answers, results, strict=True):
            item.answer = eval_items.storable(msgspec.to_builtins(answer))
            item.results = eval_items.storable(msgspec.to_builtins(found))
            item.status = eval_items.status_of(found)
            tally.add(item.status, found, answer, self.run.model)
        EvalItem.objects.bulk_update(items, ["answer", "results", "status"])
        self._keep(
            passed=held.passed + tally.statuses[eval_items.PASS],
            failed=held.failed + tally.statuses[eval_items.FAIL],
            errored=held.errored + tally.statuses[eval_items.ERROR],
            by_criterion=tally.by_criterion,
            usage=tally.usage,
        )
        crash_point("eval.before_commit")

    # Ends

    def finish(self) -> None:
        crash_point("eval.before_finish")
        self._end(EvaluationState.SUCCEEDED, error=None)

    def fail(self, fault: FlywheelError) -> None:
        self._end(EvaluationState.FAILED, error=_told(fault))

    def _end(self, state: EvaluationState, **changes: Any) -> None:
        now = timezone.now()
        EvalRun.objects.advance(self.pk, _RUNNING, state, attempt=self.attempt, finished_at=now, **changes)

    def wait(self, fault: FlywheelError) -> None:
        """Whoever comes after AWAY_SECONDS tries again. Claims that come to nothing are counted."""
        mine = EvalRun.objects.filter(pk=self.pk, attempt=self.attempt, state=_RUNNING)
        mine.update(lease_until=timezone.now() + timedelta(seconds=AWAY_SECONDS), error=_told(fault))


def _told(fault: FlywheelError) -> dict[str, str]:
    return {"code": fault.code, "sentence": fault.sentence}


def _waits(config: Mapping[str, Any]) -> bool:
    """Whether a grade is made elsewhere: by a judge, a sandbox, a process."""
    parsed = registry.parse(config)
    return hasattr(registry.module_of(parsed), "compile_many") or registry.asks_a_model(parsed)


def _rows(run: EvalRun) -> Iterator[Mapping[str, Any]]:
    """Of the run's file, checked one by one. Raises Invalid with the line."""
    fits = eval_items.schema_fits(run.eval.item_schema)
    count = 0
    for number, line in enumerate(_lines(_pieces(run)), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise Invalid("bad_row", f"Line {number:,} of the file is not JSON.", "file") from None
        if wrong := eval_items.row_problem(row, fits):
            raise Invalid("bad_row", f"Line {number:,} of the file cannot be used: {wrong[1]}", "file")
        count += 1
        if count > eval_runs.MOST_ROWS:
            raise Invalid("too_many_rows", f"The file has more than {eval_runs.MOST_ROWS:,} rows: split it.", "file")
        yield row


def _chunk(rows: Iterator[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """As many as are written at once: few of huge ones."""
    found: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        found.append(row)
        size += len(json.dumps(row))
        if len(found) == LOADED_AT_ONCE or size > LOADED_BYTES:
            break
    return found


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > LONGEST_LINE:
            raise Invalid("line_too_long", f"A line of the file is longer than {LONGEST_LINE:,} bytes.", "file")
    if rest:
        yield rest


def _pieces(run: EvalRun) -> Iterator[bytes]:
    gone = Invalid("file_missing", "The file of this run is not there any more: upload it and start again.", "file")
    file = File.objects.live().filter(pk=run.file_id or 0).first()
    if file is None:
        raise gone
    try:
        return files.read(file)
    except OSError:
        raise gone from None
