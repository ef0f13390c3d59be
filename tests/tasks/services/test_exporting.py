"""What leaves, in which form, and what never does."""

import io
import json
import zipfile
from typing import Any

import pytest

from tasks.errors import Forbidden, Invalid, NotFound
from tasks.models import Dataset, Event, Task
from tasks.services import datasets, exporting, reviews, withdrawals
from tests.cast import Person
from tests.tasks.pipeline import proved, sums, tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def approved(contributed: Dataset, reviewer: Person) -> Dataset:
    """Ninety approved tasks, some of them sealed."""
    proved(contributed, sums(90))
    reviews.bulk({"state": "proved"}, "approved", reviewer=reviewer.user)
    return contributed


@pytest.fixture
def private(dataset: Dataset, contributor: Person) -> Dataset:
    proved(dataset, sums(90))
    reviews.bulk({"state": "proved"}, "approved", reviewer=contributor.user)
    return dataset


def exported(dataset: Dataset, person: Person, dialect: str = "native", **options: Any) -> list[dict[str, Any]]:
    selection = exporting.select(dataset, actor=person.user, **options)
    pieces = exporting.file(selection, dialect, actor=person.user).pieces
    return [json.loads(line) for line in b"".join(pieces).splitlines()]


def prompts(rows: list[dict[str, Any]]) -> set[str]:
    return {row["messages"][0]["content"] for row in rows}


def of_split(*splits: str) -> set[str]:
    return {task.prompt for task in Task.objects.filter(split__in=splits)}


def archived(dataset: Dataset, person: Person, **options: Any) -> zipfile.ZipFile:
    selection = exporting.select(dataset, actor=person.user, **options)
    file = exporting.archive(selection, "native", actor=person.user, address="https://portal.example/x")
    return zipfile.ZipFile(io.BytesIO(b"".join(file.pieces)))


def test_train_and_validation_leave_and_the_sealed_split_does_not(approved: Dataset, contributor: Person):
    assert of_split("sealed")

    assert prompts(exported(approved, contributor)) == of_split("train", "validation")


def test_one_split_leaves_alone(approved: Dataset, contributor: Person):
    assert prompts(exported(approved, contributor, split="validation")) == of_split("validation")


@pytest.mark.parametrize("options", [{"sealed": True}, {"split": "sealed"}])
@pytest.mark.parametrize("person", ["contributor", "reviewer", "operator"])
def test_nobody_takes_the_sealed_split_of_contributed_data(
    approved: Dataset, person: str, options: dict[str, Any], request: pytest.FixtureRequest
):
    with pytest.raises(Forbidden, match="sealed"):
        exported(approved, request.getfixturevalue(person), **options)


def test_a_team_takes_its_private_dataset_whole(private: Dataset, contributor: Person):
    assert prompts(exported(private, contributor, sealed=True)) == of_split("train", "validation", "sealed")


def test_only_approved_tasks_leave(contributed: Dataset, contributor: Person):
    proved(contributed, sums(5))

    assert exported(contributed, contributor) == []


def test_a_version_leaves_as_it_was_frozen(approved: Dataset, contributor: Person, reviewer: Person):
    version = datasets.freeze(approved, actor=contributor.user)
    proved(approved, sums(20, start=500))
    reviews.bulk({"state": "proved"}, "approved", reviewer=reviewer.user)

    assert len(exported(approved, contributor, version=version)) < len(exported(approved, contributor))


def test_what_was_withdrawn_leaves_no_version_either(approved: Dataset, contributor: Person):
    version = datasets.freeze(approved, actor=contributor.user)
    gone = next(task for task in tasks(approved) if task.split == "train")

    withdrawals.withdraw(gone, actor=contributor.user, reason="mine")

    assert gone.prompt not in prompts(exported(approved, contributor, version=version))


def test_chunks_join_without_a_gap(approved: Dataset, contributor: Person, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exporting, "CHUNK", 7)

    assert prompts(exported(approved, contributor)) == of_split("train", "validation")


def test_an_unknown_format_is_refused(approved: Dataset, contributor: Person):
    with pytest.raises(Invalid, match="openai_rft"):
        exported(approved, contributor, "docx")


def test_a_version_that_is_not_there_is_not_found(approved: Dataset):
    with pytest.raises(NotFound):
        exporting.version_of(approved, 9)


def test_an_export_is_an_event(approved: Dataset, contributor: Person):
    exported(approved, contributor)

    event = Event.objects.get(kind="dataset.exported")
    assert (event.actor, event.data["splits"]) == (contributor.user, ["train", "validation"])


# The archive


def test_the_archive_holds_data_by_split_with_card_croissant_and_graders(approved: Dataset, contributor: Person):
    assert archived(approved, contributor).namelist() == [
        "data/train.jsonl",
        "data/validation.jsonl",
        "croissant.json",
        "graders.json",
        "README.md",
    ]


def test_no_sealed_prompt_is_in_the_archive(approved: Dataset, contributor: Person):
    with archived(approved, contributor) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist()).decode()

    assert [prompt for prompt in of_split("sealed") if json.dumps(prompt) in everything] == []


def test_the_card_of_a_private_archive_warns_of_the_sealed_split(private: Dataset, contributor: Person):
    card = archived(private, contributor, sealed=True).read("README.md").decode()

    assert "keep them to the team" in card


def test_the_card_counts_what_was_proved_and_reviewed(approved: Dataset, contributor: Person):
    rows = len(of_split("train", "validation"))

    card = archived(approved, contributor).read("README.md").decode()

    assert f"| proved | {rows:,} |" in card
    assert f"Approved by a person: {rows:,}." in card
    assert 'license: "cc-by-4.0"' in card


def test_the_card_of_a_version_counts_what_is_left_out(approved: Dataset, contributor: Person):
    version = datasets.freeze(approved, actor=contributor.user)
    gone = next(task for task in tasks(approved) if task.split == "train")
    withdrawals.withdraw(gone, actor=contributor.user, reason="mine")

    card = archived(approved, contributor, version=version).read("README.md").decode()

    assert "rejected since, and are left out: 1." in card


def test_the_archive_of_a_version_holds_a_tombstone_of_what_was_withdrawn(approved: Dataset, contributor: Person):
    version = datasets.freeze(approved, actor=contributor.user)
    gone = next(task for task in tasks(approved) if task.split == "train")
    withdrawals.withdraw(gone, actor=contributor.user, reason="mine")

    stone = json.loads(archived(approved, contributor, version=version).read("withdrawn.jsonl"))

    assert stone == {
        "task": gone.pk,
        "split": "train",
        "exact_key": gone.exact_key,
        "content_digest": gone.content_digest,
    }


def test_mlcroissant_reads_the_archive(approved: Dataset, contributor: Person, tmp_path: Any):
    import mlcroissant

    archived(approved, contributor).extractall(tmp_path)

    found = mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json"))

    assert len(list(found.records("train"))) == len(of_split("train"))


def test_the_datasets_library_loads_the_folder_by_its_card(approved: Dataset, contributor: Person, tmp_path: Any):
    import datasets as library

    archived(approved, contributor).extractall(tmp_path)

    loaded = library.load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))

    assert {split: rows.num_rows for split, rows in loaded.items()} == {
        split: len(of_split(split)) for split in ("train", "validation")
    }
