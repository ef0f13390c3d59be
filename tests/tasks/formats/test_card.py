"""What an export says of itself: the card for people and the hub, Croissant for machines."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.formats import bundle, card, croissant, writing
from tasks.formats.card import DataFile, Facts
from tasks.formats.writing import Record

TASKS = [
    Record([{"role": "user", "content": "1 + 1?"}], {"reference": 2}, "2", {"type": "number"}, "sums"),
    Record([{"role": "system", "content": "Spell."}, {"role": "user", "content": "abc?"}], {"reference": "cba"}),
]


def facts(**more: Any) -> Facts:
    file = DataFile("data/train.jsonl", "train", 2, 120, "0" * 64)
    given: dict[str, Any] = {"licence": "CC-BY-4.0", "graders": {"number": 2}, "files": [file], **more}
    return Facts(
        "Sums: easy", "sums", "Lab", "https://portal.example/datasets/lab/sums", "native", "2026-01-02", **given
    )


def header(found: Facts) -> dict[str, Any]:
    _, text, _ = card.write(found).split("---\n", 2)
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def test_the_header_is_yaml_and_says_what_was_given():
    assert header(facts()) == card.header(facts())


def test_the_header_names_a_file_for_each_split():
    (config,) = header(facts())["configs"]

    assert config["data_files"] == [{"split": "train", "path": "data/train.jsonl"}]


def test_a_name_with_signs_of_yaml_stays_a_name():
    assert header(facts())["pretty_name"] == "Sums: easy"


@pytest.mark.parametrize(
    ("spdx", "told"),
    [("CC-BY-4.0", "cc-by-4.0"), ("ODC-By-1.0", "odc-by"), ("0BSD", "other"), ("", "unknown"), ("MIT", "mit")],
)
def test_the_licence_is_spelled_as_the_hub_spells_it(spdx: str, told: str):
    assert card.hub_licence(spdx)["license"] == told


def test_a_licence_that_the_hub_does_not_know_is_linked():
    assert card.hub_licence("0BSD")["license_link"] == "https://spdx.org/licenses/0BSD.html"


@pytest.mark.parametrize(("rows", "told"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (1_000_000, "1M<n<10M")])
def test_the_size_category_is_the_hubs(rows: int, told: str):
    assert card.size_category(rows) == told


def test_the_hubs_own_library_reads_the_card():
    from huggingface_hub import DatasetCard

    found = DatasetCard(card.write(facts()))

    assert (found.data.license, found.data.size_categories) == ("cc-by-4.0", ["n<1K"])


def test_a_description_cannot_bring_markup_of_its_own():
    told = card.write(facts(description="a <script>b</script>\n# c | d"))

    assert "\\<script\\>b\\</script\\> \\# c \\| d" in told


def test_the_card_says_that_the_sealed_split_is_not_there():
    assert "is not in these files" in card.write(facts())


def test_the_card_warns_where_the_sealed_split_is_there():
    assert "keep them to the team" in card.write(facts(sealed=True))


def test_every_dialect_has_its_columns_explained():
    assert set(croissant.COLUMNS) == set(writing.DIALECTS)


def dataset(folder: Path, dialect: str, tasks: list[Record]) -> Any:
    """The export of the tasks, as mlcroissant sees it."""
    import mlcroissant

    suffix = writing.DIALECTS[dialect].suffix
    data = b"".join(writing.write(dialect, tasks))
    (folder / "data").mkdir()
    (folder / "data" / f"train.{suffix}").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    file = DataFile(f"data/train.{suffix}", "train", len(tasks), len(data), digest)
    told = Facts("Sums", "sums", "Lab", "https://portal.example/x", dialect, "2026-01-02", licence="MIT", files=[file])
    (folder / "croissant.json").write_text(json.dumps(croissant.write(told, suffix)))
    return mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))


@pytest.mark.parametrize("dialect", sorted(set(writing.DIALECTS) - {"reasoning_gym"}))
def test_mlcroissant_validates_the_metadata_and_reads_the_records(tmp_path: Path, dialect: str):
    found = dataset(tmp_path, dialect, TASKS)

    assert list(found.metadata.ctx.issues.errors) == []
    assert len(list(found.records("train"))) == 2


def test_mlcroissant_reads_the_messages_of_a_prompt(tmp_path: Path):
    found = dataset(tmp_path, "parquet", TASKS)

    _, second = found.records("train")

    assert [part["train/messages/content"] for part in second["train/messages"]] == [b"Spell.", b"abc?"]


def test_a_bundle_is_a_zip_of_its_files():
    data = b"".join(bundle.write([("a/b.txt", [b"one ", b"two"]), ("c.parquet", [b"three"])]))

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "a/b.txt": b"one two",
            "c.parquet": b"three",
        }


def test_a_file_of_a_bundle_is_taken_only_when_its_turn_comes():
    taken: list[str] = []

    def content(name: str) -> Any:
        taken.append(name)
        yield b"x" * 100_000

    pieces = bundle.write((name, content(name)) for name in ("a.parquet", "b.parquet"))
    next(piece for piece in pieces if piece)

    assert taken == ["a.parquet"]
