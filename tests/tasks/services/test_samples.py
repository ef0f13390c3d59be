"""Samples: kept with consent or not at all, sent once, and rows like any afterwards."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from tasks.errors import Busy, Conflict, Forbidden, Invalid, NotFound
from tasks.models import Dataset, Event, Sample, Task, Upload
from tasks.services import accounts, heldout, importing, proving, samples
from tasks.services.licences import CONSENT_VERSION
from tasks.services.samples import Told
from tasks.states import Role
from tasks.types import Message
from tests import cast
from tests.cast import Person

pytestmark = pytest.mark.django_db


def told(prompt: str = "Compute 47 + 38.", reference: Any = 85, answer: str = "75", **row: Any) -> Told:
    return Told({"prompt": prompt, "reference": reference, **row}, "champion", "shared/v3", answer)


def collected(person: Person, *many: Told, source: str = "program", **other: Any) -> list[Sample]:
    rights: dict[str, Any] = {"licence": "CC-BY-4.0", "consent": True, **other}
    return samples.collect(person.team, many or [told()], actor=person.user, source=source, **rights)


def imported(upload: Upload) -> Upload:
    importing.import_upload(upload.pk)
    proving.prove_upload(upload.pk)
    upload.refresh_from_db()
    return upload


# Collecting


def test_a_sample_is_kept_with_its_licence_and_the_text_that_was_agreed_to(contributor: Person):
    collected(contributor, licence="cc-by-4.0")

    kept = Sample.objects.get()

    assert (kept.licence, kept.consent_version, kept.upload) == ("CC-BY-4.0", CONSENT_VERSION, None)
    assert (kept.prompt, kept.grader, kept.answer, kept.version) == ("Compute 47 + 38.", "number", "75", "shared/v3")


@pytest.mark.parametrize(
    ("rights", "code"),
    [
        ({"consent": False}, "consent_missing"),
        ({"licence": ""}, "unknown_licence"),
        ({"licence": "X"}, "unknown_licence"),
    ],
)
def test_without_consent_or_licence_nothing_is_written(contributor: Person, rights: dict[str, Any], code: str):
    with pytest.raises(Invalid) as refused:
        collected(contributor, **rights)

    assert refused.value.code == code
    assert not Sample.objects.exists()
    assert not Event.objects.filter(kind__startswith="sample.").exists()


def test_one_that_cannot_be_right_and_none_of_the_call_is_kept(contributor: Person):
    bad = Told(
        {"prompt": "?", "reference": "x", "grader": {"type": "numbr"}}, "champion", "shared/v3", "", place="samples.1"
    )

    with pytest.raises(Invalid) as refused:
        collected(contributor, told(), bad)

    assert (refused.value.code, refused.value.param) == ("unknown_grader", "samples.1.grader.type")
    assert not Sample.objects.exists()


def test_a_right_answer_or_a_grader_has_to_be_given(contributor: Person):
    with pytest.raises(Invalid) as refused:
        collected(contributor, Told({"prompt": "?"}, "champion", "shared/v3", "no"))

    assert refused.value.code == "right_answer_missing"


def test_an_answer_with_a_nul_is_kept_readable(contributor: Person):
    (kept,) = collected(contributor, told(answer="7\x005"))

    assert kept.answer == "7\ufffd5"


def test_an_answer_that_is_too_long_is_refused(contributor: Person):
    with pytest.raises(Invalid, match="longer than 20,000"):
        collected(contributor, told(answer="x" * 20_001))


def test_a_full_basket_takes_no_more(contributor: Person, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samples, "MOST_WAITING", 2)
    collected(contributor, told(), told())

    with pytest.raises(Busy):
        collected(contributor)


def test_a_stranger_collects_nothing_for_the_team(contributor: Person, stranger: Person):
    with pytest.raises(Forbidden):
        samples.collect(contributor.team, [told()], actor=stranger.user, source="program", licence="MIT", consent=True)


# Whose they are


@pytest.fixture
def colleague(contributor: Person) -> Person:
    person = cast.of_own_team("cleo")
    accounts.join(contributor.team, person.user, Role.CONTRIBUTOR, actor=contributor.user)
    return Person(person.user, contributor.team, person.secret)


def test_a_persons_basket_is_theirs_alone_and_a_programs_is_the_teams(contributor: Person, colleague: Person):
    (own,) = collected(contributor, source="playground")
    (shared,) = collected(contributor, source="program")

    assert set(Sample.objects.for_user(contributor.user)) == {own, shared}
    assert set(Sample.objects.for_user(colleague.user)) == {shared}


def test_nobody_sends_or_removes_what_is_in_anothers_basket(contributor: Person, colleague: Person):
    (own,) = collected(contributor, source="playground")

    for verb in (samples.remove, lambda team, pks, actor: samples.send(team, chosen=pks, actor=actor)):
        with pytest.raises(NotFound):
            verb(contributor.team, [own.pk], actor=colleague.user)

    assert Sample.objects.waiting().count() == 1


def test_a_sample_that_is_removed_leaves_nothing_but_an_event(contributor: Person):
    (kept,) = collected(contributor)

    samples.remove(contributor.team, [kept.pk], actor=contributor.user)

    assert not Sample.objects.exists()
    assert Event.objects.get(kind="sample.removed").data["count"] == 1


# Sending


def test_sent_they_are_rows_with_their_provenance(contributor: Person):
    collected(contributor, told(), told("Compute 1 + 1.", 2, "3"))

    upload = imported(samples.send(contributor.team, actor=contributor.user)[0])

    tasks = list(Task.objects.order_by("pk"))
    assert (upload.counts["valid"], [task.state for task in tasks]) == (2, ["proved", "proved"])
    assert tasks[0].metadata == {
        "source": "program", "model_version": "shared/v3", "answered": "75", "licence": "CC-BY-4.0",
        "asked_as": "champion",
    }  # fmt: skip


def test_the_teams_own_dataset_is_contributed_under_their_licence(contributor: Person):
    collected(contributor)

    first, _ = samples.send(contributor.team, actor=contributor.user)
    collected(contributor)
    second, _ = samples.send(contributor.team, actor=contributor.user)

    dataset = first.dataset
    assert (dataset.visibility, dataset.licence, dataset.consent_version) == (
        "contributed",
        "CC-BY-4.0",
        CONSENT_VERSION,
    )
    assert second.dataset == dataset


def test_what_was_sent_is_no_longer_kept_here(contributor: Person):
    (kept,) = collected(contributor)

    upload, created = samples.send(contributor.team, actor=contributor.user)

    kept.refresh_from_db()
    assert (created, kept.row, kept.answer, kept.upload, kept.line) == (True, None, "", upload, 1)


def test_sent_twice_they_are_in_one_upload(contributor: Person):
    pks = [sample.pk for sample in collected(contributor, told(), told("Compute 1 + 1.", 2))]
    first, _ = samples.send(contributor.team, actor=contributor.user, chosen=pks)

    again, created = samples.send(contributor.team, actor=contributor.user, chosen=pks)

    assert (again.pk, created, Upload.objects.count()) == (first.pk, False, 1)


def test_what_was_sent_is_not_removed(contributor: Person):
    (kept,) = collected(contributor)
    samples.send(contributor.team, actor=contributor.user)

    with pytest.raises(Conflict):
        samples.remove(contributor.team, [kept.pk], actor=contributor.user)


def test_an_empty_basket_sends_nothing(contributor: Person):
    with pytest.raises(Invalid) as refused:
        samples.send(contributor.team, actor=contributor.user)

    assert refused.value.code == "nothing_collected"


def test_an_upload_holds_one_licence(contributor: Person):
    collected(contributor)
    collected(contributor, licence="MIT")

    with pytest.raises(Invalid, match=r"1 under CC-BY-4\.0, 1 under MIT"):
        samples.send(contributor.team, actor=contributor.user)


def test_a_dataset_under_another_licence_takes_none(contributor: Person, contributed: Dataset):
    collected(contributor, licence="MIT" if contributed.licence != "MIT" else "Apache-2.0")

    with pytest.raises(Invalid) as refused:
        samples.send(contributor.team, actor=contributor.user, dataset=contributed)

    assert refused.value.code == "other_licence"
    assert Sample.objects.waiting().count() == 1


def test_a_private_dataset_of_the_team_takes_them(contributor: Person, dataset: Dataset):
    collected(contributor)

    upload, _ = samples.send(contributor.team, actor=contributor.user, dataset=dataset)

    assert imported(upload).counts["valid"] == 1


def test_a_dataset_of_another_team_takes_none(contributor: Person, stranger: Person, dataset: Dataset):
    collected(stranger)

    with pytest.raises(Invalid) as refused:
        samples.send(stranger.team, actor=stranger.user, dataset=dataset)

    assert refused.value.code == "other_team"


def test_consent_to_an_older_text_has_to_be_given_again(contributor: Person):
    collected(contributor)
    Sample.objects.update(consent_version="2020-1")

    with pytest.raises(Invalid) as refused:
        samples.send(contributor.team, actor=contributor.user)

    assert refused.value.code == "consent_missing"


def test_a_question_that_repeats_a_held_out_item_comes_back_as_a_rejected_row(contributor: Person):
    heldout.register(accounts.pool(), "d1", "outside suite", [[Message("user", "Compute 47 + 38.")]])
    collected(contributor, told(), told("Compute 1 + 1.", 2))

    upload = imported(samples.send(contributor.team, actor=contributor.user)[0])

    issue = upload.issues.get()
    assert (issue.line, issue.code, upload.counts["valid"]) == (1, "contaminated", 1)
    assert issue.sentence == "The prompt belongs to a held-out suite, on which models are measured."


@pytest.mark.django_db(transaction=True)
def test_two_people_who_send_at_once_make_one_upload(contributor: Person):
    pks = [sample.pk for sample in collected(contributor, told(), told("Compute 1 + 1.", 2))]

    def send(_: int) -> tuple[int, bool]:
        try:
            upload, created = samples.send(contributor.team, actor=contributor.user, chosen=pks)
            return upload.pk, created
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(send, range(4)))

    assert (len({pk for pk, _ in sent}), sum(created for _, created in sent)) == (1, 1)
    assert Upload.objects.count() == 1
