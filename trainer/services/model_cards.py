"""Gathering what the card of a version says, and the export that carries it.

A card holds the same for whoever reads it, since it leaves with the weights: datasets are named where they are of the
line's own team, other teams' are told by team, count, licence and digest (as the shared line's mixtures are, to
everybody), and a version of another team's line in the lineage keeps its name to itself.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from django.db.models import QuerySet

from tasks.errors import FlywheelError, NotFound
from tasks.formats import bundle
from tasks.models import DatasetVersion, Team
from trainer import model_card
from trainer.contract import Artifact, Estimate
from trainer.evaluation.decision import GateDecision
from trainer.model_card import Ancestor, Credit, Facts, Source, Training, Verdict
from trainer.models import BaseBuild, GateReport, ModelVersion, TrainingRun
from trainer.services import artifacts, training_data
from trainer.states import LinePurpose

CARD = "README.md"
MOST_LISTED = 200  # sources, and lines of credit: the newest
MOST_VERDICTS = 5
MOST_DOMAINS = 20


def card(version: ModelVersion) -> str:
    return model_card.write(facts(version))


def exported(version: ModelVersion) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Names and contents of the export: card, weights, tokenizer, chat template, manifest. Raises at the first call."""
    manifest = artifacts.manifest_of(version.digest, version.name)
    text = card(version).encode()
    return _files(version, text, manifest.files, msgspec.json.encode(manifest))


def archived(version: ModelVersion) -> Iterator[bytes]:
    """The export as a zip under a folder of its own. A file that turns out damaged breaks the zip off."""
    folder, files = folder_of(version), exported(version)
    return bundle.write((f"{folder}/{name}", pieces) for name, pieces in files)


def folder_of(version: ModelVersion) -> str:
    return version.name.replace("/", "-")


def export(version: ModelVersion, target: Path) -> None:
    """Write the export as a directory, each hash verified on its way; a damaged artifact leaves nothing there."""
    artifacts.export(target, exported(version))


def named(name: str) -> ModelVersion:
    """A version by line/vN, whoever owns it: for the shell."""
    slug, _, number = name.rpartition("/v")
    found = _versions().filter(line__slug=slug, number=int(number)) if number.isdecimal() else _versions().none()
    version = found.first()
    if version is None:
        raise NotFound("not_found", f"There is no version {name}: name it as line/vN, as its page shows it.")
    return version


def lineage(version: ModelVersion) -> list[ModelVersion]:
    """The version and what it came from, oldest first."""
    found = [version]
    while (parent_id := found[-1].parent_id) is not None:
        found.append(_versions().get(pk=parent_id))
    return found[::-1]


def may_be_named(ancestor: ModelVersion, version: ModelVersion) -> bool:
    """A private line's slug is often the name of a dataset: it does not leave its team with the weights."""
    shared = ancestor.line.purpose == LinePurpose.SHARED
    return shared or ancestor.line.team_id == version.line.team_id


def facts(version: ModelVersion) -> Facts:
    family = lineage(version)
    ours = [each for each in family if may_be_named(each, version)]
    sources = _sources(ours, version)
    build = _build(family[0])
    return Facts(
        name=version.name,
        line=version.line.name,
        digest=version.digest,
        date=version.created_at.date().isoformat(),
        parameters=version.parameters,
        bytes=version.bytes,
        shared=version.line.purpose == LinePurpose.SHARED,
        lineage=[_ancestor(each, version) for each in family[:-1]],
        made=_made(version, version),
        hub_base=build.location if build and build.source == BaseBuild.Source.HUB else "",
        built_here=bool(build and build.source == BaseBuild.Source.LOCAL),
        training=_training(version.run) if version.run else None,
        sources=sources[:MOST_LISTED],
        sources_left_out=len(sources[MOST_LISTED:]),
        credits=_credits(ours)[:MOST_LISTED],
        kl=msgspec.convert(version.kl, Estimate) if version.kl else None,
        verdicts=[_verdict(report) for report in _reports(version)[:MOST_VERDICTS]],
        not_evaluated=version.not_evaluated,
        environment=version.environment,
        files=_manifest_files(version),
    )


def _versions() -> QuerySet[ModelVersion]:
    return ModelVersion.objects.select_related(
        "line__team", "line__base_build", "run__mixture__recipe", "run__dataset_version__dataset__team", "parent__line"
    )


def _files(
    version: ModelVersion, text: bytes, files: list[Artifact], manifest: bytes
) -> Iterator[tuple[str, Iterable[bytes]]]:
    yield CARD, [text]  # in the place of one that a base may have brought
    for file in files:
        if file.path != CARD:
            yield file.path, artifacts.contents(version.digest, file)
    yield artifacts.MANIFEST, [manifest]


def _ancestor(ancestor: ModelVersion, version: ModelVersion) -> Ancestor:
    if not may_be_named(ancestor, version):
        return Ancestor("", ancestor.digest, "what it was trained on stays with its team")
    return Ancestor(ancestor.name, ancestor.digest, _made(ancestor, version))


def _build(base: ModelVersion) -> BaseBuild | None:
    return getattr(base.line, "base_build", None) if base.number == 0 and base.run_id is None else None


def _made(ancestor: ModelVersion, version: ModelVersion) -> str:
    """A sentence without places of this machine."""
    if ancestor.run is not None:
        steps = f"run {ancestor.run.pk}, {ancestor.run.step:,} steps"
        mixture = ancestor.run.mixture
        return f"{steps} on a mixture of {mixture.size:,} tasks" if mixture else f"{steps} on one dataset version"
    if ancestor.parent is not None:
        known = may_be_named(ancestor.parent, version)
        return f"starts as {ancestor.parent.name if known else 'a version of another team'}, unchanged"
    build = _build(ancestor)
    if build is None:
        return "registered without a build or a run"
    if build.source == BaseBuild.Source.LOCAL:
        steps = f"{build.steps:,} steps" if build.steps else "the usual number of steps"
        return f"built here from demonstrations, seed {build.seed}, {steps}"
    if build.source == BaseBuild.Source.HUB:
        return f"fetched from the hub: {model_card.said(build.location)} at {model_card.said(build.revision)}"
    return "taken in from a directory"


def _training(run: TrainingRun) -> Training:
    ended = run.finished_at and run.started_at
    return Training(
        run=run.pk,
        spec=run.spec,
        steps=run.step,
        tokens=run.tokens,
        rows=run.mixture.size if run.mixture else training_data.trained_on(run).count(),
        seconds=(run.finished_at - run.started_at).total_seconds() if ended else 0.0,  # type: ignore[operator]
        grader=str(run.grader.get("type", "")) if run.grader else "",
        mixture=run.mixture.digest if run.mixture else "",
        recipe=run.mixture.recipe.name if run.mixture else "",
        domains=_domains(run),
    )


def _domains(run: TrainingRun) -> list[str]:
    if run.mixture is not None:
        return sorted(run.mixture.by_domain)[:MOST_DOMAINS]
    found = training_data.trained_on(run).exclude(domain="").order_by("domain")
    return list(found.values_list("domain", flat=True).distinct()[:MOST_DOMAINS])


def _sources(ours: list[ModelVersion], version: ModelVersion) -> list[Source]:
    """Each dataset version once, with the versions that it trained; those of the newest first."""
    trained: dict[int, list[str]] = {}
    rows: dict[int, DatasetVersion] = {}
    for ancestor in reversed(ours):
        for row in _behind(ancestor.run):
            rows.setdefault(row.pk, row)
            trained.setdefault(row.pk, []).append(ancestor.name)
    return [_source(row, trained[pk], version) for pk, row in rows.items()]


def _behind(run: TrainingRun | None) -> Any:
    if run is None:
        return []
    if run.mixture is not None:
        return run.mixture.dataset_versions.select_related("dataset__team").order_by("dataset__team__slug", "pk")
    return [run.dataset_version]


def _source(row: DatasetVersion, trained: list[str], version: ModelVersion) -> Source:
    own = row.dataset.team_id == version.line.team_id
    return Source(
        team=row.dataset.team.name,
        digest=row.digest,
        tasks=row.task_count,
        licence=row.dataset.licence,
        dataset=str(row.dataset) if own else "",
        version=row.number if own else None,
        trained=_span(trained),
    )


def _span(names: list[str]) -> list[str]:
    """Newest first; many in a row by their ends."""
    return names if len(names) <= 3 else [f"{names[-1]} to {names[0]}"]


def _credits(ours: list[ModelVersion]) -> list[Credit]:
    """As the mixtures counted it; a run on one dataset is all of its team."""
    found = []
    for ancestor in reversed(ours):
        run = ancestor.run
        if run is not None and run.mixture is not None:
            given = run.mixture.by_contributor
            names = dict(Team.objects.filter(slug__in=given).values_list("slug", "name"))
            found += [
                Credit(ancestor.name, names.get(slug, slug), count["used"], count["share"])
                for slug, count in sorted(given.items(), key=lambda item: (-item[1]["used"], item[0]))
                if count["used"]
            ]
        elif run is not None and run.dataset is not None:
            found.append(Credit(ancestor.name, run.dataset.team.name, training_data.trained_on(run).count(), 1.0))
    return found


def _reports(version: ModelVersion) -> QuerySet[GateReport]:
    return GateReport.objects.filter(evaluation__candidate=version).select_related("evaluation__champion__line")


def _verdict(report: GateReport) -> Verdict:
    return Verdict(
        verdict=report.verdict,
        sentence=report.sentence,
        champion=report.evaluation.champion.name,
        date=report.created_at.date().isoformat(),
        decision=msgspec.convert(report.decision, GateDecision) if report.decision else None,
    )


def _manifest_files(version: ModelVersion) -> list[Artifact]:
    """None where the files are elsewhere or damaged: the card can be read without them, the export refuses."""
    try:
        return artifacts.manifest_of(version.digest, version.name).files
    except FlywheelError:
        return []
