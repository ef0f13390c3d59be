"""A team offers the rows of a run to everybody: under a licence, with its consent, as a contributed dataset of its own.

The run's own rows stay private. The offered copy goes the way of every contribution: screened, proved, reviewed, and
only then in mixtures of the shared model.
"""

from typing import Any

from django.db import transaction

from tasks.errors import Conflict, Invalid
from tasks.models import Dataset, Upload
from tasks.models.events import Subject, record
from tasks.services import datasets, licences, storage, uploads
from tasks.services.access import require_role
from tasks.services.datasets import CONSENT_VERSION
from tasks.services.uploads import Options
from tasks.states import Role, Visibility
from trainer.models import TrainingRun

__all__ = ["CONSENT_VERSION", "offer", "offered"]

_BLOCK_BYTES = 1 << 20


@transaction.atomic
def offer(run: TrainingRun, *, licence: str, consent_version: str, actor: Any) -> Upload:
    """The upload of the offered copy. The same rows are offered once: again answers with the first."""
    require_role(actor, run.line.team, Role.CONTRIBUTOR)
    if run.training_file is None:
        raise Invalid("nothing_to_offer", "Only a run on a file has rows to offer: this one has none.", "run")
    licence = licences.check(licence, consent_version)
    if run.training_file.dataset.visibility == Visibility.CONTRIBUTED:
        raise Conflict("already_contributed", f"The rows of {run.training_file.filename} are contributed already.")
    source = run.training_file
    dataset = offered(run) or datasets.create(
        run.line.team,
        f"{source.dataset.name[:100]} (contributed)",
        slug=_slug(source),
        actor=actor,
        visibility=Visibility.CONTRIBUTED,
        licence=licence,
        consent_version=consent_version,
        default_grader=run.grader,
    )
    options = Options(mapping=source.mapping)
    upload, is_new = uploads.receive(dataset, _bytes(source), filename=source.filename, actor=actor, options=options)
    if is_new:
        data = {"dataset": dataset.pk, "licence": licence, "consent_version": consent_version}
        subject = Subject("trainingrun", str(run.pk))
        record("trainingrun.offered", subject=subject, team=run.line.team_id, actor=actor, data=data)
    return upload


def offered(run: TrainingRun) -> Dataset | None:
    """The dataset in which the rows of the run's file are offered, if they are."""
    source = run.training_file
    return None if source is None else Dataset.objects.filter(team=source.team, slug=_slug(source)).first()


def _slug(source: Upload) -> str:
    return f"{source.dataset.slug[:60]}-{source.pk}-contributed"


def _bytes(source: Upload) -> Any:
    with storage.kept_file(source).open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block
