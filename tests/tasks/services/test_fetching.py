"""A file of a hub's dataset becomes an upload like any other; where it does not, one sentence says why."""

from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Busy, Forbidden, Invalid
from tasks.formats import hub
from tasks.models import Dataset, PartialUpload, Upload
from tasks.services import fetching, sweeping, uploads
from tasks.services.uploads import Options
from tests.cast import Person
from tests.tasks.formats.test_hub import ROWS, endpoint  # noqa: F401  a hub on the loopback, for every test here

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def partial(dataset: Dataset, contributor: Person) -> PartialUpload:
    return fetching.begin(dataset, fetching.find("ada/sums"), actor=contributor.user, options=Options(mapping="auto"))


def test_what_was_fetched_is_an_upload(partial: PartialUpload, files: Path):
    fetching.fetch(str(partial.pk))

    upload = Upload.objects.get()
    assert (upload.filename, upload.mapping, upload.bytes) == ("train.jsonl", "auto", len(ROWS))
    assert uploads.stored_file(upload).read_bytes() == ROWS
    assert [path for path in files.rglob("*") if path.is_file()] == [uploads.stored_file(upload)]


def test_a_file_is_fetched_once(partial: PartialUpload):
    fetching.fetch(str(partial.pk))
    fetching.fetch(str(partial.pk))

    assert Upload.objects.count() == 1


def test_a_fetch_that_nobody_began_is_sent_again_by_the_sweep(partial: PartialUpload):
    assert sweeping.sweep()["fetches"] == 1


def test_a_hub_that_has_gone_away_is_said_and_not_asked_for_ever(partial: PartialUpload, monkeypatch: Any):
    monkeypatch.setattr(hub, "download", _unreachable)

    fetching.fetch(str(partial.pk))

    partial.refresh_from_db()
    assert (partial.options["failure"], fetching.due().count()) == ("No hub is reachable.", 0)


def _unreachable(*args: Any, **kwargs: Any) -> None:
    raise Busy("hub_unreachable", "No hub is reachable.")


def test_of_several_files_one_must_be_named(monkeypatch: Any):
    several = hub.HubDataset("a/b", "0", (hub.HubFile("a.csv", 1, ""), hub.HubFile("b.csv", 1, "")), "")
    monkeypatch.setattr(hub, "look_up", lambda name, revision: several)

    with pytest.raises(Invalid, match=r"a\.csv, b\.csv"):
        fetching.find("a/b")

    assert fetching.find("a/b", path="b.csv").path == "b.csv"


def test_a_stranger_may_not_have_it_fetched(dataset: Dataset, stranger: Person):
    with pytest.raises(Forbidden):
        fetching.begin(dataset, fetching.find("ada/sums"), actor=stranger.user)
