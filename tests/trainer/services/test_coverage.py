"""What there is of each domain of the shared line, counted by a job and read from one row."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.utils import timezone

from tasks.models import Dataset, Task, Team
from tasks.states import Split
from tests.trainer.services.trained import crowned
from trainer.contract import Sampling
from trainer.evaluation.wanted import Coverage, Reason
from trainer.models import DifficultyCheck, DomainCount, Evaluation, GateReport, Line, ModelVersion, PassRate
from trainer.services import coverage
from trainer.services.difficulty import Measure
from trainer.states import AliasName

pytestmark = pytest.mark.django_db
Fill = Callable[..., Dataset]
SAMPLING = Sampling(answers_per_item=8, temperature=1.0, max_completion_tokens=48, seed=1)


@pytest.fixture
def champion(line: Line) -> ModelVersion:
    version: ModelVersion = line.alias(AliasName.CHAMPION)
    return version


def another(line: Line) -> ModelVersion:
    return ModelVersion.objects.create(line=line, number=line.versions.count(), digest="ab" * 32, origin="test")


def of(line: Line, domain: str) -> Coverage:
    return next(row.have for row in coverage.listed(line).rows if row.have.domain == domain)


def rated(line: Line, champion: ModelVersion, domain: str, passes: list[int]) -> None:
    """The first training tasks of the domain, solved so many times of eight."""
    DifficultyCheck.objects.create(
        line=line,
        version=champion,
        space=line.team,
        dataset=Dataset.objects.earliest("pk"),
        sampling=msgspec.to_builtins(SAMPLING),
        measured=len(passes),
        state="succeeded",
    )
    measure = Measure(champion, line.team_id, SAMPLING)
    tasks = Task.objects.filter(domain=domain, split=Split.TRAIN).order_by("pk")
    for task, passed in zip(tasks, passes, strict=False):
        PassRate.objects.create(
            space=line.team, content=task.content_digest, model=champion.digest, sampling=measure.drawn,
            version=champion, task=task.pk, answers=8, graded=8, passes=passed, reward=passed / 8,
        )  # fmt: skip


def reported(line: Line, champion: ModelVersion, candidate: ModelVersion, verdict: str = "HOLD") -> GateReport:
    def row(suite: str, old: float, new: float) -> dict[str, Any]:
        sides = {"champion": old, "candidate": new}
        rates = {side: {"mean": mean, "low": mean - 0.05, "high": mean + 0.05} for side, mean in sides.items()}
        return {"suite": suite, "n": 300, **rates}

    evaluation = Evaluation.objects.create(
        line=line, candidate=candidate, champion=champion, sampling={}, policy={}, policy_digest="", state="succeeded"
    )
    rows = [row("overall", 0.5, 0.6), row("add", 0.3, 0.96), row("reverse", 0.7, 0.2)]
    return GateReport.objects.create(
        line=line, evaluation=evaluation, verdict=verdict, sentence="", decision={"rows": rows}, policy_digest=""
    )


def test_rows_are_counted_by_domain_and_split(line: Line, fill: Fill):
    fill(train=60, sealed=30)

    found = of(line, "add")

    assert (found.rows, found.sealed, found.measured, found.rate) == (60, 30, 0, None)


def test_what_is_not_approved_or_not_contributed_is_not_counted(line: Line, fill: Fill, team: Team):
    fill(train=5, sealed=0, domains=("add",))
    fill("mine", visibility="private", train=50, sealed=50, domains=("secret",), owner=team)
    Task.objects.filter(domain="add", pk=Task.objects.filter(domain="add").earliest("pk").pk).update(state="proved")

    rows = coverage.listed(line).rows

    assert [(row.have.domain, row.have.rows) for row in rows] == [("add", 4)]


def test_tasks_without_a_domain_are_general_ones(line: Line, fill: Fill):
    fill(train=3, sealed=2, domains=("", "general"))

    assert (of(line, "general").rows, of(line, "general").sealed) == (6, 4)


def test_the_zone_that_teaches_is_that_of_the_mixtures(line: Line, fill: Fill, champion: ModelVersion):
    fill(train=10, sealed=0)
    rated(line, champion, "add", [0, 5, 6, 8])

    found = of(line, "add")

    assert (found.measured, found.teaching, found.solved, found.untaught) == (4, 2, 2, 8)


def test_rates_of_another_champion_do_not_count(line: Line, fill: Fill, champion: ModelVersion):
    fill(train=10, sealed=0)
    rated(line, champion, "add", [8, 8])
    coverage.count(line)

    crowned(another(line))

    assert (of(line, "add").measured, of(line, "add").untaught) == (0, 10)


def test_the_champions_rate_is_of_its_side_of_the_newest_valid_report(line: Line, champion: ModelVersion):
    candidate = another(line)
    reported(line, champion, candidate)
    reported(line, champion, candidate, verdict="INVALID")

    before = of(line, "add")
    crowned(candidate)
    after = of(line, "add")

    assert before.rate is not None
    assert after.rate is not None
    assert (before.rate.mean, after.rate.mean, before.items) == (0.3, 0.96, 300)


def test_the_pooled_suite_is_no_domain(line: Line, champion: ModelVersion):
    reported(line, champion, another(line))

    assert {row.have.domain for row in coverage.listed(line).rows} == {"add", "reverse"}


def test_a_domain_needs_the_sealed_rows_that_the_planner_says(line: Line, fill: Fill):
    fill(train=400, sealed=30, domains=("add",))

    (row,) = coverage.listed(line).rows

    assert row.reasons == (Reason.THIN_MEASURING,)
    assert 500 < (row.have.needed or 0) < 1200  # two points at up to 16 answers


def test_a_domain_that_is_no_guard_needs_what_makes_a_suite(line: Line, fill: Fill):
    fill(train=1, sealed=1)
    Line.objects.filter(pk=line.pk).update(policy={"guards": [{"suite": "add"}]})

    line.refresh_from_db()

    assert of(line, "reverse").needed == 20


def test_another_policy_is_planned_with_at_once(line: Line, fill: Fill):
    fill(train=1, sealed=1)
    coverage.keep()

    Line.objects.filter(pk=line.pk).update(policy={"guards": [{"suite": "add"}]})
    line.refresh_from_db()

    assert of(line, "reverse").needed == 20


def test_a_count_is_planned_once(line: Line, fill: Fill, monkeypatch: pytest.MonkeyPatch):
    fill(train=1, sealed=1)
    before = of(line, "add").needed
    coverage.keep()

    monkeypatch.setattr(coverage, "plan_for", None)

    assert of(line, "add").needed == before


def test_a_line_without_anything_has_an_empty_list(line: Line):
    assert coverage.listed(line).rows == ()


# Counting


def test_the_job_counts_what_is_due_and_a_page_reads_it(line: Line, fill: Fill, django_assert_max_num_queries: Any):
    fill(train=3, sealed=1)

    counted = coverage.keep()
    with django_assert_max_num_queries(5):
        rows = coverage.listed(line).rows

    assert (counted, len(rows)) == (1, 2)


def test_a_count_of_a_moment_ago_is_left_as_it_is(line: Line):
    coverage.keep()

    assert coverage.keep() == 0


def test_a_count_that_took_long_is_shown_longer(line: Line):
    coverage.keep()
    old = timezone.now() - timedelta(seconds=120)
    DomainCount.objects.update(counted_at=old, seconds=4)

    waits = coverage.keep()
    DomainCount.objects.update(seconds=2)

    assert (waits, coverage.keep()) == (0, 1)


def test_another_champion_makes_a_count_due(line: Line, champion: ModelVersion):
    coverage.keep()

    crowned(another(line))

    assert coverage.keep() == 1


def test_a_teams_own_line_is_never_counted(line: Line, champion: ModelVersion, team: Team):
    Line.objects.create(team=team, slug="own", name="own", purpose="expert")

    coverage.keep()

    assert [row.line_id for row in DomainCount.objects.all()] == [line.pk]
