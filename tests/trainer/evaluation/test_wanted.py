"""Why a domain is wanted, in which order, and when it is not."""

import dataclasses

import pytest

from trainer.evaluation.decision import Rate
from trainer.evaluation.wanted import FEWEST_UNTAUGHT, Coverage, Reason, facts, finding, judged, ordered

FULL = Coverage("sums", rows=1000, sealed=800, needed=750, rate=Rate(0.7, 0.66, 0.74), items=800)


def having(domain: str = "sums", **other: object) -> Coverage:
    return dataclasses.replace(FULL, domain=domain, **other)  # type: ignore[arg-type]


def test_a_domain_with_enough_of_everything_is_covered_and_not_wanted():
    found = judged(FULL)

    assert (found.reasons, found.is_wanted, found.more) == ((Reason.COVERED,), False, 0)


def test_the_champion_fails_where_the_upper_end_of_its_rate_is_under_a_half():
    found = judged(having(rate=Rate(0.41, 0.36, 0.46)))

    assert found.reasons == (Reason.FAILS,)
    assert found.sentences == ("The champion answers 41.0 % of the held-out items, at best 46.0 %.",)


@pytest.mark.parametrize(("high", "fails"), [(0.499, True), (0.5, False)])
def test_an_interval_that_reaches_a_half_is_no_failure(high: float, fails: bool):
    assert (judged(having(rate=Rate(0.4, 0.3, high))).reason is Reason.FAILS) is fails


def test_a_domain_that_was_not_measured_fails_nowhere():
    assert judged(having(rate=None)).reasons == (Reason.COVERED,)


def test_rows_that_are_known_to_be_solved_do_not_count_for_training():
    found = judged(having(rows=1000, measured=900, solved=1000 - FEWEST_UNTAUGHT + 1))

    assert found.reasons == (Reason.THIN_TRAINING,)
    assert found.sentences == ("319 rows can still teach; 320 are five steps of training.",)
    assert found.have.teaching == 900 - 681


def test_too_few_sealed_rows_for_the_guard_are_thin_for_measuring():
    found = judged(having(sealed=749))

    assert found.reasons == (Reason.THIN_MEASURING,)
    assert found.sentences == ("749 sealed rows of the 750 that its guard needs to see its margin.",)


def test_a_guard_that_no_number_of_rows_is_enough_for_is_told_so():
    found = judged(having(needed=None))

    assert found.sentences == ("Under the gate's policy no number of sealed rows is enough to see a fall.",)
    assert found.more == 0


def test_what_is_nearly_solved_is_not_wanted_however_thin_it_is():
    found = judged(having(rows=0, sealed=0, rate=Rate(0.96, 0.93, 0.98)))

    assert (found.reasons, found.is_wanted, found.more) == ((Reason.NEARLY_SOLVED,), False, 0)


def test_several_reasons_are_told_and_the_first_places_the_domain():
    found = judged(having(rows=1, sealed=1, rate=Rate(0.1, 0.05, 0.15)))

    assert found.reasons == (Reason.FAILS, Reason.THIN_TRAINING, Reason.THIN_MEASURING)
    assert len(found.sentences) == 3
    assert found.sentences[1].startswith("1 row can")


def test_the_rows_that_are_missing_are_counted_through_their_splits():
    training, measuring = judged(having(rows=240)), judged(having(sealed=700))

    assert training.more == 100  # 80 training rows
    assert measuring.more == 500  # 50 sealed rows


def test_the_order_is_that_of_the_rule():
    rows = [
        having("solved", rate=Rate(0.97, 0.95, 0.99)),
        having("covered"),
        having("half measured", sealed=375),
        having("hardly measured", sealed=75),
        having("some rows", rows=200),
        having("few rows", rows=20),
        having("bad", rate=Rate(0.4, 0.35, 0.45)),
        having("worse", rate=Rate(0.2, 0.15, 0.25)),
    ]

    placed = [one.have.domain for one in ordered(rows)]

    assert placed == [
        "worse", "bad", "few rows", "some rows", "hardly measured", "half measured", "covered", "solved",
    ]  # fmt: skip


def test_equals_stand_by_name_whatever_order_they_came_in():
    assert [one.have.domain for one in ordered([having("b"), having("a")])] == ["a", "b"]


def test_the_finding_counts_each_domain_once():
    rows = ordered([having("a", rate=Rate(0.1, 0, 0.2), rows=1), having("b", rows=1), having("c")])

    assert finding(rows) == "2 of 3 domains are wanted: 1 where the champion fails, 1 too thin for training."


def test_where_nothing_is_wanted_the_finding_says_so():
    assert finding(ordered([FULL])) == ("None of 1 domain is wanted: the champion fails nowhere, and nothing is thin.")
    assert finding([]) == "No domain has an approved task yet: the first upload opens the list."


def test_the_facts_of_a_domain_are_figures_and_words_only():
    told = facts(judged(having(rate=None)))

    assert (told["rate"], told["low"], told["rows"], told["reasons"]) == (None, None, 1000, ["covered"])
