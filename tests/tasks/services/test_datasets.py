from typing import Any

import pytest

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, Event, Task
from tasks.services import accounts, datasets, reviews
from tests.cast import Person
from tests.tasks.pipeline import imported, proved, sums, tasks

pytestmark = pytest.mark.django_db


def _contribute(person: Person, **changes: Any) -> Dataset:
    wanted = {"licence": "CC-BY-4.0", "consent_version": datasets.CONSENT_VERSION, **changes}
    return datasets.create(person.team, "Shared", actor=person.user, visibility="contributed", **wanted)


def test_a_private_dataset_is_in_its_teams_space(contributor: Person):
    dataset = datasets.create(contributor.team, "My sums", actor=contributor.user)

    assert (dataset.slug, dataset.space, dataset.visibility) == ("my-sums", contributor.team, "private")


def test_a_contributed_dataset_is_in_the_pool(contributor: Person):
    assert _contribute(contributor).space == accounts.pool()


def test_a_licence_is_stored_as_spdx_spells_it(contributor: Person):
    assert _contribute(contributor, licence="cc-by-4.0").licence == "CC-BY-4.0"


@pytest.mark.parametrize("licence", ["", "all mine", "CC-BY-NC-4.0"])
def test_contributing_needs_a_licence_that_allows_training(contributor: Person, licence: str):
    with pytest.raises(Invalid) as refusal:
        _contribute(contributor, licence=licence)

    assert refusal.value.param == "licence"


@pytest.mark.parametrize("version", ["", "1999-1"])
def test_contributing_needs_consent_to_the_current_text(contributor: Person, version: str):
    with pytest.raises(Invalid, match="consent"):
        _contribute(contributor, consent_version=version)


def test_a_stranger_may_not_create_a_dataset(contributor: Person, stranger: Person):
    with pytest.raises(Forbidden):
        datasets.create(contributor.team, "Mine now", actor=stranger.user)


def test_a_slug_is_given_once_in_a_team(dataset: Dataset, contributor: Person):
    with pytest.raises(Conflict, match=dataset.slug):
        datasets.create(contributor.team, "Sums", actor=contributor.user)


@pytest.mark.parametrize(
    "wanted", [{"name": ""}, {"name": "x", "slug": "Not A Slug"}, {"name": "x", "visibility": "secret"},
               {"name": "x", "domain": "d" * 65}, {"name": "x", "default_grader": {"type": "guess"}}]
)  # fmt: skip
def test_a_dataset_that_cannot_be_right_is_refused(contributor: Person, wanted: dict[str, Any]):
    with pytest.raises(Invalid):
        datasets.create(contributor.team, actor=contributor.user, **wanted)


def test_equal_graders_are_one_row(dataset: Dataset, contributor: Person):
    other = datasets.create(contributor.team, "More", actor=None, default_grader={"type": "number", "name": "mine"})

    assert other.default_grader == dataset.default_grader


def test_a_stranger_may_not_set_the_grader(dataset: Dataset, stranger: Person):
    with pytest.raises(Forbidden):
        datasets.set_default_grader(dataset, {"type": "number"}, actor=stranger.user)


def test_a_version_freezes_the_approved_tasks(dataset: Dataset, contributor: Person):
    proved(dataset, sums(3))
    reviews.bulk({"pk__in": [task.pk for task in tasks(dataset)[:2]]}, "approved", reviewer=contributor.user)

    version = datasets.freeze(dataset, actor=contributor.user)

    assert (version.number, version.task_count, version.entries.count()) == (1, 2, 2)


def test_the_same_content_is_the_same_version(dataset: Dataset, contributor: Person):
    proved(dataset, sums(2))
    reviews.bulk({}, "approved", reviewer=contributor.user)

    assert datasets.freeze(dataset, actor=None) == datasets.freeze(dataset, actor=None)


def test_other_content_is_the_next_version(dataset: Dataset, contributor: Person):
    proved(dataset, sums(2))
    reviews.approve(tasks(dataset)[0], reviewer=contributor.user)
    first = datasets.freeze(dataset, actor=None)
    reviews.approve(tasks(dataset)[1], reviewer=contributor.user)

    second = datasets.freeze(dataset, actor=None)

    assert (second.number, second.digest != first.digest) == (2, True)


def test_equal_content_has_an_equal_digest_in_every_team(dataset: Dataset, contributor: Person, stranger: Person):
    other = datasets.create(stranger.team, "Sums", actor=stranger.user, default_grader={"type": "number"})
    proved(dataset, sums(3))
    proved(other, list(reversed(sums(3))))
    reviews.bulk({}, "approved", reviewer=contributor.user)

    assert datasets.freeze(dataset, actor=None).digest == datasets.freeze(other, actor=None).digest


def test_a_task_that_two_rows_brought_is_frozen_once(dataset: Dataset, contributor: Person):
    proved(dataset, [*sums(1), *sums(1)])
    reviews.bulk({}, "approved", reviewer=contributor.user)

    assert datasets.freeze(dataset, actor=None).task_count == 1


def test_nothing_approved_is_nothing_to_freeze(dataset: Dataset):
    imported(dataset, sums(1))

    with pytest.raises(Invalid) as refusal:
        datasets.freeze(dataset, actor=None)

    assert refusal.value.code == "nothing_approved"


def test_operators_of_the_pool_freeze_what_is_contributed(contributed: Dataset, reviewer: Person, operator: Person):
    proved(contributed, sums(1))
    reviews.bulk({}, "approved", reviewer=reviewer.user)

    assert datasets.freeze(contributed, actor=operator.user).task_count == 1


@pytest.mark.parametrize("person", ["operator", "stranger"])
def test_nobody_else_freezes_a_private_dataset(dataset: Dataset, person: str, request: Any):
    with pytest.raises(Forbidden):
        datasets.freeze(dataset, actor=request.getfixturevalue(person).user)


def test_counts_are_by_state_and_split(dataset: Dataset):
    proved(dataset, [*sums(30), {"prompt": "1 + 1?", "reference": 2, "gold": "3"}])

    counts = datasets.counts(dataset)

    assert (counts["proved"], counts["rejected"]) == (30, 1)
    assert sum(counts.get(split, 0) for split in ("train", "validation", "sealed")) == 30


def test_freezing_is_one_event(dataset: Dataset, contributor: Person):
    proved(dataset, sums(1))
    reviews.bulk({}, "approved", reviewer=contributor.user)

    version = datasets.freeze(dataset, actor=contributor.user)

    assert Event.objects.get(kind="datasetversion.frozen").data["digest"] == version.digest


def test_approved_is_a_question_about_now(dataset: Dataset, contributor: Person):
    proved(dataset, sums(2))
    review = reviews.approve(tasks(dataset)[0], reviewer=contributor.user)
    assert datasets.approved(dataset).count() == 1

    reviews.undo(review, actor=contributor.user)

    assert list(datasets.approved(dataset)) == list(Task.objects.none())


def test_a_default_grader_that_this_machine_cannot_run_is_refused(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tasks.graders.choice.unavailable", lambda config: "There is no choice here.", raising=False)

    with pytest.raises(Invalid) as refused:
        datasets.set_default_grader(dataset, {"type": "choice", "choices": ["yes", "no"]}, actor=None)

    assert (refused.value.code, refused.value.sentence) == ("grader_unavailable", "There is no choice here.")


def test_a_default_grader_is_tried_before_rows_depend_on_it(contributor: Person):
    broken = {"type": "python", "source": "def grade(sample, item) return 1"}

    with pytest.raises(Invalid) as refused:
        datasets.create(contributor.team, "Broken", actor=contributor.user, default_grader=broken)

    assert refused.value.code == "bad_grader"
    assert not Dataset.objects.filter(name="Broken").exists()
