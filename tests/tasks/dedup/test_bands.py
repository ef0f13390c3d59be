import os
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.dedup import bands, runs
from tasks.dedup.bands import SHORTLIST, BandIndex, older, within
from tasks.dedup.runs import LIMIT
from tasks.dedup.signature import BANDS, SKETCH_WORDS, WORDS


def unique_bands(count, seed=0):
    """All of them with the same sketch."""
    return with_sketches(np.random.default_rng(seed).integers(0, 2**64, (count, BANDS), dtype=np.uint64))


def with_sketches(hashes):
    return np.concatenate([hashes, np.zeros((len(hashes), SKETCH_WORDS), dtype=np.uint64)], axis=1)


def ids(first, count):
    return np.arange(first, first + count)


def everyone(rows):
    return np.ones(len(rows), dtype=bool)


def found(answer):
    """{row: [(other, in the chunk, shared bands)]}, in the answer's order."""
    rows = {}
    for row, other, in_chunk, shared in zip(*(column.tolist() for column in answer), strict=True):
        rows.setdefault(row, []).append((other, in_chunk, shared))
    return rows


def by_the_rule(history, chunk, kept):
    """The rule word by word: history is [(id, bands)], oldest first."""
    answer = {}
    elders = [((name, False), row) for name, row in history]
    for place, row in enumerate(chunk):
        shared = {}
        for band, value in enumerate(row[:BANDS]):
            members = [name for name, other in elders if other[band] == value]
            if len(members) <= LIMIT:
                for name in members:
                    shared[name] = shared.get(name, 0) + 1
        age = {name: at for at, (name, _) in enumerate(elders)}
        best = sorted(shared, key=lambda name: (-shared[name], age[name]))[:SHORTLIST]
        if best:
            answer[place] = [(*name, shared[name]) for name in best]
        if kept[place]:
            elders.append(((place, True), row))
    return answer


@pytest.fixture
def index(tmp_path):
    return BandIndex(tmp_path / "bands")


def test_a_new_index_covers_nothing(index):
    assert index.watermark == 0
    assert found(older(index, unique_bands(3), np.ones(3, dtype=bool))) == {}


def test_a_stored_task_is_found_by_one_shared_band(index):
    stored = unique_bands(100)
    index.extend(ids(501, 100), stored, after=0)
    probe = unique_bands(2, seed=1)
    probe[1, 4] = stored[41, 4]

    answer = older(index, probe, everyone(probe))

    assert found(answer) == {1: [(542, False, 1)]}


def test_the_candidates_that_share_most_bands_come_first_and_the_oldest_of_equals(index):
    probe = unique_bands(1)
    stored = unique_bands(3, seed=1)
    stored[0, 0], stored[1, :5], stored[2, 3] = probe[0, 0], probe[0, :5], probe[0, 3]
    index.extend(ids(11, 3), stored, after=0)

    answer = older(index, probe, everyone(probe))

    assert answer.others.tolist() == [12, 11, 13]
    assert answer.shared.tolist() == [5, 1, 1]


def test_a_candidate_whose_sketch_says_otherwise_goes_no_further(index):
    probe = unique_bands(1)
    stored = np.repeat(probe, 2, axis=0)
    stored[0, BANDS:] = ~probe[0, BANDS:]
    index.extend(ids(1, 2), stored, after=0)

    assert found(older(index, probe, everyone(probe))) == {0: [(2, False, BANDS)]}


def test_an_earlier_row_whose_sketch_says_otherwise_goes_no_further(index):
    rows = np.repeat(unique_bands(1), 3, axis=0)
    rows[0, BANDS:] = ~rows[1, BANDS:]

    assert found(older(index, rows, everyone(rows))) == {2: [(1, True, BANDS)]}


def test_candidates_are_dropped_from_the_shortlist_and_none_come_instead(index):
    probe = unique_bands(1)
    stored = np.repeat(probe, SHORTLIST + 1, axis=0)
    stored[:SHORTLIST, BANDS:] = ~probe[0, BANDS:]
    index.extend(ids(1, SHORTLIST + 1), stored, after=0)

    assert found(older(index, probe, everyone(probe))) == {}


def test_no_more_than_the_shortlist_goes_on(index):
    probe = unique_bands(1)
    index.extend(ids(1, LIMIT), np.repeat(probe, LIMIT, axis=0), after=0)

    answer = older(index, probe, everyone(probe))

    assert answer.others.tolist() == list(range(1, SHORTLIST + 1))


@pytest.mark.parametrize(("members", "counts"), [(LIMIT, True), (LIMIT + 1, False)])
@pytest.mark.parametrize("in_chunk", [0, 1, 20])
def test_a_bucket_counts_up_to_the_limit_of_older_members_wherever_they_are(index, members, counts, in_chunk):
    copies = np.repeat(unique_bands(1), members + 1, axis=0)
    for task in range(members - in_chunk):
        index.extend(ids(task + 1, 1), copies[:1], after=task)

    answer = older(index, copies[: in_chunk + 1], np.ones(in_chunk + 1, dtype=bool))

    assert (in_chunk in found(answer)) is counts


def test_rows_that_become_no_tasks_are_nobody_s_elders(index):
    copies = np.repeat(unique_bands(1), 3, axis=0)

    answer = older(index, copies, np.array([False, True, True]))

    assert found(answer) == {2: [(1, True, BANDS)]}


few_values = arrays(np.uint64, st.tuples(st.integers(0, 60), st.just(BANDS)), elements=st.integers(0, 6))


@settings(deadline=None, max_examples=60)
@given(few_values, few_values, st.data())
def test_the_answer_is_the_rule_s(tmp_path_factory, stored, chunk, data):
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(chunk), max_size=len(chunk))), dtype=bool)
    place = np.arange(BANDS, dtype=np.uint64) << np.uint64(60)  # as the band's number is hashed into its value
    stored, chunk = (with_sketches(rows * np.uint64(8191) + place) for rows in (stored, chunk))
    index = BandIndex(tmp_path_factory.mktemp("bands"))
    cut = data.draw(st.integers(0, len(stored)))
    index.extend(ids(1, cut), stored[:cut], after=0)
    index.extend(ids(cut + 1, len(stored) - cut), stored[cut:], after=cut)

    answer = older(index, chunk, kept)

    assert found(answer) == by_the_rule(list(zip(range(1, len(stored) + 1), stored, strict=True)), chunk, kept)


def test_how_many_rows_are_counted_at_a_time_changes_nothing(index, monkeypatch):
    rows = np.repeat(unique_bands(20), 10, axis=0)
    index.extend(ids(1, 200), rows, after=0)
    at_once = found(older(index, rows, everyone(rows)))

    monkeypatch.setattr(bands, "PAIRS_AT_ONCE", 100)

    assert found(older(index, rows, everyone(rows))) == at_once


def test_within_counts_the_kept_rows_before():
    copies = np.repeat(unique_bands(1), 4, axis=0)

    assert within(copies, np.array([True, False, True, True])).sizes[:, 0].tolist() == [0, 1, 1, 2]


def test_a_template_of_twenty_thousand_rows_makes_pairs_for_the_first_rows_only(index):
    copies = np.repeat(unique_bands(1), 20_000, axis=0)

    answer = older(index, copies, everyone(copies))

    assert answer.rows.max() == LIMIT


def test_a_template_takes_little_room(index):
    copies = np.repeat(unique_bands(1), 5_000, axis=0)
    index.extend(ids(1, 5_000), copies, after=0)

    assert index._runs[0].entries == runs.KEPT * BANDS
    assert index.watermark == 5_000


def test_many_chunks_are_merged_into_few_runs(index, monkeypatch):
    monkeypatch.setattr(bands, "FIRST_TIER_ENTRIES", 100)
    monkeypatch.setattr(runs, "MERGED_AT_ONCE", 64)
    monkeypatch.setattr(runs, "SEARCHED_AT_ONCE", 256)
    stored = unique_bands(700)
    stored[:, WORDS - 1] = np.arange(700)
    for first in range(0, 700, 7):
        index.extend(ids(first + 1, 7), stored[first : first + 7], after=first)

    answer = older(index, stored, np.zeros(700, dtype=bool))

    assert len(index._runs) < 3 * bands.FAN_IN
    assert {row: others[0] for row, others in found(answer).items()} == {
        row: (row + 1, False, BANDS) for row in range(700)
    }
    assert len(list(index.folder.glob("*.run"))) == len(index._runs)
    assert index.lookup(stored).sketches(ids(1, 700)).tolist() == stored[:, BANDS:].tolist()


def test_an_answer_outlives_the_runs_that_it_came_from(index, monkeypatch):
    monkeypatch.setattr(bands, "FAN_IN", 2)
    stored = unique_bands(10)
    index.extend(ids(1, 10), stored, after=0)
    answer = index.lookup(stored)

    BandIndex(index.folder).extend(ids(11, 10), unique_bands(10, seed=1), after=10)

    assert answer.pairs(np.ones((10, BANDS), dtype=bool)).others.tolist() == list(range(1, 11))


def test_another_process_s_tasks_are_seen_at_once(index):
    stored = unique_bands(10)
    reader = BandIndex(index.folder)
    assert reader.watermark == 0

    index.extend(ids(1, 10), stored, after=0)

    assert reader.watermark == 10
    assert reader.lookup(stored).sizes.min() == 1


def test_what_another_process_has_added_is_not_added_twice(index):
    stored = unique_bands(20)
    other = BandIndex(index.folder)
    other.extend(ids(1, 15), stored[:15], after=0)

    watermark = index.extend(ids(1, 20), stored, after=0)

    assert watermark == 20
    assert index.lookup(stored).sizes.max() == 1


def test_tasks_behind_a_gap_are_refused(index):
    stored = unique_bands(10)

    watermark = index.extend(ids(21, 10), stored, after=20)

    assert watermark == 0
    assert index.lookup(stored).sizes.max() == 0


def test_a_deleted_folder_is_an_empty_index(index):
    index.extend(ids(1, 10), unique_bands(10), after=0)
    for path in index.folder.iterdir():
        path.unlink()

    assert index.watermark == 0
    assert index.extend(ids(1, 10), unique_bands(10), after=0) == 10


@pytest.mark.parametrize("place", [0, 3, 20, 60, 64, 500, -1])
def test_a_changed_byte_in_a_run_is_noticed_and_answered_by_starting_over(index, place):
    index.extend(ids(1, 10), unique_bands(10), after=0)
    [path] = index.folder.glob("*.run")
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)

    fresh = BandIndex(index.folder)

    assert fresh.watermark == 0
    assert fresh.extend(ids(1, 10), unique_bands(10), after=0) == 10


@pytest.mark.parametrize("size", [0, 10, 63, 64, 400])
def test_a_torn_run_is_noticed(index, size):
    index.extend(ids(1, 10), unique_bands(10), after=0)
    [path] = index.folder.glob("*.run")
    os.truncate(path, size)

    assert BandIndex(index.folder).watermark == 0


@pytest.mark.parametrize(
    "spoil", [lambda text: text[:-20], lambda text: b"", lambda text: text.replace(b":10", b":11")]
)
def test_a_damaged_manifest_is_noticed(index, spoil):
    index.extend(ids(1, 10), unique_bands(10), after=0)
    path = index.folder / "manifest.json"
    path.write_bytes(spoil(path.read_bytes()))

    assert BandIndex(index.folder).watermark == 0


def test_bands_of_another_making_are_forgotten(index, monkeypatch):
    index.extend(ids(1, 10), unique_bands(10), after=0)

    monkeypatch.setattr(bands, "BANDS_VERSION", 99)

    assert BandIndex(index.folder).watermark == 0


def test_what_a_killed_writer_left_is_swept_by_the_next(index):
    (index.folder / "0000000000000000099-dead.run").write_bytes(b"half a run")

    index.extend(ids(1, 10), unique_bands(10), after=0)

    assert len(list(index.folder.glob("*.run"))) == 1


def test_ids_may_lie_far_up_but_not_too_far_apart(index):
    stored = unique_bands(2)
    index.extend(ids(2**40, 1), stored[:1], after=0)

    assert index.lookup(stored[:1]).pairs(np.ones((1, BANDS), dtype=bool)).others.tolist() == [2**40]
    with pytest.raises(ValueError, match="span"):
        index.extend(ids(2**40 + 2**32, 1), stored[1:], after=2**40)


def _extend_in_turns(folder, stored):
    index = BandIndex(folder)
    while (watermark := index.watermark) < len(stored):
        upto = min(watermark + 5, len(stored))
        index.extend(ids(watermark + 1, upto - watermark), stored[watermark:upto], after=watermark)


def test_processes_that_extend_one_index_at_the_same_time_lose_and_repeat_nothing(index):
    stored = unique_bands(400)
    context = get_context("spawn")  # a fork of this process would copy the locks that its libraries' threads hold
    processes = [context.Process(target=_extend_in_turns, args=(index.folder, stored)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    sizes = index.lookup(stored).sizes

    assert index.watermark == 400
    assert (sizes.min(), sizes.max()) == (1, 1)
