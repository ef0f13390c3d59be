"""Stored keys follow NORM_VERSION. A space of version 1 is made by importing it with what version 1 did: it kept one
dash apart from the other."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from tasks import preparation, text
from tasks.dedup import fingerprint, wrappers
from tasks.dedup.signature import STORED_BYTES
from tasks.models import Dataset, Event, HeldOutItem, HeldOutSuite, Task, TaskFinding
from tasks.services import datasets, heldout, importing, neighbours, regrading, rekeying, sweeping, wrapping
from tasks.states import TaskState
from tasks.text import NORM_VERSION
from tasks.types import Message
from tests.tasks.outcome import outcome
from tests.tasks.pipeline import imported, receive, states, sums, tasks

pytestmark = pytest.mark.django_db

DASHED = "Ann \u2013 the eldest \u2013 has 12 apples and eats 5. How many are left?"  # en dashes
PLAIN = DASHED.replace("\u2013", "-")
STORY = (
    "A train leaves Ulm at 9 \u2013 with 240 passengers on board. At every one of its 12 stops a third of the people "
    "get off, and 50 others find a seat. How many of them are still sitting there when it reaches Kiel?"
)


def row(prompt: str, reference: int = 7) -> dict[str, Any]:
    return {"prompt": prompt, "reference": reference}


@contextmanager
def version_1(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In this process."""
    now = text.normalise

    def normalise(given: str) -> str:
        return now(given.replace("\u2013", "\ue000")).replace("\ue000", "\u2013")

    with monkeypatch.context() as then:
        for module in (text, fingerprint, wrappers):
            then.setattr(module, "normalise", normalise)
        then.setattr(preparation, "_NORM_VERSION", b"1")
        for module in (rekeying, neighbours, heldout):
            then.setattr(module, "NORM_VERSION", 1, raising=False)
        yield


EXACT = {
    "type": "string_check",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.reference }}",
    "operation": "eq",
}
Old = Callable[..., None]


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> Old:
    """Import rows into a dataset as of version 1."""

    def make(dataset: Dataset, *rows: dict[str, Any]) -> None:
        with version_1(monkeypatch):
            imported(dataset, rows)
        assert {task.norm_version for task in tasks(dataset)} == {1}

    return make


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rekeying, "CHUNK", 2)


def stored(dataset: Dataset) -> list[dict[str, Any]]:
    """Whole rows."""
    return list(Task.objects.filter(space=dataset.space).order_by("pk").values())


KEYS = ("exact_key", "stripped_key", "answer_digest", "number_signature", "template", "norm_version")


def keys(dataset: Dataset) -> list[tuple[Any, ...]]:
    """By row, as of this version."""
    return [(*(getattr(task, name) for name in KEYS), bytes(task.bands or b"")) for task in tasks(dataset)]


def kept(dataset: Dataset) -> list[tuple[Any, ...]]:
    """What a re-keying leaves alone."""
    names = ("pk", "split", "state", "family", "content_digest", "messages", "item")
    return [tuple(getattr(task, name) for name in names) for task in tasks(dataset)]


ROWS = [
    *(row(f"{prompt} {n}") for n in range(40, 43) for prompt in (DASHED, STORY)),
    *sums(3),
    row("Who \u2013 Bo?", 3),
]


# What it does


def test_a_copy_with_other_dashes_is_found_as_the_same_after_it(dataset: Dataset, old: Old):
    old(dataset, row(DASHED))

    again = imported(dataset, [row(PLAIN)])

    assert again.counts["duplicates"] == 1
    assert Task.objects.count() == 1


def test_keys_are_those_of_an_import_today(dataset: Dataset, contributed: Dataset, old: Old):
    old(dataset, *ROWS)
    imported(contributed, ROWS)

    rekeying.rekey(dataset.space_id)

    assert keys(dataset) == keys(contributed)


def test_splits_states_and_contents_stay(dataset: Dataset, old: Old):
    old(dataset, *ROWS)
    before, digest = kept(dataset), datasets.digest(dataset)

    rekeying.rekey(dataset.space_id)

    assert (kept(dataset), datasets.digest(dataset)) == (before, digest)


def test_own_wrappers_of_the_space_come_off(dataset: Dataset, old: Old):
    wrapping.add(dataset.space, "start", "Be quick \u2013 now.", reviewer=None)
    old(dataset, row("Why?"), row("Be quick - now. Why?"))

    rekeying.rekey(dataset.space_id)

    first, second = tasks(dataset)
    found = TaskFinding.objects.get(rule="wrapped")
    assert (second.stripped_key, second.family) == (fingerprint.exact_key([Message("user", "Why?")]), first.pk)
    assert (found.task_id, found.other) == (second.pk, first.pk)


def test_withdrawn_tasks_are_keyed_too_for_their_splits(dataset: Dataset, old: Old):
    old(dataset, row(DASHED))
    Task.objects.update(state=TaskState.WITHDRAWN, split="probe")

    imported(dataset, [row(PLAIN)])

    assert tasks(dataset)[-1].split == "probe"


def test_near_copies_of_tasks_of_before_are_found(dataset: Dataset, old: Old):
    old(dataset, row(STORY))

    imported(dataset, [row(STORY.replace("passengers on board", "passengers aboard"))])

    assert TaskFinding.objects.get().rule == "near"
    assert {len(bytes(task.bands or b"")) for task in tasks(dataset)} == {STORED_BYTES}


def test_an_index_that_was_read_too_early_is_forgotten(dataset: Dataset, old: Old):
    old(dataset, row(STORY), row(DASHED))
    first, second = tasks(dataset)
    Task.objects.filter(pk=second.pk).update(norm_version=NORM_VERSION)
    neighbours.caught_up(dataset.space)
    Task.objects.filter(pk=second.pk).update(norm_version=1)

    imported(dataset, [row(STORY.replace("passengers on board", "passengers aboard"))])

    assert TaskFinding.objects.get().other == first.pk


def test_rows_without_bands_of_this_length_are_behind_too(dataset: Dataset):
    imported(dataset, sums(2))
    before = keys(dataset)
    Task.objects.update(bands=b"old")

    rekeying.rekey(dataset.space_id)

    assert keys(dataset) == before


def test_one_event_a_chunk_says_how_many(dataset: Dataset, old: Old):
    old(dataset, row(DASHED), *sums(2))

    rekeying.rekey(dataset.space_id)

    event = Event.objects.get(kind="team.rekeyed")
    counts = {"tasks": 3, "items": 0, "changed": 1, "copies": 0, "wrapped": 0, "to": tasks(dataset)[-1].pk}
    assert (event.team_id, event.data) == (dataset.space_id, counts)


# Two that become one


def test_of_two_that_become_one_the_older_holds_the_key(dataset: Dataset, old: Old):
    old(dataset, row(DASHED), row(PLAIN))

    rekeying.rekey(dataset.space_id)

    first, second = tasks(dataset)
    assert first.exact_key == fingerprint.exact_key([Message("user", PLAIN)])
    assert second.exact_key != first.exact_key
    assert {first.norm_version, second.norm_version} == {NORM_VERSION}


def test_the_later_one_stays_in_the_family_of_the_older_one_and_says_why(dataset: Dataset, old: Old):
    old(dataset, row(DASHED), row(PLAIN))
    TaskFinding.objects.all().delete()
    Task.objects.update(family=None)
    before = datasets.digest(dataset)

    rekeying.rekey(dataset.space_id)

    first, second = tasks(dataset)
    found = TaskFinding.objects.get()
    assert (found.task_id, found.other, found.kind, found.rule) == (second.pk, first.pk, "near_duplicate", "exact")
    assert (found.similarity, found.evidence["shared"][:16]) == (1.0, "ann - the eldest")
    assert (second.family, datasets.digest(dataset)) == (first.pk, before)


def test_what_was_told_as_nearly_the_same_is_told_as_the_same(dataset: Dataset, old: Old):
    old(dataset, row(STORY), row(STORY.replace("\u2013", "-")))
    before = TaskFinding.objects.get()

    rekeying.rekey(dataset.space_id)

    after = TaskFinding.objects.get()
    assert (before.rule, after.rule, after.pk) == ("near", "exact", before.pk)


def test_the_next_copy_is_credited_to_the_older_one(dataset: Dataset, old: Old):
    old(dataset, row(DASHED), row(PLAIN))

    imported(dataset, [row(PLAIN)])

    assert tasks(dataset)[2] == tasks(dataset)[0]


def test_with_another_answer_both_have_the_key(dataset: Dataset, old: Old):
    old(dataset, row(DASHED, 7), row(PLAIN, 8))

    rekeying.rekey(dataset.space_id)

    assert len({task.exact_key for task in tasks(dataset)}) == 1


def test_a_withdrawn_task_takes_no_key_from_another(dataset: Dataset, old: Old):
    old(dataset, row(DASHED), row(PLAIN))
    Task.objects.filter(pk=tasks(dataset)[0].pk).update(state=TaskState.WITHDRAWN)

    rekeying.rekey(dataset.space_id)

    assert not TaskFinding.objects.filter(rule="exact").exists()
    assert len({task.exact_key for task in tasks(dataset)}) == 1


@pytest.mark.usefixtures("small_chunks")
def test_copies_far_apart_are_found_as_well(dataset: Dataset, old: Old):
    old(dataset, row(DASHED), *sums(4), row(PLAIN), *sums(2, start=9), row(DASHED.upper().replace("ANN", "ANN ")))

    rekeying.rekey(dataset.space_id)

    oldest, later = tasks(dataset)[0], tasks(dataset)[5]
    assert oldest.exact_key == fingerprint.exact_key([Message("user", PLAIN)])
    assert TaskFinding.objects.get(rule="exact").task_id == later.pk


def test_keys_may_go_round(dataset: Dataset, old: Old):
    """Each task sits on the key that the other one needs."""
    old(dataset, row("Why?"), row("Who?"))
    first, second = tasks(dataset)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tasks_task SET exact_key = gen_random_uuid() WHERE id = %s;"
            "UPDATE tasks_task SET exact_key = %s WHERE id = %s; UPDATE tasks_task SET exact_key = %s WHERE id = %s",
            [first.pk, first.exact_key, second.pk, second.exact_key, first.pk],
        )

    rekeying.rekey(dataset.space_id)

    assert [task.exact_key for task in tasks(dataset)] == [first.exact_key, second.exact_key]
    assert not TaskFinding.objects.exists()


def test_a_copy_keeps_its_key_when_it_is_keyed_again(dataset: Dataset, old: Old):
    old(dataset, row(DASHED), row(PLAIN))
    rekeying.rekey(dataset.space_id)
    before = stored(dataset)
    Task.objects.update(norm_version=1)

    rekeying.rekey(dataset.space_id)

    assert stored(dataset) == before
    assert TaskFinding.objects.count() == 1


# Held-out items


def _suite(dataset: Dataset, old: Old, monkeypatch: pytest.MonkeyPatch) -> HeldOutSuite:
    """Of the sealed first task, from before."""
    old(dataset, row(DASHED), *sums(2))
    Task.objects.filter(pk=tasks(dataset)[0].pk).update(split="sealed")
    with version_1(monkeypatch):
        return heldout.register(dataset.space, "d1", "suite", [[Message("user", DASHED)]])


def test_items_of_suites_follow(dataset: Dataset, old: Old, monkeypatch: pytest.MonkeyPatch):
    _suite(dataset, old, monkeypatch)

    rekeying.rekey(dataset.space_id)

    now = fingerprint.fingerprint([Message("user", PLAIN)])
    item = HeldOutItem.objects.get()
    assert (item.exact_key, item.folded) == (now.exact_key, now.folded)


def test_of_an_item_without_a_task_the_text_follows(dataset: Dataset, old: Old, monkeypatch: pytest.MonkeyPatch):
    _suite(dataset, old, monkeypatch)
    Task.objects.filter(split="sealed").update(exact_key="0" * 32)

    rekeying.rekey(dataset.space_id)

    assert HeldOutItem.objects.get().folded == text.folded([Message("user", PLAIN)])


def test_an_item_of_which_the_suite_has_another_already_keeps_its_key(
    dataset: Dataset, old: Old, monkeypatch: pytest.MonkeyPatch
):
    suite = _suite(dataset, old, monkeypatch)
    now = fingerprint.fingerprint([Message("user", PLAIN)])
    HeldOutItem.objects.create(suite=suite, space=dataset.space, exact_key=now.exact_key, folded=now.folded)

    rekeying.rekey(dataset.space_id)

    first, second = HeldOutItem.objects.order_by("pk")
    assert (first.folded, second.exact_key) == (second.folded, now.exact_key)


def test_a_row_that_repeats_an_item_with_other_dashes_is_refused(
    dataset: Dataset, contributed: Dataset, old: Old, monkeypatch: pytest.MonkeyPatch
):
    suite = _suite(dataset, old, monkeypatch)
    Task.objects.filter(split="sealed").update(state=TaskState.WITHDRAWN, split="train")

    upload = imported(dataset, [row(PLAIN)])

    assert suite.name in str(upload.issues.get().evidence)


def test_stored_tasks_are_compared_with_the_suites_once_more(
    dataset: Dataset, old: Old, monkeypatch: pytest.MonkeyPatch
):
    suite = _suite(dataset, old, monkeypatch)

    rekeying.rekey(dataset.space_id)

    assert list(heldout.unscanned(dataset.space_id)) == [suite]


# When it runs


def test_a_space_that_is_up_to_date_is_let_be(dataset: Dataset):
    imported(dataset, sums(2))
    events = Event.objects.count()

    assert rekeying.rekey(dataset.space_id) == 0

    assert Event.objects.count() == events


def test_a_second_time_changes_nothing(dataset: Dataset, old: Old):
    old(dataset, row(DASHED), row(PLAIN), *sums(2))
    rekeying.rekey(dataset.space_id)
    before = (stored(dataset), Event.objects.count())

    assert rekeying.rekey(dataset.space_id) == 0

    assert (stored(dataset), Event.objects.count()) == before


def test_keys_of_a_later_version_are_never_taken_back(dataset: Dataset):
    """A worker that still runs the version before."""
    imported(dataset, sums(2))
    Task.objects.update(norm_version=NORM_VERSION + 1)

    assert not rekeying.is_behind(dataset.space_id)


def test_an_import_that_meets_tasks_of_before_under_the_lock_brings_them_up_to_date(
    dataset: Dataset, old: Old, monkeypatch: pytest.MonkeyPatch
):
    """Somebody who runs the version before has added them in the meantime."""
    upload = receive(dataset, [row(PLAIN)])
    now, asked = rekeying.rekey, []

    def late(space_id: int) -> int:
        asked.append(space_id)
        return now(space_id) if len(asked) > 1 else 0

    old(dataset, row(DASHED))
    monkeypatch.setattr(rekeying, "rekey", late)
    importing.import_upload(upload.pk)

    assert Task.objects.count() == 1


def test_copies_for_another_grader_are_of_this_version(dataset: Dataset, old: Old):
    old(dataset, row(DASHED), *sums(2))
    Task.objects.update(state=TaskState.APPROVED)
    change = regrading.change_grader(dataset, EXACT, actor=None)

    regrading.run(change.pk)

    assert set(Task.objects.values_list("norm_version", flat=True)) == {NORM_VERSION}


def test_the_sweep_sends_for_spaces_that_are_behind(dataset: Dataset, old: Old, monkeypatch: pytest.MonkeyPatch):
    old(dataset, *sums(2))
    sent: list[tuple[str, Any]] = []
    monkeypatch.setattr(sweeping, "wake", lambda job, pk: sent.append((job, pk)))

    assert sweeping.sweep()["rekeyed"] == 1

    assert ("rekey_space", dataset.space_id) in sent


def test_the_command_does_all_spaces(dataset: Dataset, contributed: Dataset, old: Old):
    old(dataset, *sums(2))
    old(contributed, *sums(3))
    out = StringIO()

    call_command("rekey", "--json", stdout=out)

    counts = {dataset.space.slug: 2, contributed.space.slug: 3}
    assert json.loads(out.getvalue()) == {"spaces": counts, "tasks": 5}


@pytest.mark.usefixtures("small_chunks")
def test_the_command_says_how_far_it_is(dataset: Dataset, old: Old):
    old(dataset, *sums(3))
    out = StringIO()

    call_command("rekey", stdout=out)

    slug = dataset.space.slug
    assert out.getvalue().splitlines() == [f"{slug}: 2", f"{slug}: 3", "3 tasks of 1 spaces"]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_chunks_make_no_difference(
    dataset: Dataset, contributed: Dataset, old: Old, monkeypatch: pytest.MonkeyPatch, size: int
):
    rows = [row(DASHED), *ROWS, row(PLAIN), row(STORY.replace("\u2013", "-") + " 40"), row(PLAIN + " 41")]
    for one in (dataset, contributed):
        old(one, *rows)
    rekeying.rekey(contributed.space_id)
    monkeypatch.setattr(rekeying, "CHUNK", size)

    rekeying.rekey(dataset.space_id)

    assert _without_splits(dataset) == _without_splits(contributed)


def _without_splits(dataset: Dataset) -> dict[str, Any]:
    """Two spaces have salts of their own."""
    found = outcome(dataset)
    return {**found, "rows": [tuple(value for place, value in enumerate(one) if place != 7) for one in found["rows"]]}


# Kills, and two at once

_RUN = """
import django; django.setup()
from tasks.services import rekeying
rekeying.CHUNK = 3
rekeying.rekey({space})
"""
_COPIES = [row(DASHED), *ROWS, row(PLAIN), row(STORY.replace("\u2013", "-") + " 40")]


@pytest.fixture
def worker(server_environment: dict[str, str], files: Path) -> Callable[..., int]:
    """Re-key a space in a process of its own; its exit status."""
    env = {**server_environment, "DATA_DIR": str(files.parent), "DJANGO_SETTINGS_MODULE": "flywheel.settings"}

    def run(dataset: Dataset, **more: str) -> int:
        command = [sys.executable, "-c", _RUN.format(space=dataset.space_id)]
        return subprocess.run(command, env={**env, **more}, check=False, capture_output=True).returncode

    return run


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "point", ["rekeying.before_commit", "rekeying.before_commit:2", "rekeying.after_chunk:1", "rekeying.after_chunk:3"]
)
def test_a_worker_that_is_killed_is_followed_by_one_that_gives_the_same(
    dataset: Dataset, contributed: Dataset, old: Old, worker: Callable[..., int], point: str
):
    for one in (dataset, contributed):
        old(one, *_COPIES)
    rekeying.rekey(contributed.space_id)
    assert worker(dataset, FLYWHEEL_CRASH_AT=point) == -9

    assert worker(dataset) == 0

    assert not rekeying.is_behind(dataset.space_id)
    assert _without_splits(dataset) == _without_splits(contributed)


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_take_turns(dataset: Dataset, contributed: Dataset, old: Old, worker: Callable[..., int]):
    for one in (dataset, contributed):
        old(one, *_COPIES)
    rekeying.rekey(contributed.space_id)

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(worker, [dataset, dataset]))

    told = Event.objects.filter(kind="team.rekeyed", team=dataset.space_id)
    assert ended == [0, 0]
    assert sum(event.data["tasks"] for event in told) == len(_COPIES)
    assert _without_splits(dataset) == _without_splits(contributed)


def test_nothing_is_dropped(dataset: Dataset, old: Old):
    old(dataset, *_COPIES)
    before = states(dataset)

    rekeying.rekey(dataset.space_id)

    assert states(dataset) == before


def test_whether_a_space_is_behind_is_told_by_the_index(dataset: Dataset, old: Old):
    old(dataset, *sums(500))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_task")
        cursor.execute("EXPLAIN " + rekeying._BEHIND, {**rekeying._version(), "space": None, "most": 20})
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "Backward using task_queue" in plan
    assert "tasks_task_pkey" not in plan
