"""What the card of a version holds, and for whose eyes; the export that carries it."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import Invalid, NotFound
from tasks.models import Dataset, Team, User
from tasks.services import accounts
from tests.trainer.services.settling import settle
from trainer.models import Line, ModelVersion, TrainingRun
from trainer.services import artifacts, lines, model_cards, recipes, runs
from trainer.states import RUN_ENDED

Fill = Callable[..., Dataset]


def finished(run: TrainingRun) -> ModelVersion:
    def ended() -> bool:
        run.refresh_from_db()
        return run.state in RUN_ENDED

    settle(ended)
    assert run.state == "succeeded", run.error
    return model_cards.named(run.version.name)


@pytest.fixture
def other_team(db: None) -> Team:
    return accounts.create_team("Bert's", actor=User.objects.create_user("bert"))


@pytest.fixture
def shared(line: Line, fill: Fill, operator: User, other_team: Team) -> ModelVersion:
    """Of a mixture of two teams' gifts."""
    fill("secret-sums")
    fill("hidden-words", owner=other_team, train=20)
    recipe = recipes.create(line, "all", {"seed": 3}, actor=operator, overrides={"steps": 3})
    return finished(runs.start(line, actor=operator, recipe=recipe))


@pytest.fixture
def expert(shared: ModelVersion, fill: Fill, contributor: User) -> ModelVersion:
    dataset = fill("house-style", visibility="private", sealed=0)
    return finished(runs.train_expert(dataset, actor=contributor, overrides={"steps": 2}))


def test_the_shared_lines_card_tells_teams_and_counts_and_names_no_dataset(shared: ModelVersion):
    text = model_cards.card(shared)

    assert all(name not in text for name in ("secret-sums", "hidden-words"))
    assert "| Ada's | 120 |" in text.replace("shared/v1 ", "")
    assert "| Bert's | 40 |" in text.replace("shared/v1 ", "")


def test_the_shared_lines_card_tells_licence_and_digest_of_what_it_was_trained_on(shared: ModelVersion):
    frozen = shared.run.mixture.dataset_versions.get(dataset__slug="secret-sums")

    assert f"`{frozen.digest}` | {frozen.task_count} | CC0-1.0 | shared/v1 |" in model_cards.card(shared)


def test_an_experts_card_names_its_own_teams_dataset(expert: ModelVersion):
    assert f"{expert.run.dataset_version.dataset} v1" in model_cards.card(expert)


def test_an_experts_lineage_goes_back_to_the_base(expert: ModelVersion):
    lineage = [ancestor.name for ancestor in model_cards.facts(expert).lineage]

    assert lineage == ["shared/v0", f"{expert.line.slug}/v0"]


def test_an_expert_of_an_expert_of_another_team_learns_neither_its_name_nor_its_datasets(
    expert: ModelVersion, other_team: Team, fill: Fill
):
    taken = lines.create_expert(other_team, "Borrowed", expert, actor=None)

    text = model_cards.card(taken.versions.get(number=0))

    assert all(name not in text for name in ("house-style", expert.line.slug, "Ada's | house"))
    assert "a version of another team" in text


def test_the_place_of_a_base_on_this_machine_is_not_told(line: Line):
    line.base_build.source, line.base_build.location = "directory", "/srv/secret/place"
    line.base_build.save()

    text = model_cards.card(line.versions.get(number=0))

    assert ("/srv" in text, "taken in from a directory" in text) == (False, True)


def test_the_card_tells_why_nothing_was_evaluated(expert: ModelVersion):
    ModelVersion.objects.filter(pk=expert.pk).update(not_evaluated="Too few rows are sealed.")

    assert "Not evaluated: Too few rows are sealed." in model_cards.card(model_cards.named(expert.name))


def test_the_card_says_what_the_engine_ran_with(expert: ModelVersion):
    ModelVersion.objects.filter(pk=expert.pk).update(environment={"torch": "2.13.0", "threads": "2"})

    assert "torch 2.13.0, threads 2" in model_cards.card(model_cards.named(expert.name))


def test_the_export_is_the_artifact_with_its_card(shared: ModelVersion, tmp_path: Path):
    model_cards.export(shared, tmp_path / "out")

    files = {path.name for path in (tmp_path / "out").iterdir()}
    kept = {file.path for file in artifacts.manifest_of(shared.digest, "").files}
    assert files == {*kept, "manifest.json", "README.md"}


def test_an_export_that_is_taken_in_again_has_the_same_digest(line: Line, tmp_path: Path):
    base = line.versions.get(number=0)
    model_cards.export(base, tmp_path / "out")

    assert artifacts.take_in(tmp_path / "out").digest == base.digest


def test_a_readme_that_a_model_brought_makes_room_for_the_card(shared: ModelVersion, tmp_path: Path):
    names = [name for name, _ in model_cards.exported(shared)]

    assert names.count("README.md") == 1


def test_the_archive_is_a_zip_of_the_export(shared: ModelVersion):
    archive = zipfile.ZipFile(io.BytesIO(b"".join(model_cards.archived(shared))))

    assert archive.testzip() is None
    assert archive.read("shared-v1/README.md").decode() == model_cards.card(shared)


def test_a_damaged_artifact_is_exported_neither_whole_nor_in_part(shared: ModelVersion, tmp_path: Path):
    weights = artifacts.path_of(shared.digest) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")

    with pytest.raises(Invalid, match="damaged"):
        model_cards.export(shared, tmp_path / "out")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["shared/v99", "nobody/v0", "shared", "shared/v", "shared/vx", ""])
def test_a_version_that_is_not_there_is_not_found(line: Line, name: str):
    with pytest.raises(NotFound, match="name it as line/vN"):
        model_cards.named(name)
