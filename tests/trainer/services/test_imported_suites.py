"""A file as a suite: every row sealed, no row trained on, and what a version knows already left out."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, Event, HeldOutItem, HeldOutSuite, Membership, Task, Team, Upload, User
from tasks.services import datasets, importing, proving, uploads
from tasks.states import Split
from trainer import catalogue
from trainer.models import ImportedSuite, Line, Mixture, ModelVersion, SuiteItem, TrainingRun
from trainer.services import contamination, evaluations, imported_suites, recipes, rotation, runs, suites
from trainer.states import AliasName

Fill = Callable[..., Dataset]
ABOUT = {"source": "our school", "licence": "CC-BY-4.0", "revision": "2026-11"}


def exam(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Questions that differ in more than a number."""
    things = ("apples", "pears", "nuts", "books", "coins", "stones", "cups")
    return [
        {
            "prompt": f"Ada has {n + 3} {things[n % 7]} and buys {n} more {things[(n + 2) % 7]}: how many has she?",
            "reference": 2 * n + 3,
        }
        for n in range(start, start + count)
    ]


def lines_of(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def through(upload: Upload) -> Upload:
    importing.import_upload(upload.pk)
    proving.prove_upload(upload.pk)
    upload.refresh_from_db()
    return upload


def brought(suite: ImportedSuite, rows: list[dict[str, Any]]) -> Upload:
    upload, _ = imported_suites.bring(suite, [lines_of(rows)], filename="exam.jsonl", actor=None)
    through(upload)
    imported_suites.register_new()
    suite.refresh_from_db()
    return upload


def candidate(line: Line, run: TrainingRun | None = None) -> ModelVersion:
    number, champion = line.versions.count(), line.alias(AliasName.CHAMPION)
    return ModelVersion.objects.create(
        line=line, number=number, digest=f"{number:064d}", parent=champion, origin="run", run=run
    )


@pytest.fixture
def suite(line: Line, operator: User) -> ImportedSuite:
    return imported_suites.create(line, "exam", grader={"type": "number"}, actor=operator, **ABOUT)


def tasks_of(suite: ImportedSuite) -> Any:
    return Task.objects.filter(memberships__dataset=suite.dataset)


def test_every_row_is_sealed_and_let_in_whatever_the_split_rule_says(suite: ImportedSuite):
    brought(suite, exam(40))

    assert set(tasks_of(suite).values_list("split", "state")) == {("sealed", "approved")}
    assert suite.registered == 40


def test_its_rows_form_the_suite_of_its_name_and_none_of_their_domain(suite: ImportedSuite, line: Line, fill: Fill):
    fill()
    brought(suite, [{**row, "domain": "add"} for row in exam(40)])

    evaluation = evaluations.start(candidate(line), actor=None)

    assert suites.available(line) == {"add": 30, "exam": 40, "reverse": 30}
    assert dict(evaluation.suites.values_list("name", "item_count")) == {"add": 30, "exam": 40, "reverse": 30}


def test_another_line_of_the_space_has_no_part_in_it(suite: ImportedSuite, line: Line):
    brought(suite, exam(40))
    other = Line.objects.create(team=line.team, slug="other", name="Other", purpose="shared")

    assert suites.available(other) == {}


def test_its_rows_are_in_no_mixture_and_no_version(suite: ImportedSuite, line: Line, fill: Fill, operator: User):
    fill()
    brought(suite, exam(40))

    recipes.build(recipes.create(line, "all", {}, actor=operator), actor=operator)

    assert not Mixture.objects.get().entries.filter(task__in=tasks_of(suite).values("pk")).exists()
    assert not suite.dataset.versions.exists()


def test_nobody_trains_on_it_and_nobody_freezes_it(suite: ImportedSuite, line: Line, operator: User):
    brought(suite, exam(40))

    with pytest.raises(Invalid, match="held-out suite"):
        runs.start(line, actor=operator, dataset=suite.dataset)
    with pytest.raises(Invalid, match="held-out suite"):
        datasets.freeze(suite.dataset, actor=None)


def test_its_prompts_are_held_out_before_anything_is_evaluated(suite: ImportedSuite, fill: Fill, team: Team):
    brought(suite, exam(40))
    dataset = datasets.create(
        team,
        "Copied",
        actor=None,
        visibility="contributed",
        licence="CC0-1.0",
        consent_version=datasets.CONSENT_VERSION,
        default_grader={"type": "number"},
    )
    told = {**exam(1)[0], "prompt": f"Here is one: {exam(1)[0]['prompt']} Think well."}
    upload, _ = uploads.receive(dataset, [lines_of([told])], filename="copied.jsonl", actor=None)
    through(upload)

    assert HeldOutSuite.objects.filter(name="shared/exam").exists()
    assert upload.counts["rejected"] == {"contaminated": 1}


def test_a_row_whose_prompt_is_open_already_stays_out_of_it(suite: ImportedSuite, line: Line, team: Team):
    dataset = datasets.create(team, "Before", actor=None, default_grader={"type": "number"})
    Dataset.objects.filter(pk=dataset.pk).update(space=line.team)
    upload, _ = uploads.receive(dataset, [lines_of(exam(5))], filename="before.jsonl", actor=None)
    through(upload)
    Task.objects.filter(memberships__dataset=dataset).update(split=Split.TRAIN)

    second = brought(suite, exam(30))

    assert second.counts["rejected"] == {"not_held_out": 5}
    assert suite.registered == 25


def test_a_row_near_an_open_one_joins_no_family_and_is_sealed(suite: ImportedSuite, line: Line, team: Team):
    dataset = datasets.create(team, "Before", actor=None, default_grader={"type": "number"})
    Dataset.objects.filter(pk=dataset.pk).update(space=line.team)
    near = {**exam(1)[0], "prompt": exam(1)[0]["prompt"].replace("how many has she", "how many has she now")}
    upload, _ = uploads.receive(dataset, [lines_of([near])], filename="before.jsonl", actor=None)
    through(upload)
    Task.objects.filter(memberships__dataset=dataset).update(split=Split.TRAIN)

    brought(suite, exam(1))

    row = tasks_of(suite).get()
    assert (row.split, row.family) == ("sealed", None)
    assert row.findings.filter(kind="near_duplicate").exists()


def test_a_suite_that_is_not_through_is_in_no_evaluation(suite: ImportedSuite, line: Line):
    upload, _ = imported_suites.bring(suite, [lines_of(exam(40))], filename="exam.jsonl", actor=None)
    waiting = imported_suites.waits_for(suite)
    through(upload)

    assert waiting == "Its rows are being imported and proved."
    assert suites.available(line) == {}


def test_registering_again_changes_nothing(suite: ImportedSuite):
    brought(suite, exam(40))
    before = HeldOutItem.objects.count()

    assert imported_suites.register_new() == 0
    assert HeldOutItem.objects.count() == before


def test_more_rows_are_registered_when_they_are_through(suite: ImportedSuite, line: Line):
    brought(suite, exam(40))
    brought(suite, exam(10, start=40))

    assert suite.registered == 50
    assert suites.available(line) == {"exam": 50}


def test_what_a_version_was_trained_on_is_left_out_and_told(
    suite: ImportedSuite, line: Line, fill: Fill, operator: User
):
    brought(suite, exam(40))
    fill()
    mixture = recipes.build(recipes.create(line, "all", {}, actor=operator), actor=operator)
    known = list(tasks_of(suite).order_by("pk")[:12])
    entry = mixture.entries.latest("position")
    for number, task in enumerate(known, 1):
        mixture.entries.create(position=entry.position + number, task=task)
    run = TrainingRun.objects.create(
        line=line, start=line.versions.get(number=0), mixture=mixture, spec={}, state="succeeded"
    )
    version = candidate(line, run)

    evaluation = evaluations.start(version, actor=None)

    asked = SuiteItem.objects.filter(suite__evaluations=evaluation, suite__name="exam")
    assert not asked.filter(task__in=known).exists()
    assert asked.count() == 28
    (told,) = [one for one in evaluation.exposure if one["suite"] == "exam"]
    assert told["notes"] == [f"12 of 40 items stood among the rows that trained {version.name}, or nearly: left out."]
    assert contamination.leaked(evaluation) == set()


def test_what_is_near_a_trained_row_is_left_out_too(suite: ImportedSuite, line: Line, fill: Fill, operator: User):
    fill()
    mixture = recipes.build(recipes.create(line, "all", {}, actor=operator), actor=operator)
    old = mixture.entries.select_related("task").earliest("position").task
    brought(suite, exam(40))
    near = tasks_of(suite).earliest("pk")
    near.findings.create(kind="near_duplicate", rule="near", other=old.pk, similarity=0.95)
    run = TrainingRun.objects.create(
        line=line, start=line.versions.get(number=0), mixture=mixture, spec={}, state="succeeded"
    )

    evaluation = evaluations.start(candidate(line, run), actor=None)

    asked = SuiteItem.objects.filter(suite__evaluations=evaluation, suite__name="exam")
    assert (asked.count(), asked.filter(task=near).exists()) == (39, False)


def test_a_trained_row_that_holds_an_item_counts_as_near_it(
    suite: ImportedSuite, line: Line, fill: Fill, operator: User
):
    fill()
    mixture = recipes.build(recipes.create(line, "all", {}, actor=operator), actor=operator)
    old = mixture.entries.select_related("task").earliest("position").task
    text = f"Read this with care. {exam(1)[0]['prompt']} Say why."
    Task.objects.filter(pk=old.pk).update(messages=[{"role": "user", "content": text}])
    brought(suite, exam(40))
    run = TrainingRun.objects.create(
        line=line, start=line.versions.get(number=0), mixture=mixture, spec={}, state="succeeded"
    )

    evaluation = evaluations.start(candidate(line, run), actor=None)

    assert Task.objects.get(pk=old.pk).reason_code == "contaminated"
    assert evaluation.suites.get(name="exam").item_count == 39


def test_of_a_domain_the_rows_that_trained_the_candidate_are_told_and_stay(line: Line, fill: Fill, operator: User):
    fill()
    mixture = recipes.build(recipes.create(line, "all", {}, actor=operator), actor=operator)
    sealed = Task.objects.filter(split=Split.SEALED, domain="add").earliest("pk")
    mixture.entries.create(position=mixture.size + 1, task=sealed)
    run = TrainingRun.objects.create(
        line=line, start=line.versions.get(number=0), mixture=mixture, spec={}, state="succeeded"
    )
    version = candidate(line, run)

    evaluation = evaluations.start(version, actor=None)

    (told,) = [one for one in evaluation.exposure if one["suite"] == "add"]
    assert told["notes"] == [f"1 items stood among the rows that trained {version.name}: its verdict will be INVALID."]
    assert evaluation.suites.get(name="add").item_count == 30


def test_an_imported_suite_is_never_rotated(suite: ImportedSuite, line: Line, operator: User):
    brought(suite, exam(40))
    evaluations.start(candidate(line), actor=None)

    with pytest.raises(Conflict, match="no others to take"):
        rotation.rotate(line, "exam", actor=operator, reason="Enough.")


def test_a_name_that_a_domain_has_is_refused(line: Line, fill: Fill, operator: User):
    fill()

    with pytest.raises(Conflict, match="add is a domain here"):
        imported_suites.create(line, "add", actor=operator, **ABOUT)


def test_a_name_is_given_once(suite: ImportedSuite, line: Line, operator: User):
    with pytest.raises(Conflict, match="exam already"):
        imported_suites.create(line, "exam", actor=operator, **ABOUT)


@pytest.mark.parametrize("missing", ABOUT)
def test_what_makes_its_numbers_mean_something_must_be_named(line: Line, operator: User, missing: str):
    with pytest.raises(Invalid, match=f"Name the {missing}"):
        imported_suites.create(line, "exam", actor=operator, **{**ABOUT, missing: " "})


def test_a_stranger_may_not_bring_one(suite: ImportedSuite, line: Line, stranger: User):
    with pytest.raises(Forbidden):
        imported_suites.create(line, "other", actor=stranger, **ABOUT)
    with pytest.raises(Forbidden):
        imported_suites.bring(suite, [b"{}\n"], filename="f.jsonl", actor=stranger)


def test_whoever_only_contributes_to_a_team_does_not_see_its_suites(team: Team, contributor: User):
    held = datasets.create(team, "Exam", actor=None, held_out=True)
    Membership.objects.filter(team=team, user=contributor).exclude(role="contributor").delete()
    before = list(Dataset.objects.for_user(contributor))
    Membership.objects.create(team=team, user=contributor, role="operator")

    assert held not in before
    assert held in Dataset.objects.for_user(contributor)


def test_its_events_say_who_brought_it(suite: ImportedSuite, operator: User):
    brought(suite, exam(40))

    assert Event.objects.get(kind="suite.imported").actor == operator
    assert Event.objects.get(kind="suite.registered").data["prompts"] == 40


@pytest.mark.parametrize("name", list(catalogue.entries()))
def test_every_published_set_of_the_catalogue_names_its_licence_and_columns(name: str):
    entry = catalogue.find(name)

    assert entry.licence
    assert entry.hub.count("/") == 1
    assert "prompt" in entry.columns.values()
