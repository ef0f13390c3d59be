"""The ingest bench's marks: full ones for who says what is true, and none for who says something else."""

from collections.abc import Callable

import pytest

from flywheel.bench import quality
from flywheel.bench.quality import Case, Seen
from flywheel.bench.rows import Corpus, Kind
from flywheel.bench.table import Measure

CORPUS = Corpus(seed=2, size=1500, planted=0.5, elders=Corpus(seed=1, size=1000), held_out=50)
DUPLICATES = (Kind.EXACT, Kind.DRESSED)


def _rightly(case: Case) -> Seen:
    """What a faultless importer says."""
    truth = case.truth
    other = {truth.original} if truth.original is not None else set()
    if truth.kind in DUPLICATES:
        return Seen(duplicate=True)
    if truth.kind is Kind.CONFLICT:
        return Seen(conflict=True)
    if truth.kind in (Kind.HELD_OUT, Kind.CONTAINED):
        return Seen(contaminated=True)
    if truth.kind is Kind.WRAPPED or (truth.kind is Kind.EDITED and truth.same_answer):
        return Seen(near=other)
    if truth.kind in (Kind.EDITED, Kind.EXTREME, Kind.TURNED):
        return Seen(suspect=other)
    return Seen(review=truth.kind is Kind.REWORDED)


def _marks(say: Callable[[Case], Seen]) -> dict[str, Measure]:
    cases = quality.cases(CORPUS, {})
    found = [Case(case.truth, case.question, say(case)) for case in cases]
    return {one.name.partition(" (")[0]: one for one in quality.measures(CORPUS, found)}


@pytest.fixture(scope="module")
def faultless() -> dict[str, Measure]:
    return _marks(_rightly)


def test_who_says_what_is_true_misses_no_target(faultless: dict[str, Measure]):
    assert [name for name, one in faultless.items() if one.holds is False] == []


def test_who_says_nothing_finds_nothing():
    marks = _marks(lambda case: Seen())

    assert marks["near-duplicates, recall at Jaccard ≥ 0.7"].value == 0
    assert marks["exact copies found"].value == 0
    assert marks["contained held-out items refused"].value == 0


def test_calling_rows_with_other_numbers_near_costs_precision_and_is_counted():
    marks = _marks(
        lambda case: Seen(near={case.truth.original or 0}) if case.truth.kind is Kind.NUMBERS else _rightly(case)
    )

    assert marks["number-changed rows called near-duplicate or suspect"].value > 0
    assert marks["near-duplicates, precision"].holds is False


def test_calling_strangers_near_costs_precision():
    marks = _marks(lambda case: Seen(near={0}) if case.truth.kind is Kind.CLEAN else _rightly(case))

    assert marks["near-duplicates, precision"].value < 0.5


def test_an_elder_copy_of_the_same_row_is_rightly_near():
    edited = [
        case
        for case in quality.cases(CORPUS, {})
        if case.truth.kind is Kind.EDITED and case.truth.same_answer and case.truth.original is not None
    ]

    assert all(quality._is_near(CORPUS, case, case.truth.original) for case in edited)


def test_refusing_clean_rows_is_counted():
    marks = _marks(lambda case: Seen(contaminated=True) if case.truth.kind is Kind.CLEAN else _rightly(case))

    assert marks["clean rows taken for contaminated"].value == 100


def test_edits_whose_answer_was_misjudged_are_found_but_not_told_apart():
    def turned_round(case: Case) -> Seen:
        seen = _rightly(case)
        return Seen(near=seen.suspect, suspect=seen.near) if case.truth.kind is Kind.EDITED else seen

    marks = _marks(turned_round)

    assert marks["near-duplicates, recall at Jaccard ≥ 0.7"].value == 1
    assert marks["of those found, told apart rightly by their answers"].value == 0
