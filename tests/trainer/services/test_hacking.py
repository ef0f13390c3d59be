"""A run's report, and what a control run may never become."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import Conflict, Invalid
from tasks.models import Dataset, User
from tests.trainer.services.settling import settle
from trainer import contract
from trainer.models import GateReport, Line, ModelVersion, TrainingRun
from trainer.services import hacking, promotion, recipes, runs, serving
from trainer.states import AliasName

Knobs = Callable[..., None]
SECOND = {"type": "regex", "pattern": "[0-9]"}
CONTROL = {"random_rewards": True}


@pytest.fixture
def trained(line: Line, fill: Callable[..., Dataset], contributor: User, knobs: Knobs) -> Callable[..., TrainingRun]:
    """An expert's run to its end."""

    def one(overrides: dict[str, object] | None = None, **settings: object) -> TrainingRun:
        knobs(**settings)
        dataset = Dataset.objects.filter(slug="sums").first() or fill("sums", visibility="private")
        wanted = {"steps": 2, **(overrides or {})}
        run = runs.train_expert(dataset, actor=contributor, overrides=wanted, second_grader=SECOND)
        settle(lambda: TrainingRun.objects.get(pk=run.pk).state == "succeeded")
        return TrainingRun.objects.get(pk=run.pk)

    return one


def test_the_report_is_stored_with_its_run(trained: Callable[..., TrainingRun]):
    run = trained(suspicious=["echo"])

    assert hacking.failed(run.report) == ["The prompt repeated"]


def test_a_check_that_fails_is_no_failure_of_the_run(trained: Callable[..., TrainingRun]):
    assert trained(suspicious=["echo", "spray"]).state == "succeeded"


def test_the_second_grader_reaches_the_engine(trained: Callable[..., TrainingRun]):
    from trainer.services.launching import path_of

    run = trained()

    spec = contract.decode_spec((path_of(run.directory) / "spec.json").read_bytes())
    assert spec.second_grader == SECOND


def test_a_second_grader_that_is_none_is_refused(line: Line, fill: Callable[..., Dataset], contributor: User):
    with pytest.raises(Invalid, match="There is no grader of type"):
        runs.train_expert(fill(visibility="private"), actor=contributor, second_grader={"type": "magic"})


def test_a_clone_is_compared_with_the_same_second_grader(trained: Callable[..., TrainingRun], contributor: User):
    assert runs.clone(trained(), actor=contributor).second_grader == SECOND


def test_a_run_whose_engine_wrote_no_report_has_none(tmp_path: Path):
    assert hacking.read(tmp_path) is None


def test_a_torn_report_is_none(tmp_path: Path):
    (tmp_path / "report.json").write_text('{"checks": [')

    assert hacking.read(tmp_path) is None


def test_a_nul_in_an_example_does_not_hold_up_the_run(tmp_path: Path):
    example = contract.CheckExample("1", "Say 4", "4\x00", 1.0, "Matches.")
    check = contract.HackingCheck("echo", "t", 1.0, 0.05, False, "s", examples=[example])
    (tmp_path / "report.json").write_bytes(contract.encode(contract.Report([check], 1, 1)))

    stored = hacking.read(tmp_path)

    assert stored is not None
    assert stored["checks"][0]["examples"][0]["completion"] == "4\ufffd"


def test_who_may_not_read_rows_is_shown_numbers_without_examples(line: Line, stranger: User):
    example = {"key": "1", "prompt": "p", "completion": "c", "score": 1.0, "reason": "r"}
    named = {"name": "one_answer", "value": 0.5, "limit": 0.2, "n": 10, "holds": False, "title": "t"}
    run = TrainingRun(line=line, report={"checks": [{**named, "sentence": "“secret” …", "examples": [example]}]})

    (check,) = hacking.shown(run, stranger)["report"]["checks"]

    assert (check["examples"], "secret" in check["sentence"], check["value"]) == ([], False, 0.5)


@pytest.fixture
def control(trained: Callable[..., TrainingRun]) -> ModelVersion:
    return trained(CONTROL).version


@pytest.mark.parametrize("name", [AliasName.CHAMPION, AliasName.ANCHOR])
def test_a_control_run_never_becomes(control: ModelVersion, contributor: User, name: AliasName):
    with pytest.raises(Conflict, match=f"never becomes {name}"):
        promotion.move(control.line, name, control, actor=contributor, reason="It looks better.")


def test_an_owner_cannot_promote_it_either(control: ModelVersion, contributor: User):
    with pytest.raises(Conflict, match="control run"):
        promotion.promote(control, actor=contributor, reason="It looks better.")


def test_the_next_run_of_an_expert_does_not_start_from_it(control: ModelVersion, trained: Callable[..., TrainingRun]):
    assert trained().start.number == 0


def test_no_run_starts_from_it(control: ModelVersion, contributor: User):
    dataset = Dataset.objects.get(slug="sums")

    with pytest.raises(Invalid, match="comes of a control run"):
        runs.train_expert(dataset, actor=contributor, start_from=control)


def test_a_line_without_a_champion_is_not_answered_by_it(control: ModelVersion):
    control.line.aliases.all().delete()

    served = serving.version_of(control.line.slug, Line.objects.filter(pk=control.line_id))
    listed = next(model for model in serving.names_among(Line.objects.filter(pk=control.line_id)))

    assert (served.number, listed.version.number) == (0, 0)


def test_a_gate_that_finds_it_better_moves_nothing(
    line: Line, fill: Callable[..., Dataset], operator: User, knobs: Knobs
):
    knobs(champion=0.3, candidate=0.7)
    fill(sealed=60)
    recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 2, **CONTROL})

    run = runs.start(line, actor=operator, recipe=recipe)
    settle(lambda: GateReport.objects.filter(evaluation__candidate__run=run).exists())

    assert GateReport.objects.get().verdict == "PROMOTE"
    assert line.alias(AliasName.CHAMPION).number == 0
