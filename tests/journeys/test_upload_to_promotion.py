"""Read this first: the whole loop, from an upload through the public API to a promoted model that answers a chat."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flywheel.samples.families import MAXIMA, REVERSALS, VOWELS, Family
from tasks.models import DatasetVersion, Event, Task
from tasks.models.events import seal, verify
from tasks.services.licences import CONSENT_VERSION
from tests.cast import Person
from tests.journeys.conftest import sample_rows, settle, write_demonstrations
from trainer.models import GateReport, Line, ModelVersion, RunMetric, TrainingRun
from trainer.services import lines


def contribute(person: Person, family: Family, rows: bytes, **settings: Any) -> int:
    """A dataset and an upload, as a program makes them. Returns the upload's id."""
    body = {
        "name": f"{family.domain} of {person.user.username}",
        "domain": family.domain,
        "default_grader": dict(family.grader),
        **settings,
    }
    dataset = person.api.post("/api/v1/datasets", body, format="json").json()
    sent = person.api.post(
        f"/api/v1/uploads?dataset={dataset['id']}&filename=rows.jsonl", rows, content_type="application/x-ndjson"
    )
    assert sent.status_code == 201, sent.content
    return int(sent.json()["id"])


def approve_everything(reviewer: Person) -> int:
    body = {"decision": "approved", "filter": {"state": "proved"}, "note": "Looks right."}
    return int(reviewer.api.post("/api/v1/reviews/bulk", body, format="json").json()["count"])


def turn(operator: Person, line: Line, **overrides: Any) -> GateReport:
    recipe = operator.api.post(
        "/api/v1/recipes",
        {"line": line.pk, "name": f"r{line.recipes.count()}", "body": {}, "overrides": overrides},
        format="json",
    ).json()
    run = operator.api.post("/api/v1/runs", {"recipe": recipe["id"]}, format="json").json()
    settle(lambda: GateReport.objects.filter(evaluation__candidate__run=run["id"]).exists() or failed(run["id"]))
    return GateReport.objects.get(evaluation__candidate__run=run["id"])


def failed(run: int) -> bool:
    row = TrainingRun.objects.get(pk=run)
    assert row.state != "failed", row.error
    return False


@pytest.fixture
def shared_contribution() -> dict[str, Any]:
    return {"visibility": "contributed", "licence": "CC0-1.0", "consent_version": CONSENT_VERSION}


@pytest.fixture
def line(platform: Path, operator: Person, settings: Any) -> Line:
    demonstrations = write_demonstrations(settings.DATA_DIR, 10_000)
    return lines.create_shared("Shared", "shared", actor=operator.user, demonstrations=demonstrations, steps=150)


def test_the_wheel_turns_once(
    fake_engine: Callable[..., None], line: Line, contributor: Person, reviewer: Person, operator: Person,
    stranger: Person, shared_contribution: dict[str, Any],
):  # fmt: skip
    fake_engine(champion=0.3, candidate=0.7)
    settle(lambda: ModelVersion.objects.filter(line=line, number=0).exists())

    # A contributor uploads good rows, a broken one and a repeated one; good rows go on.
    rows = sample_rows(MAXIMA, 300)
    upload = contribute(contributor, MAXIMA, rows + rows.splitlines()[0] + b"\n{broken\n", **shared_contribution)
    contribute(stranger, REVERSALS, sample_rows(REVERSALS, 300), **shared_contribution)
    shown = contributor.api.get(f"/api/v1/uploads/{upload}").json()
    assert shown["state"] == "imported"
    assert shown["counts"]["rows"] == 302
    assert shown["counts"]["duplicates"] == 1
    (issue,) = contributor.api.get(f"/api/v1/uploads/{upload}/issues").json()["results"]
    assert (issue["line"], issue["code"]) == (302, "not_json")

    # Proof came by itself; a reviewer lets the proved tasks in.
    assert Task.objects.filter(state="proved").count() == 600
    assert approve_everything(reviewer) == 600

    # The wheel turns: freeze, mix, train, evaluate, decide, promote.
    report = turn(operator, line, steps=6)
    assert report.verdict == "PROMOTE"
    assert DatasetVersion.objects.count() == 2
    assert RunMetric.objects.filter(run__line=line).count() == 6
    aliases = operator.api.get(f"/api/v1/lines/{line.pk}").json()["aliases"]
    assert aliases["champion"] == report.evaluation.candidate.name == "shared/v1"

    # Back again, and the history tells it all.
    operator.api.post(f"/api/v1/lines/{line.pk}/roll-back", {"reason": "A complaint."}, format="json")
    assert line.alias("champion").number == 0
    seal()
    links, broken = verify()
    assert broken is None
    assert links == Event.objects.count()


def test_a_second_upload_of_the_same_bytes_adds_nothing(
    fake_engine: Callable[..., None], contributor: Person, shared_contribution: dict[str, Any]
):
    rows = sample_rows(VOWELS, 50)
    upload = contribute(contributor, VOWELS, rows, **shared_contribution)
    dataset = contributor.api.get(f"/api/v1/uploads/{upload}").json()["dataset"]

    again = contributor.api.post(f"/api/v1/uploads?dataset={dataset}", rows, content_type="application/x-ndjson")

    assert (again.status_code, again.json()["id"]) == (200, upload)
    assert Task.objects.count() == 50


def test_a_private_dataset_becomes_an_expert_of_its_owner(
    fake_engine: Callable[..., None], line: Line, contributor: Person, stranger: Person
):
    settle(lambda: ModelVersion.objects.filter(line=line, number=0).exists())
    upload = contribute(contributor, MAXIMA, sample_rows(MAXIMA, 30))
    dataset = contributor.api.get(f"/api/v1/uploads/{upload}").json()["dataset"]

    estimate = contributor.api.post("/api/v1/runs/estimate", {"dataset": str(dataset)}, format="json").json()
    run = contributor.api.post("/api/v1/runs", {"dataset": str(dataset)}, format="json").json()
    settle(lambda: failed(run["id"]) or TrainingRun.objects.get(pk=run["id"]).state == "succeeded")

    assert estimate["rows"] == 30
    version = contributor.api.get(f"/api/v1/runs/{run['id']}").json()["version"]
    mine = {model["id"] for model in contributor.api.get("/openai/v1/models").json()["data"]}
    theirs = {model["id"] for model in stranger.api.get("/openai/v1/models").json()["data"]}
    assert version in mine
    assert version not in theirs


@pytest.mark.timeout(600)
def test_a_run_that_learns_nothing_is_never_promoted_by_the_real_engine(
    line: Line, contributor: Person, reviewer: Person, operator: Person, shared_contribution: dict[str, Any]
):
    contribute(contributor, MAXIMA, sample_rows(MAXIMA, 300), **shared_contribution)
    contribute(contributor, REVERSALS, sample_rows(REVERSALS, 300), **shared_contribution)
    approve_everything(reviewer)
    settle(lambda: ModelVersion.objects.filter(line=line, number=0).exists())
    small = {"prompts_per_step": 4, "measure_every": 2, "save_every": 2, "probe_prompts": 8, "validation_prompts": 8}

    report = turn(operator, line, steps=2, learning_rate=0, **small)

    assert report.verdict in {"HOLD", "INCONCLUSIVE"}
    assert line.alias("champion").number == 0
    assert report.evaluation.candidate.kl["mean"] == pytest.approx(0, abs=1e-6)

    learned = turn(operator, line, steps=4, **{**small, "prompts_per_step": 16})

    assert learned.verdict in {"PROMOTE", "HOLD", "INCONCLUSIVE"}
    assert learned.evaluation.candidate.kl["mean"] > 0
    assert (line.alias("champion") == learned.evaluation.candidate) == (learned.verdict == "PROMOTE")
