"""Making lines."""

from typing import Any

from django.db import transaction
from django.utils.text import slugify

from tasks.errors import Conflict, Invalid
from tasks.models import Dataset, Team
from tasks.models.events import Subject, record
from tasks.services.access import require_role
from tasks.services.accounts import pool
from tasks.states import Role
from trainer.models import BaseBuild, Line, ModelVersion
from trainer.services import policies, wake
from trainer.services.bases import crown, demonstrations_file
from trainer.states import LinePurpose


@transaction.atomic
def create_shared(
    name: str,
    slug: str,
    *,
    actor: Any,
    source: str = BaseBuild.Source.LOCAL,
    location: str = "",
    revision: str = "",
    seed: int = 0,
    steps: int = 0,
    demonstrations: str = "",
    policy: dict[str, Any] | None = None,
) -> Line:
    """A line of the shared pool. Its version 0 follows from a queued base build.

    `demonstrations` (a file under DATA_DIR) is what a local base is built of; a hub id needs a pinned revision.
    """
    team = pool()
    require_role(actor, team, Role.OPERATOR)
    _check_base(source, location, revision, demonstrations)
    line = _create(team, name, slug, LinePurpose.SHARED, actor)
    policies.change(line, policy or policies.OF_A_NEW_LINE, actor=None)
    BaseBuild.objects.create(
        line=line,
        source=source,
        location=location,
        revision=revision,
        seed=seed,
        steps=steps,
        demonstrations=demonstrations,
    )
    wake.supervisor()
    return line


@transaction.atomic
def create_expert(team: Team, name: str, start: ModelVersion, *, actor: Any, dataset: Dataset | None = None) -> Line:
    """A team's own line. Its version 0 is the version that it starts from, which becomes champion and anchor.

    Slugs are unique among all teams, so one that is taken gets a number: nobody can rename a dataset for it.
    """
    require_role(actor, team, Role.CONTRIBUTOR, Role.OPERATOR)
    slug = slugify(f"{team.slug}-{dataset.slug if dataset else name}")[:60]
    if dataset is not None and Line.objects.filter(slug=slug).exists():
        slug = f"{slug[:45]}-{dataset.pk}"
    line = _create(team, name, slug, LinePurpose.EXPERT, actor, dataset)
    version = ModelVersion.objects.create(
        line=line,
        number=0,
        digest=start.digest,
        parent=start,
        origin=f"starts from {start.name}",
        parameters=start.parameters,
        bytes=start.bytes,
    )
    policies.change(line, policies.OF_A_NEW_LINE, actor=None)
    crown(line, version, f"The expert starts from {start.name}.")
    return line


def _create(team: Team, name: str, slug: str, purpose: LinePurpose, actor: Any, dataset: Dataset | None = None) -> Line:
    if not name.strip() or not slug:
        raise Invalid("name_missing", "Give the line a name with letters or digits.", "name")
    if Line.objects.filter(slug=slug).exists():
        raise Conflict("line_exists", f"There is a line {slug} already: choose another name.", "name")
    line = Line.objects.create(
        team=team,
        name=name.strip(),
        slug=slug,
        purpose=purpose,
        created_by=actor,
        dataset=dataset,
    )
    record("line.created", subject=Subject("line", str(line.pk)), team=team.pk, actor=actor, data={"slug": slug})
    return line


def _check_base(source: str, location: str, revision: str, demonstrations: str) -> None:
    if source not in BaseBuild.Source.values:
        raise Invalid("unknown_source", f"A base is one of {', '.join(BaseBuild.Source.values)}.", "source")
    if source == BaseBuild.Source.LOCAL and not demonstrations_file(demonstrations).is_file():
        sentence = f"There is no {demonstrations} in DATA_DIR/demonstrations: put the file there first."
        raise Invalid("demonstrations_missing", sentence, "demonstrations")
    if source != BaseBuild.Source.LOCAL and not location:
        raise Invalid("location_missing", "Name the directory or the hub id of the base.", "location")
    if source == BaseBuild.Source.HUB and len(revision) != 40:
        raise Invalid("revision_missing", "Pin the hub revision: give its 40-digit commit.", "revision")


def shared_line() -> Line | None:
    """The first shared line: what `champion` means without a line's name."""
    return Line.objects.filter(purpose=LinePurpose.SHARED).order_by("pk").first()
