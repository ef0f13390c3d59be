"""The bench of the grader page: a configuration in work, a row, a text, and what came of them. Nothing is stored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from django.http import HttpRequest, QueryDict

from tasks.errors import FlywheelError, Invalid
from tasks.forms import BenchForm, apart, pretty
from tasks.graders import registry
from tasks.models import DatasetTask, Upload
from tasks.services import tombstones, trying
from tasks.types import Grade
from tasks.views.listing import whole
from tasks.views.records import answer_of
from tasks.views.scope import signed_in

TIMED_ROWS = 20
TIMED_JUDGED_ROWS = 3  # each costs tokens


@dataclass(frozen=True, slots=True)
class Timing:
    """What the right answers of the first rows took, and whether they passed."""

    rows: Sequence[tuple[int, Grade]]  # line, grade

    @property
    def failed(self) -> Sequence[tuple[int, Grade]]:
        return [row for row in self.rows if not row[1].correct]

    @property
    def median(self) -> float:
        """Seconds a grade."""
        return median(grade.seconds for _, grade in self.rows)

    @property
    def slowest(self) -> float:
        return max(grade.seconds for _, grade in self.rows)

    @property
    def tokens(self) -> int:
        return sum(sum(grade.usage.values()) for _, grade in self.rows)


@dataclass(slots=True)
class Bench:
    upload: Upload
    form: BenchForm
    member: DatasetTask | None  # the row in work
    verb: str = ""  # the button that was pressed
    before: int | None = None  # the lines beside it
    behind: int | None = None
    checked: trying.Checked | None = None
    grade: Grade | None = None
    timing: Timing | None = None
    problems: list[str] = field(default_factory=list)  # what stands beside no field
    status: int = 200

    @property
    def gold(self) -> str:
        return answer_of(self.member.task) if self.member else ""

    @property
    def space(self) -> int:
        """Whose served models may judge."""
        return self.upload.dataset.space_id

    @property
    def timed(self) -> int:
        """How many right answers are graded at a press, going by the row's own grader."""
        grader = self.member.task.grader if self.member else None
        return TIMED_JUDGED_ROWS if grader and registry.asks_a_model(grader.config) else TIMED_ROWS

    @property
    def checked_text(self) -> str:
        """The configuration as it was checked, to be handed on."""
        return pretty(self.checked.grader) if self.checked else ""

    def config(self, member: DatasetTask) -> Mapping[str, Any]:
        """Of the row, or of the editor, as the form says."""
        if self.form.cleaned_data.get("use") != "edited":
            if member.task.grader is None:
                raise Invalid("grader_missing", "This row has no grader yet: grade it with the one in the editor.")
            return dict(member.task.grader.config)
        return self.edited()

    def edited(self) -> Mapping[str, Any]:
        config = self.form.cleaned_data.get("grader")
        if config is None:
            raise Invalid("grader_missing", "Write a configuration, or insert an example.", "grader")
        return dict(config)


def lay_out(request: HttpRequest, upload: Upload) -> Bench:
    """The bench as the address or the form left it, with what its button asks for."""
    if request.method != "POST":
        member = _readable(_row(upload, request.GET.get("at", "")), request)
        initial = {**_initial(upload, member), "completion": request.GET.get("say", "")}
        return _beside(Bench(upload, BenchForm(initial=initial), member))
    data, verb = request.POST.copy(), request.POST.get("verb", "")
    member = _readable(_row(upload, data.get("at", ""), verb), request)
    if verb == "example":
        _insert(data)
    if member is not None:
        data["at"] = str(member.line)
    form = BenchForm(data)
    form.is_valid()
    bench = _beside(Bench(upload, form, member, verb))
    if verb in _VERBS:
        _work(_VERBS[verb], bench, request)
    return bench


def _row(upload: Upload, asked: str, verb: str = "") -> DatasetTask | None:
    """The row of a line, or of #task; the one before or behind it; the first where none is named."""
    rows = upload.memberships.select_related("task__grader").order_by("line")
    if asked.startswith("#"):
        return rows.filter(task_id=whole(asked[1:]) or 0).first()
    line = whole(asked)
    if line is None:
        return rows.first()
    beside = {"previous": rows.filter(line__lt=line).reverse(), "next": rows.filter(line__gt=line)}.get(verb)
    return (beside.first() if beside is not None else None) or rows.filter(line=line).first()


def _readable(member: DatasetTask | None, request: HttpRequest) -> DatasetTask | None:
    if member is not None:
        tombstones.bury([member.task], signed_in(request))
    return member


def _initial(upload: Upload, member: DatasetTask | None) -> dict[str, Any]:
    """The configuration to begin with: the row's own, else the dataset's default."""
    grader = (member.task.grader if member else None) or upload.dataset.default_grader
    config, source = apart(grader.config) if grader else ({}, "")
    return {"grader": pretty(config) if config else "", "source": source, "at": member.line if member else ""}


def _insert(data: QueryDict) -> None:
    """The catalogue's example of the chosen type, in the editor."""
    for described in registry.describe():
        if described["type"] == data.get("example"):
            config, data["source"] = apart(described["grader"])
            data["grader"] = pretty(config)


def _beside(bench: Bench) -> Bench:
    if bench.member is not None:
        lines = bench.upload.memberships.values_list("line", flat=True)
        bench.before = lines.filter(line__lt=bench.member.line).order_by("-line").first()
        bench.behind = lines.filter(line__gt=bench.member.line).order_by("line").first()
    return bench


def _work(verb: Callable[[Bench, HttpRequest], None], bench: Bench, request: HttpRequest) -> None:
    """A refusal is shown where it belongs; nothing that was typed is lost."""
    try:
        verb(bench, request)
    except FlywheelError as refused:
        bench.status = refused.status
        if (refused.param or "").startswith("grader"):
            bench.form.refuse(refused)
        else:
            bench.problems.append(refused.sentence)


def _check(bench: Bench, request: HttpRequest) -> None:
    if not bench.form.errors:
        bench.checked = trying.check(bench.edited(), actor=signed_in(request), space=bench.space)


def _try(bench: Bench, request: HttpRequest) -> None:
    if bench.member is None:
        raise Invalid("row_missing", "There is no such row in this upload: choose a line that has become a task.")
    text = bench.form.cleaned_data["completion"]
    config, item = bench.config(bench.member), bench.member.task.item
    bench.grade = trying.grade(config, text, item, actor=signed_in(request), space=bench.space)


def _time(bench: Bench, request: HttpRequest) -> None:
    """The right answers of the first rows, as proof would try them."""
    rows = list(bench.upload.memberships.select_related("task__grader").order_by("line")[:TIMED_ROWS])
    wanted: list[tuple[int, tuple[registry.Config, str, Mapping[str, Any]]]] = []
    for row in rows:
        config = registry.parse(bench.config(row))
        if registry.asks_a_model(config) and len(wanted) >= TIMED_JUDGED_ROWS:
            break
        gold = row.task.gold if row.task.gold is not None else registry.gold(config, row.task.item)
        if gold is not None:
            wanted.append((row.line, (config, gold, row.task.item)))
    if not wanted:
        raise Invalid("gold_missing", "None of the first rows has a right answer to try: give them a gold.")
    grades = trying.grade_each([asked for _, asked in wanted], actor=signed_in(request), space=bench.space)
    bench.timing = Timing([(line, grade) for (line, _), grade in zip(wanted, grades, strict=True)])


_VERBS: Mapping[str, Callable[[Bench, HttpRequest], None]] = {"check": _check, "try": _try, "time": _time}
