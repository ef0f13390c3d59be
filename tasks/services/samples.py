"""Samples: wrong answers are collected with the right one, with a licence and consent, and sent back as an upload.

Sent, they are rows like any: validated, compared with what is there and with what is held out, proved and reviewed.
What they said is then the upload's, and is no longer kept here. Teams send one at a time, so that a sample that two
people send at once is in one upload.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from tasks.errors import Busy, Conflict, Invalid, NotFound
from tasks.formats import native, sent_back
from tasks.graders import judges
from tasks.models import Dataset, Sample, Team, Upload, User
from tasks.models.events import Subject, record
from tasks.models.moves import ids_digest
from tasks.preparation import ANYBODY
from tasks.services import datasets, licences, uploads
from tasks.services.access import require_role
from tasks.states import Role, Visibility
from tasks.types import Message, Row
from tasks.validation import validate

MOST_AT_ONCE = 500  # samples of one call
MOST_WAITING = 10_000  # of a team, collected and not sent
LONGEST_ANSWER = 20_000  # characters
LONGEST_FEEDBACK = 1000


@dataclass(frozen=True, slots=True)
class Told:
    """A wrong answer, as somebody tells of it."""

    row: Mapping[str, Any]  # prompt or messages, and what is right: reference, gold, item, grader; domain
    asked_as: str  # the model's name
    version: str  # the version that it stands for
    answer: str
    score: float | None = None
    feedback: str = ""
    place: str = field(default="", compare=False)  # in the request, for sentences: "samples.3"


@transaction.atomic
def collect(team: Team, told: Sequence[Told], *, actor: User, source: str, licence: str, consent: bool) -> list[Sample]:
    """Keep them until they are sent. One that cannot be right, or no consent, and none is kept."""
    require_role(actor, team, Role.CONTRIBUTOR)
    licence = licences.check(licence, licences.CONSENT_VERSION if consent else "")
    if not 1 <= len(told) <= MOST_AT_ONCE:
        raise Invalid("too_many_samples", f"Send 1 to {MOST_AT_ONCE} samples at a time.", "samples")
    given = {"team": team, "collected_by": actor, "source": source, "licence": licence}
    fresh = [Sample(**given, **_facts(one), consent_version=licences.CONSENT_VERSION) for one in told]
    _one_at_a_time(team)
    _require_room(team, len(fresh))
    kept = Sample.objects.bulk_create(fresh)
    data = {"source": source, "licence": licence, "consent_version": licences.CONSENT_VERSION}
    _tell("sample.collected", team, kept, actor, data)
    return kept


def _require_room(team: Team, more: int) -> None:
    if Sample.objects.filter(team=team).waiting().count() + more > MOST_WAITING:
        raise Busy(
            "basket_full", f"{MOST_WAITING:,} samples of {team.name} wait: send them as an upload, or remove some."
        )


def _facts(told: Told) -> dict[str, Any]:
    answer = told.answer.replace("\x00", "\ufffd")  # small models say it, and no text may hold it
    for name, text, most in (("answer", answer, LONGEST_ANSWER), ("feedback", told.feedback, LONGEST_FEEDBACK)):
        if len(text) > most:
            raise Invalid("too_long", f"The {name} is longer than {most:,} characters: shorten it.", _at(told, name))
    row = _checked(told, answer)
    return {
        "row": {
            "messages": [{"role": message.role, "content": message.content} for message in row.messages],
            "item": dict(row.item),
            "gold": row.gold,
            "grader": row.grader,
            "domain": row.domain,
        },
        "asked_as": told.asked_as[:160],
        "version": told.version,
        "answer": answer,
        "score": told.score,
        "feedback": told.feedback,
    }


def _checked(told: Told, answer: str) -> Row:
    """The row, as the import will read it. What it would reject is said now, while the answer is at hand."""
    row = sent_back.with_grader(told.row)
    if row.get("grader") is None:
        words = "Give the right answer as `reference`, or a grader that can tell one."
        raise Invalid("right_answer_missing", words, _at(told, "reference"))
    with judges.using(ANYBODY):
        read = validate({**row, "metadata": {"answered": answer, "feedback": told.feedback}}, line=1)
    if isinstance(read, Row):
        return read
    raise Invalid(read[0].code, f"{read[0].sentence} {read[0].remedy}", _at(told, read[0].field))


def _at(told: Told, field: str) -> str:
    return f"{told.place}.{field}" if told.place else field


@transaction.atomic
def remove(team: Team, chosen: Collection[int], *, actor: User) -> int:
    """Out of the basket, as if they had never been in it; returns how many."""
    require_role(actor, team, Role.CONTRIBUTOR)
    _one_at_a_time(team)
    gone = [sample for sample in _picked(team, chosen, actor) if sample.upload_id is None]
    if not gone:
        raise Conflict("sent_already", "That was sent already: withdraw the task that it has become instead.")
    Sample.objects.filter(pk__in=[sample.pk for sample in gone]).delete()
    _tell("sample.removed", team, gone, actor, {})
    return len(gone)


@transaction.atomic
def send(
    team: Team, *, actor: User, chosen: Collection[int] | None = None, dataset: Dataset | None = None
) -> tuple[Upload, bool]:
    """An upload of the samples chosen, or of all that wait, into the dataset, or into the team's own for what is sent
    back. Those that were sent before answer with their upload, and False: nothing goes twice."""
    require_role(actor, team, Role.CONTRIBUTOR)
    _one_at_a_time(team)
    picked = _picked(team, chosen, actor)
    waiting = [sample for sample in picked if sample.upload_id is None]
    if not waiting:
        return _sent_before(picked), False
    licence = _licence(waiting)
    dataset = dataset or _own_dataset(team, licence, actor)
    _require_fits(dataset, team, licence)
    name = f"samples-{waiting[0].pk}-{waiting[-1].pk}.jsonl"
    upload, _ = uploads.receive(dataset, _lines(waiting), filename=name, actor=actor)
    _let_go(waiting, upload)
    _tell("sample.sent", team, waiting, actor, {"upload": upload.pk, "dataset": dataset.pk, "licence": licence})
    return upload, True


def _picked(team: Team, chosen: Collection[int] | None, actor: User) -> list[Sample]:
    mine = Sample.objects.for_user(actor, team).order_by("pk")
    if chosen is None:
        return list(mine.waiting())
    found = list(mine.filter(pk__in=chosen))
    if len(found) != len(set(chosen)):
        raise NotFound("not_found", "One of these samples is not there, or is in another basket.", "samples")
    return found


def _sent_before(samples: Sequence[Sample]) -> Upload:
    sent = sorted({sample.upload_id for sample in samples if sample.upload_id is not None})
    if not sent:
        raise Invalid("nothing_collected", "Nothing waits to be sent: mark an answer wrong first.", "samples")
    if len(sent) > 1:
        words = " and ".join(map(str, sent))
        raise Conflict("sent_already", f"These were sent already, with the uploads {words}.")
    return Upload.objects.get(pk=sent[0])


def _licence(samples: Sequence[Sample]) -> str:
    """The one of all of them: a dataset has one licence. What was consented to must be the text as it is now."""
    counts = Counter(sample.licence for sample in samples)
    if len(counts) > 1:
        told = ", ".join(f"{count} under {licence}" for licence, count in sorted(counts.items()))
        raise Invalid("several_licences", f"Send samples of one licence at a time: there are {told}.", "samples")
    for sample in samples:
        licences.check(sample.licence, sample.consent_version)
    return samples[0].licence


def _own_dataset(team: Team, licence: str, actor: User) -> Dataset:
    slug = slugify(f"sent-back-{licence}")
    found = Dataset.objects.filter(team=team, slug=slug, visibility=Visibility.CONTRIBUTED).first()
    return found or datasets.create(
        team,
        f"Sent back ({licence})",
        actor=actor,
        slug=slug,
        visibility=Visibility.CONTRIBUTED,
        licence=licence,
        consent_version=licences.CONSENT_VERSION,
        description="Wrong answers of models with the right ones, marked on the playground or sent by programs.",
    )


def _require_fits(dataset: Dataset, team: Team, licence: str) -> None:
    if dataset.team_id != team.pk:
        raise Invalid(
            "other_team", f"The dataset belongs to another team than {team.name}: choose one of it.", "dataset"
        )
    if dataset.visibility == Visibility.CONTRIBUTED and dataset.licence != licence:
        words = f"These samples were given under {licence}, and {dataset} is under {dataset.licence}: choose another."
        raise Invalid("other_licence", words, "dataset")


def _lines(samples: Sequence[Sample]) -> Iterator[bytes]:
    for sample in samples:
        row = {**(sample.row or {})}
        messages = tuple(Message(**message) for message in row["messages"])
        metadata = sent_back.metadata(
            source=sample.source,
            version=sample.version,
            asked_as=sample.asked_as,
            answer=sample.answer,
            licence=sample.licence,
            score=sample.score,
            feedback=sample.feedback,
        )
        yield native.write(messages, row["item"], row["gold"], row["grader"], row["domain"], metadata) + b"\n"


def _let_go(samples: Sequence[Sample], upload: Upload) -> None:
    now = timezone.now()
    for line, sample in enumerate(samples, start=1):
        sample.upload, sample.line, sample.sent_at = upload, line, now
        sample.row, sample.answer, sample.feedback = None, "", ""
    fields = ["upload", "line", "sent_at", "row", "answer", "feedback"]
    Sample.objects.bulk_update(samples, fields, batch_size=500)


def _one_at_a_time(team: Team) -> None:
    """Who comes second waits here, and then sees what the first has sent. Rows that name the team are written on."""
    Team.objects.select_for_update(no_key=True).get(pk=team.pk)


def _tell(kind: str, team: Team, samples: Sequence[Sample], actor: User, data: Mapping[str, Any]) -> None:
    told = {"count": len(samples), "ids_digest": ids_digest([sample.pk for sample in samples]), **data}
    record(kind, subject=Subject("sample", "*"), team=team.pk, actor=actor, data=told)
