"""/ops/models: names move with a reason, artifacts come as a zip."""

import io
import zipfile
from pathlib import Path

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import AliasMove, Line
from trainer.views import history

pytestmark = pytest.mark.django_db


def test_the_history_holds_each_champion_with_its_interval(portal: Portal):
    scores = history.champion_scores(portal.line)

    assert [(score.name, score.low < score.mean < score.high) for score in scores] == [
        ("shared/v0", True),
        ("shared/v1", True),
    ]


def test_rolling_back_names_the_champion_before(portal: Portal):
    browser(portal.operator).post("/ops/models/shared/roll-back", {"reason": "Users complain."})

    move = AliasMove.objects.filter(line=portal.line).first()
    assert (move.new.number, move.reason, move.actor) == (0, "Users complain.", portal.operator)


def test_rolling_back_without_a_reason_moves_nothing(portal: Portal):
    browser(portal.operator).post("/ops/models/shared/roll-back", {})

    assert portal.line.alias("champion").number == 1


def test_a_version_that_the_gate_held_is_not_promoted(portal: Portal):
    browser(portal.operator).post("/ops/models/shared/v2/promote", {"reason": "I like it."})

    assert portal.line.alias("champion").number == 1


def test_a_contributor_does_not_promote(portal: Portal):
    browser(portal.contributor).post("/ops/models/shared/v3/promote", {"reason": "Mine."})

    assert portal.line.alias("champion").number == 1


def test_the_download_is_a_zip_of_the_artifact(portal: Portal):
    version = portal.line.alias("champion")
    folder = Path(version.path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(3_000_000))

    reply = browser(portal.contributor).get("/ops/models/shared/v1/download")

    archive = zipfile.ZipFile(io.BytesIO(b"".join(reply.streaming_content)))
    assert archive.testzip() is None
    assert {entry.filename: entry.file_size for entry in archive.infolist()} == {
        "shared-v1/config.json": 2,
        "shared-v1/model.safetensors": 3_000_000,
    }


def test_an_artifact_that_is_not_here_is_refused_in_a_sentence(portal: Portal):
    assert "are not on this machine" in text(browser(portal.operator).get("/ops/models/shared/v3/download"))


def test_a_contributor_is_told_only_the_team_of_other_teams_datasets(portal: Portal):
    page = text(browser(portal.contributor).get("/ops/models/shared/v1"))

    assert ("A dataset of Puzzle club" in page, "word-puzzles" in page) == (True, False)


@pytest.mark.parametrize("path", ["", "/v0", "/v0/download"])
def test_another_teams_expert_is_404(portal: Portal, path: str):
    expert = Line.objects.get(purpose="expert")

    assert browser(portal.stranger).get(f"/ops/models/{expert.slug}{path}").status_code == 404
