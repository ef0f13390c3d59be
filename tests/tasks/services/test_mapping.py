"""How rows are read is settled before the first one is imported: by the file, by what is known, or by a person."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, Event, SavedMapping, Upload
from tasks.services import leases, mapping, uploads
from tasks.services.uploads import Options
from tasks.states import UploadState
from tests.cast import Person
from tests.tasks.pipeline import lines, sums

pytestmark = pytest.mark.django_db

CSV = b"frage,antwort,thema\nWas ist 1 + 1?,2,Summen\nWas ist 2 + 2?,4,Summen\n"
CHOSEN = {"columns": {"frage": "prompt", "antwort": "reference", "thema": "domain"}}
VERL = lines(
    {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "user", "content": f"What is {n} + {n}?"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": str(2 * n)},
        "extra_info": {"index": n},
    }
    for n in range(9)
)


def received(dataset: Dataset, person: Person, body: bytes, filename: str = "rows.csv", **options: Any) -> Upload:
    upload, _ = uploads.receive(dataset, [body], filename=filename, actor=person.user, options=Options(**options))
    return upload


def looked(upload: Upload) -> Any:
    """As the importer looks: claimed first."""
    leases.claim(Upload, upload.pk, UploadState.RECEIVED, UploadState.IMPORTING)
    upload.refresh_from_db()
    found = mapping.look(upload)
    upload.refresh_from_db()
    return found


@pytest.fixture
def waiting(dataset: Dataset, contributor: Person) -> Upload:
    upload = received(dataset, contributor, CSV)
    looked(upload)
    return upload


def test_native_rows_need_nobody(dataset: Dataset, contributor: Person):
    upload = received(dataset, contributor, lines(sums(3)), "rows.jsonl")

    found = looked(upload)

    told = (upload.state, upload.format, upload.mapping, upload.detected["by"])
    assert (found.dialect, told) == ("native", ("importing", "jsonl", {"dialect": "native"}, "native"))


def test_columns_that_nobody_knows_wait_for_a_person(waiting: Upload):
    columns = [column["name"] for column in waiting.detected["columns"]]

    assert (waiting.state, waiting.format, waiting.mapping) == ("unmapped", "csv", None)
    assert (columns, waiting.detected["sample"][1]["antwort"]) == (["frage", "antwort", "thema"], "4")


def test_a_dialect_waits_to_be_confirmed(dataset: Dataset, contributor: Person):
    upload = received(dataset, contributor, VERL, "rows.jsonl")

    looked(upload)

    assert (upload.state, upload.detected["dialect"], upload.detected["confident"]) == ("unmapped", "verl", True)


def test_a_dialect_is_taken_where_the_upload_said_auto(dataset: Dataset, contributor: Person):
    upload = received(dataset, contributor, VERL, "rows.jsonl", mapping="auto")

    found = looked(upload)

    assert (found.dialect, upload.mapping["dialect"], upload.detected["by"]) == ("verl", "verl", "guessed")


def test_auto_guesses_nothing_that_is_not_sure(dataset: Dataset, contributor: Person):
    upload = received(dataset, contributor, CSV, mapping="auto")

    assert (looked(upload), upload.state) == (None, "unmapped")


def test_a_mapping_that_came_along_is_taken(dataset: Dataset, contributor: Person):
    upload = received(dataset, contributor, CSV, mapping=CHOSEN)

    found = looked(upload)

    assert (found.columns, upload.detected["by"]) == (CHOSEN["columns"], "given")


def test_a_mapping_for_other_columns_waits_and_is_proposed(dataset: Dataset, contributor: Person):
    upload = received(dataset, contributor, CSV, mapping={"columns": {"question": "prompt"}})

    looked(upload)

    assert upload.state == "unmapped"
    assert mapping.problems(upload, mapping.proposal(upload)) == ["The file has no column 'question'."]


def test_a_file_of_corrected_rows_is_read_like_the_first(dataset: Dataset, contributor: Person):
    first = received(dataset, contributor, CSV, mapping=CHOSEN)
    looked(first)

    again = received(dataset, contributor, b"_line," + CSV.replace(b"\nWas", b"\n2,Was"), corrects=first.pk)
    looked(again)

    assert (again.state, again.mapping, again.detected["by"]) == ("importing", first.mapping, "corrected")


def test_what_cannot_be_read_fails_with_one_sentence(dataset: Dataset, contributor: Person):
    upload = received(dataset, contributor, b"%PDF-1.7 ...", "rows.pdf")

    assert looked(upload) is None
    assert (upload.state, upload.issues.get().code) == ("failed", "unknown_format")
    assert "PDF" in upload.failure


def test_rows_of_which_none_can_be_read_say_so_themselves(dataset: Dataset, contributor: Person):
    upload = received(dataset, contributor, b'{"prompt": \n{"prompt": \n', "rows.jsonl")

    assert looked(upload).dialect == "native"


def test_a_worker_that_was_too_slow_writes_nothing(dataset: Dataset, contributor: Person):
    upload = received(dataset, contributor, CSV)
    leases.claim(Upload, upload.pk, UploadState.RECEIVED, UploadState.IMPORTING)
    stale = Upload.objects.get(pk=upload.pk)
    Upload.objects.update(attempt=2)

    with pytest.raises(leases.FencedOff):
        mapping.look(stale)


def test_confirming_begins_the_import_and_is_an_event(waiting: Upload, contributor: Person):
    mapping.confirm(waiting, CHOSEN, actor=contributor.user)

    waiting.refresh_from_db()
    event = Event.objects.filter(kind="upload.received", subject_id=str(waiting.pk)).latest("pk")
    assert (waiting.state, waiting.mapping) == ("received", CHOSEN)
    assert (event.data["old"], event.actor) == ("unmapped", contributor.user)


def test_it_is_confirmed_once(waiting: Upload, contributor: Person):
    mapping.confirm(waiting, CHOSEN, actor=contributor.user)

    with pytest.raises(Conflict):
        mapping.confirm(waiting, CHOSEN, actor=contributor.user)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"columns": {"antwort": "reference"}}, "No column is the prompt"),
        ({"columns": {"frage": "prompt", "fehlt": "reference"}}, "no column 'fehlt'"),
        ({"columns": {"frage": "promt"}}, "unknown"),
        ({"colums": {}}, "unknown field"),
        ({"dialect": 7}, "no mapping"),
        ("always", "auto"),
    ],
)
def test_a_mapping_that_makes_no_tasks_is_refused(waiting: Upload, contributor: Person, given: Any, told: str):
    with pytest.raises(Invalid, match=told):
        mapping.confirm(waiting, given, actor=contributor.user)


def test_a_stranger_may_not_confirm(waiting: Upload, stranger: Person):
    with pytest.raises(Forbidden):
        mapping.confirm(waiting, CHOSEN, actor=stranger.user)


def test_parts_of_a_prompt_keep_the_order_of_the_file(dataset: Dataset, contributor: Person):
    """The database keeps no order of its own: shorter names come first."""
    body = b"instruction,input,output\nAdd these.,1 and 2,3\n"
    chosen = {"columns": {"input": "prompt", "instruction": "prompt", "output": "reference"}}
    upload = received(dataset, contributor, body, mapping=chosen)

    first = looked(upload)

    later = mapping.of(Upload.objects.get(pk=upload.pk))
    assert (list(first.columns), list(later.columns)) == (["instruction", "input", "output"],) * 2
    assert mapping.preview(upload, later)[0].row.messages[0].content == "Add these.\n\n1 and 2"


def test_what_was_remembered_is_taken_the_next_time(waiting: Upload, ungraded: Dataset, contributor: Person):
    mapping.confirm(waiting, CHOSEN, actor=contributor.user, remember=True)
    upload = received(ungraded, contributor, CSV + b"Was ist 3 + 3?,6,Summen\n")

    looked(upload)

    assert (upload.state, upload.mapping, upload.detected["by"]) == (
        "importing",
        {"columns": CHOSEN["columns"]},
        "remembered",
    )


def test_the_same_columns_with_answers_of_another_kind_are_asked_about_again(ungraded: Dataset, contributor: Person):
    counted = received(ungraded, contributor, lines({"input": f"Count to {n}.", "target": str(n)} for n in range(9)))
    looked(counted)
    mapping.confirm(counted, counted.detected["guess"], actor=contributor.user, remember=True)
    chosen = lines({"input": f"Which is {n}?\nOptions:\n(A) {n}\n(B) x", "target": "(A)"} for n in range(9))
    upload = received(ungraded, contributor, chosen)

    looked(upload)

    assert upload.state == "unmapped"


def test_a_grader_that_was_remembered_gives_way_to_the_datasets_own(
    waiting: Upload, dataset: Dataset, contributor: Person
):
    mapping.confirm(waiting, {**CHOSEN, "grader": {"type": "exact"}}, actor=contributor.user, remember=True)
    upload = received(dataset, contributor, CSV + b"Was ist 3 + 3?,6,Summen\n")

    looked(upload)

    assert (upload.detected["by"], "grader" in upload.mapping) == ("remembered", False)


def test_nothing_is_remembered_unasked(waiting: Upload, contributor: Person):
    mapping.confirm(waiting, CHOSEN, actor=contributor.user)

    assert not SavedMapping.objects.exists()


def test_what_somebody_else_chose_is_not_taken(
    waiting: Upload, dataset: Dataset, contributor: Person, stranger: Person
):
    SavedMapping.objects.create(user=stranger.user, columns=mapping._alike(waiting.detected), mapping=CHOSEN)

    assert mapping.remembered(contributor.user, waiting.detected) is None


def test_the_same_bytes_with_a_mapping_settle_what_waits(waiting: Upload, dataset: Dataset, contributor: Person):
    again = received(dataset, contributor, CSV, mapping=CHOSEN)

    assert (again.pk, again.state, again.mapping) == (waiting.pk, "received", CHOSEN)


def test_the_same_bytes_without_one_are_the_upload_that_waits(waiting: Upload, dataset: Dataset, contributor: Person):
    again = received(dataset, contributor, CSV)

    assert (again.pk, again.state) == (waiting.pk, "unmapped")


def test_the_same_bytes_after_a_failure_are_tried_again_as_asked_now(dataset: Dataset, contributor: Person):
    upload = received(dataset, contributor, CSV)
    Upload.objects.update(state="failed", failure="It broke.", format="csv")

    again = received(dataset, contributor, CSV, mapping=CHOSEN, mode="replace")

    assert (again.pk, again.state, again.failure) == (upload.pk, "received", "")
    assert (again.format, again.mapping, again.mode) == ("", CHOSEN, "replace")


def test_the_same_bytes_after_a_failure_half_way_go_on_as_they_began(dataset: Dataset, contributor: Person):
    received(dataset, contributor, CSV, mapping=CHOSEN)
    Upload.objects.update(state="failed", format="csv", line=2, offset=1)

    again = received(dataset, contributor, CSV, mode="replace")

    assert (again.state, again.format, again.mapping, again.mode, again.offset) == (
        "received", "csv", CHOSEN, "append", 1
    )  # fmt: skip


OTHERWISE = {"columns": {"antwort": "prompt", "frage": "reference", "thema": "domain"}}


@pytest.mark.parametrize("state", ["received", "importing", "imported"])
def test_the_same_bytes_with_another_mapping_are_refused(dataset: Dataset, contributor: Person, state: str):
    received(dataset, contributor, CSV, mapping=CHOSEN)
    Upload.objects.update(state=state)

    with pytest.raises(Conflict, match="mode=replace") as refused:
        received(dataset, contributor, CSV, mapping=OTHERWISE)

    assert refused.value.code == "mapped_otherwise"
    assert Upload.objects.get().mapping == CHOSEN


def test_a_file_that_is_refused_for_its_mapping_leaves_nothing_on_its_way(
    dataset: Dataset, contributor: Person, files: Path
):
    received(dataset, contributor, CSV, mapping=CHOSEN)

    with pytest.raises(Conflict):
        received(dataset, contributor, CSV, mapping=OTHERWISE)

    assert len(list((files / "incoming").iterdir())) == 1  # the first, whose transaction is the test's


@pytest.mark.parametrize("given", [None, "auto", {**CHOSEN, "columns": dict(reversed(CHOSEN["columns"].items()))}])
def test_the_same_bytes_without_another_mapping_are_the_first_upload(dataset: Dataset, contributor: Person, given: Any):
    first = received(dataset, contributor, CSV, mapping=CHOSEN)
    Upload.objects.update(state="imported")

    assert received(dataset, contributor, CSV, mapping=given) == first


def test_a_preview_shows_rows_as_they_would_be_read(waiting: Upload):
    first = mapping.preview(waiting, mapping.parse(CHOSEN))[0]

    assert first.row is not None
    assert (first.row.messages[0].content, first.row.item, first.row.domain) == (
        "Was ist 1 + 1?", {"reference": "2"}, "Summen"
    )  # fmt: skip


def test_a_preview_shows_what_would_be_wrong(waiting: Upload):
    wrong = mapping.parse({"columns": {"frage": "prompt", "antwort": "ignore"}})

    assert [found.code for found in mapping.preview(waiting, wrong)[0].issues] == ["reference_missing"]


def test_of_long_texts_beginning_and_end_are_kept():
    kept = mapping.shortened({"text": "a" * 5000 + "#### 7"})["text"]

    assert (len(kept) < 2100, kept.endswith("#### 7")) == (True, True)


def test_what_is_kept_of_a_row_is_small():
    deep: Any = "x"
    for _ in range(100):
        deep = {"a": [deep] * 60}
        deep["a"] = deep["a"][:1]

    assert len(json.dumps(mapping.shortened({f"c{n}": ["y"] * 500 for n in range(500)} | {"deep": deep}))) < 30_000
