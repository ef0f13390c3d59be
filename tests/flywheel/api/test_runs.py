"""/api/v1/runs beyond a turn: budgets, clones, warm starts, estimates, alarms; and /api/v1/usage."""

from typing import Any

import pytest
from django.utils import timezone

from tasks.models import Task
from tests import world
from tests.cast import Person
from trainer.models import Line, RunAlarm, TrainingRun, Usage


@pytest.fixture
def shared(operator: Person) -> Line:
    return world.line_of(operator, "shared", "shared")[0]


@pytest.fixture
def dataset(contributor: Person, shared: Line) -> Any:
    """A private one, of which everything is approved."""
    made = world.private_dataset(contributor)
    world.imported(made, world.rows(20), contributor)
    Task.objects.update(state="approved")
    return made


def post(person: Person, path: str, body: dict[str, Any] | None = None) -> Any:
    return person.api.post(f"/api/v1/{path}", body or {}, format="json")


@pytest.fixture
def run(contributor: Person, dataset: Any) -> TrainingRun:
    made = post(contributor, "runs", {"dataset": str(dataset), "overrides": {"steps": 6, "max_steps": 3}})
    return TrainingRun.objects.get(pk=made.json()["id"])


@pytest.fixture
def spent(run: TrainingRun) -> TrainingRun:
    """The run, paused by its budget."""
    ending = {"code": "budget_steps", "sentence": "The budget of 3 steps is spent at step 3."}
    TrainingRun.objects.filter(pk=run.pk).update(state="paused", step=3, ending=ending)
    run.refresh_from_db()
    return run


def test_a_run_says_why_its_knobs_are_what_they_are(contributor: Person, run: TrainingRun):
    shown = contributor.api.get(f"/api/v1/runs/{run.pk}").json()

    assert shown["reasons"]["beta"].startswith("a light tie")
    assert shown["estimated_tokens"] > 0


def test_a_run_that_a_budget_paused_says_so(contributor: Person, spent: TrainingRun):
    assert contributor.api.get(f"/api/v1/runs/{spent.pk}").json()["ending"]["code"] == "budget_steps"


def test_it_goes_on_with_another_budget(contributor: Person, spent: TrainingRun):
    reply = post(contributor, f"runs/{spent.pk}/resume", {"max_steps": 5})

    assert (reply.json()["state"], reply.json()["spec"]["max_steps"], reply.json()["ending"]) == ("queued", 5, None)


def test_without_another_budget_it_is_refused(contributor: Person, spent: TrainingRun):
    reply = post(contributor, f"runs/{spent.pk}/resume")

    assert (reply.status_code, reply.json()["code"], reply.json()["param"]) == (400, "budget_spent", "max_steps")


def test_a_run_is_cloned_with_other_knobs(contributor: Person, spent: TrainingRun):
    reply = post(contributor, f"runs/{spent.pk}/clone", {"overrides": {"max_steps": 0}, "seed": 4})

    made = reply.json()
    assert (reply.status_code, made["cloned_from"], made["spec"]["max_steps"], made["spec"]["seed"]) == (
        201, spent.pk, 0, 4
    )  # fmt: skip


def test_an_expert_starts_from_a_version_that_is_named(contributor: Person, dataset: Any, shared: Line):
    version = shared.versions.get()

    made = post(contributor, "runs", {"dataset": str(dataset), "start_from": version.pk}).json()

    assert made["start"] == version.name


def test_an_estimate_says_tokens_knobs_and_reasons(contributor: Person, dataset: Any):
    body = {"dataset": str(dataset), "overrides": {"steps": 5, "beta": "auto"}}

    told = post(contributor, "runs/estimate", body).json()

    assert (told["spec"]["steps"], told["tokens"] > 0, told["runs"]) == (5, True, 0)
    assert "beta" in told["reasons"]
    assert "steps" not in told["reasons"]


def test_a_recipe_is_estimated_too(operator: Person, contributor: Person, shared: Line):
    gifts = world.contributed_dataset(contributor)
    world.imported(gifts, world.rows(60), contributor)
    Task.objects.update(state="approved")
    recipe = post(operator, "recipes", {"line": shared.pk, "name": "all", "body": {}}).json()["id"]

    told = post(operator, "runs/estimate", {"recipe": recipe, "overrides": {"steps": 5}}).json()

    assert (told["steps"], told["rows"] > 0) == (5, True)


def test_an_estimate_is_of_one_thing(contributor: Person):
    assert post(contributor, "runs/estimate").json()["code"] == "one_source"


def test_alarms_are_listed_with_what_was_done(contributor: Person, run: TrainingRun):
    data = {"level": "stop", "value": 0.1, "threshold": 0.3, "action": "rolled_back", "sentence": "Entropy fell."}
    RunAlarm.objects.create(run=run, step=4, at=1.0, kind="entropy_low", data=data)

    (alarm,) = contributor.api.get(f"/api/v1/runs/{run.pk}/alarms").json()

    assert (alarm["step"], alarm["action"], alarm["sentence"]) == (4, "rolled_back", "Entropy fell.")


def test_a_team_sees_what_its_engines_spent(contributor: Person, stranger: Person):
    Usage.objects.create(
        team=contributor.team, kind="run", work=1, attempt=1, began_at=timezone.now(), seconds=90, steps=5, tokens=700
    )

    own, others = (person.api.get("/api/v1/usage").json() for person in (contributor, stranger))

    assert [(row["team"], row["seconds"], row["tokens"]) for row in own["spent"]] == [(contributor.team.slug, 90, 700)]
    assert others["spent"] == []


def test_only_an_operator_of_the_pool_gives_a_budget(contributor: Person):
    body = {"team": contributor.team.slug, "minutes_per_month": 60}

    reply = contributor.api.put("/api/v1/usage/budget", body, format="json")

    assert reply.status_code == 403


def test_an_operator_gives_it_with_a_key_of_the_pool(operator: Person, contributor: Person):
    body = {"team": contributor.team.slug, "minutes_per_month": 60}

    reply = operator.api.put("/api/v1/usage/budget", body, format="json")

    assert (reply.status_code, reply.json()["minutes_per_month"]) == (200, 60)


def test_a_spent_month_refuses_a_run_by_name(contributor: Person, dataset: Any):
    from trainer.services import usage

    usage.set_budget(contributor.team, 0, actor=None)

    reply = post(contributor, "runs", {"dataset": str(dataset)})

    assert (reply.status_code, reply.json()["code"]) == (409, "month_spent")


REPORT = {
    "step": 6, "rows": 40, "attempt": 1, "fault": "",
    "checks": [
        {
            "name": "echo", "title": "The prompt repeated", "value": 0.4, "limit": 0.05, "least": None, "unit": "score",
            "holds": False, "n": 40, "sentence": "It earns 0.40.",
            "examples": [{"key": "1", "prompt": "p", "completion": "p", "score": 1.0, "reason": "Matches."}],
        }
    ],
}  # fmt: skip


def test_a_report_says_what_did_not_hold(contributor: Person, run: TrainingRun):
    TrainingRun.objects.filter(pk=run.pk).update(report=REPORT)

    told = contributor.api.get(f"/api/v1/runs/{run.pk}/report").json()

    assert (told["checks"][0]["holds"], told["checks"][0]["examples"][0]["completion"]) == (False, "p")
    assert contributor.api.get(f"/api/v1/runs/{run.pk}").json()["suspicious"] == ["The prompt repeated"]


def test_a_run_under_way_has_no_report(contributor: Person, run: TrainingRun):
    reply = contributor.api.get(f"/api/v1/runs/{run.pk}/report")

    assert (reply.status_code, reply.json()["code"]) == (404, "no_report")
    assert contributor.api.get(f"/api/v1/runs/{run.pk}").json()["suspicious"] is None


@pytest.fixture
def answered(run: TrainingRun, settings: Any, tmp_path: Any) -> TrainingRun:
    """With answers of one step."""
    from trainer.contract import Rollout
    from trainer.engine import rollouts
    from trainer.services.launching import path_of

    settings.DATA_DIR = tmp_path
    folder = path_of("run-" + "b" * 32)
    folder.mkdir(parents=True)
    told = {"domain": "add", "prompt": "2 + 2", "advantage": 0.5, "reason": "Matches."}
    lines = [Rollout(step=1, key=f"{n}", completion=f"{n}", reward=n / 10, **told) for n in range(10)]
    rollouts.write(folder / "rollouts", 1, lines)
    TrainingRun.objects.filter(pk=run.pk).update(directory=folder.name, state="running")
    return run


def test_the_best_paid_answers_are_listed(contributor: Person, answered: TrainingRun):
    found = contributor.api.get(f"/api/v1/runs/{answered.pk}/rollouts?order=reward&limit=2&domain=add").json()

    assert [row["reward"] for row in found] == [0.9, 0.8]


def test_an_order_that_there_is_not_is_refused_by_name(contributor: Person, answered: TrainingRun):
    reply = contributor.api.get(f"/api/v1/runs/{answered.pk}/rollouts?order=beauty")

    assert (reply.status_code, reply.json()["param"]) == (400, "order")


def test_answers_of_a_shared_line_are_hidden(contributor: Person, answered: TrainingRun, shared: Line):
    TrainingRun.objects.filter(pk=answered.pk).update(line=shared)

    reply = contributor.api.get(f"/api/v1/runs/{answered.pk}/rollouts")

    assert (reply.status_code, reply.json()["code"]) == (403, "rows_hidden")


def test_answers_that_are_not_here_are_said(contributor: Person, run: TrainingRun):
    reply = contributor.api.get(f"/api/v1/runs/{run.pk}/rollouts")

    assert (reply.status_code, reply.json()["code"]) == (404, "rollouts_missing")


def test_a_second_grader_is_taken_and_shown(contributor: Person, dataset: Any):
    second = {"type": "regex", "pattern": "[0-9]"}

    made = post(contributor, "runs", {"dataset": str(dataset), "second_grader": second}).json()

    assert made["second_grader"] == second
