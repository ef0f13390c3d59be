"""/ops/models: names move with a reason, artifacts come as a zip."""

import io
import zipfile
from pathlib import Path

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import AliasMove, Line, ModelVersion
from trainer.services import artifacts
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


def test_a_locked_champion_is_shown_with_its_reason_and_does_not_move(portal: Portal):
    client = browser(portal.operator)

    client.post("/ops/models/shared/lock", {"alias": "champion", "reason": "A demo on Friday."})
    client.post("/ops/models/shared/roll-back", {"reason": "Users complain."})

    assert "A demo on Friday." in text(client.get("/ops/models/shared"))
    assert portal.line.alias("champion").number == 1


def test_an_unlocked_champion_moves_again(portal: Portal):
    client = browser(portal.operator)
    client.post("/ops/models/shared/lock", {"alias": "champion", "reason": "A demo on Friday."})

    client.post("/ops/models/shared/lock", {"alias": "champion", "unlock": "1"})
    client.post("/ops/models/shared/roll-back", {"reason": "Users complain."})

    assert portal.line.alias("champion").number == 0


def test_a_name_that_does_not_exist_is_not_locked(portal: Portal):
    page = browser(portal.operator).post("/ops/models/shared/lock", {"alias": "king", "reason": "A demo."}, follow=True)

    assert "There is no such name" in text(page)


def test_a_contributor_neither_locks_nor_is_offered_it(portal: Portal):
    client = browser(portal.contributor)
    client.post("/ops/models/shared/lock", {"alias": "champion", "reason": "Mine."})

    assert portal.line.locked("champion") is None
    assert "Lock a name" not in text(client.get("/ops/models/shared"))


def test_the_api_locks_and_unlocks(portal: Portal):
    client, path = browser(portal.operator), f"/api/v1/lines/{portal.line.pk}/aliases/champion/lock"

    locked = client.put(path, {"reason": "A demo."}, content_type="application/json")
    unlocked = client.delete(path)

    assert (locked.status_code, locked.json()["locks"]) == (200, {"champion": "A demo."})
    assert unlocked.json()["locks"] == {}


def test_a_version_that_the_gate_held_is_not_promoted(portal: Portal):
    browser(portal.operator).post("/ops/models/shared/v2/promote", {"reason": "I like it."})

    assert portal.line.alias("champion").number == 1


def test_a_contributor_does_not_promote(portal: Portal):
    browser(portal.contributor).post("/ops/models/shared/v3/promote", {"reason": "Mine."})

    assert portal.line.alias("champion").number == 1


def test_the_download_is_a_zip_of_the_artifact_and_its_card(portal: Portal, settings: object, tmp_path: Path):
    settings.DATA_DIR = tmp_path / "data"  # type: ignore[attr-defined]
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    (source / "tokenizer.json").write_text("{}")
    (source / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}" + bytes(3_000_000))
    ModelVersion.objects.filter(line=portal.line, number=1).update(digest=artifacts.take_in(source).digest)

    reply = browser(portal.contributor).get("/ops/models/shared/v1/download")

    archive = zipfile.ZipFile(io.BytesIO(b"".join(reply.streaming_content)))
    assert archive.testzip() is None
    assert {entry.filename for entry in archive.infolist()} == {
        f"shared-v1/{name}"
        for name in ("README.md", "config.json", "manifest.json", "model.safetensors", "tokenizer.json")
    }


def test_the_card_is_shown_as_it_leaves(portal: Portal):
    page = text(browser(portal.contributor).get("/ops/models/shared/v1/card"))

    assert ("Who gave how much" in page, "Puzzle club" in page, "word-puzzles" in page) == (True, True, False)


def test_a_version_that_private_experts_start_from_does_not_name_them_to_strangers(portal: Portal):
    start = portal.line.versions.get(number=1)
    expert = Line.objects.get(purpose="expert")
    ModelVersion.objects.filter(line=expert).update(parent=start)

    page = text(browser(portal.stranger).get("/ops/models/shared/v1"))

    assert expert.slug not in page


def test_a_version_that_an_expert_of_ones_own_starts_from_names_it(portal: Portal):
    start = portal.line.versions.get(number=1)
    expert = Line.objects.get(purpose="expert")
    ModelVersion.objects.filter(line=expert).update(parent=start)

    assert expert.slug in text(browser(portal.contributor).get("/ops/models/shared/v1"))


def test_an_artifact_that_is_not_here_is_refused_in_a_sentence(portal: Portal):
    assert "are not on this machine" in text(browser(portal.operator).get("/ops/models/shared/v3/download"))


def test_a_contributor_is_told_only_the_team_of_other_teams_datasets(portal: Portal):
    page = text(browser(portal.contributor).get("/ops/models/shared/v1"))

    assert ("A dataset of Puzzle club" in page, "word-puzzles" in page) == (True, False)


@pytest.mark.parametrize("path", ["", "/v0", "/v0/card", "/v0/download"])
def test_another_teams_expert_is_404(portal: Portal, path: str):
    expert = Line.objects.get(purpose="expert")

    assert browser(portal.stranger).get(f"/ops/models/{expert.slug}{path}").status_code == 404
