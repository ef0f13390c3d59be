"""From an upload to a model, and the way back: what a withdrawal would do, its receipt, and the mixture after it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flywheel.samples.families import MAXIMA, REVERSALS
from tasks.models import Task
from tasks.models.events import seal, verify
from tasks.services.licences import CONSENT_VERSION
from tests.cast import Person
from tests.journeys.conftest import sample_rows, settle, write_demonstrations
from tests.journeys.test_upload_to_promotion import approve_everything, contribute, turn
from trainer.models import Line, ModelVersion
from trainer.services import lines

GIFT = {"visibility": "contributed", "licence": "CC0-1.0", "consent_version": CONSENT_VERSION}


@pytest.fixture
def line(platform: Path, operator: Person, settings: Any) -> Line:
    demonstrations = write_demonstrations(settings.DATA_DIR, 10_000)
    return lines.create_shared("Shared", "shared", actor=operator.user, demonstrations=demonstrations, steps=150)


def test_what_was_given_can_be_taken_back_with_open_eyes(
    fake_engine: Callable[..., None], line: Line, contributor: Person, reviewer: Person, operator: Person,
    stranger: Person,
):  # fmt: skip
    fake_engine(champion=0.3, candidate=0.7)
    settle(lambda: ModelVersion.objects.filter(line=line, number=0).exists())
    upload = contribute(contributor, MAXIMA, sample_rows(MAXIMA, 150), **GIFT)
    contribute(stranger, REVERSALS, sample_rows(REVERSALS, 350), **GIFT)
    approve_everything(reviewer)
    version = turn(operator, line, steps=4).evaluation.candidate
    dataset = contributor.api.get(f"/api/v1/uploads/{upload}").json()["dataset"]

    # Before: the champion saw the rows, with about three tenths of its mixture.
    told = contributor.api.get(f"/api/v1/datasets/{dataset}/withdrawal").json()
    (use,) = told["used"]["uses"]
    mixed = version.run.mixture
    assert (use["version"], use["aliases"]) == ("shared/v1", ["challenger", "champion"])
    assert use["rows"] == mixed.entries.filter(task__memberships__dataset=dataset).count()
    assert use["share"] == pytest.approx(0.3, abs=0.06)
    assert (told["goes"], Task.objects.filter(state="withdrawn").count()) == (150, 0)

    # It is done: one receipt, in the log.
    body = {"dataset": str(dataset), "reason": "Our customers asked for it."}
    receipt = contributor.api.post("/api/v1/withdrawals", body, format="json").json()
    assert (receipt["withdrawn"], receipt["seen"]["versions"][0]["version"]) == (150, "shared/v1")
    seal()
    assert verify()[1] is None
    assert contributor.api.get(f"/api/v1/withdrawals/{receipt['id']}").json()["event"]["link"]

    # After: the next mixture has none of them, the old one keeps its digest, the champion stays.
    recipe = version.run.mixture.recipe
    built = operator.api.post(f"/api/v1/recipes/{recipe.pk}/build", {}, format="json").json()
    assert built["size"] == mixed.size - use["rows"] == receipt["seen"]["next"][0]["rows"]
    assert set(built["by_contributor"]) == {"sam-team"}
    assert operator.api.get(f"/api/v1/mixtures/{mixed.pk}/digest").json()["holds"]
    assert line.alias("champion") == version

    # And whoever asks the model where it comes from is told.
    (step, *_) = contributor.api.get(f"/api/v1/versions/{version.pk}/lineage").json()["steps"]
    assert step["training"]["withdrawn"] == use["rows"]
