"""`python -m tests.journeys.ledger REPORT LEDGER SEED SHARE`, inside of a stack: gives the tour, then writes down what
the rows say afterwards. Two turns of one seed have equal "facts", whatever was killed; "faults" is empty.

Ids, times and attempts are no facts: they differ where work was done again. A row that two files hold counts for the
file that came first, so facts are sums over the files.
"""

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flywheel.settings")

SALT = "0" * 32  # of the split: drawn at random elsewhere, so no two platforms would seal the same prompts
SETTLE_SECONDS = 30
# Told once an attempt, or once a person's key; the rest of the events are told once.
_OF_ATTEMPTS = (".importing", ".proving", ".running", ".queued", "upload.chunk", "key.", "task.")


def main(report: str, ledger: str, seed: str, share: str) -> None:
    import django
    from django.core.management import call_command

    django.setup()
    from tasks.models import Team, events

    Team.objects.filter(is_system=True).update(split_salt=SALT)
    call_command("tour", report=Path(report), seed=int(seed), share=float(share))
    deadline = time.monotonic() + SETTLE_SECONDS
    events.seal()
    while (found := faults()) and time.monotonic() < deadline:  # sealing and reaping come round every few seconds
        time.sleep(0.5)
    rows = json.loads(Path(report).read_text())["turns"][0]["rows"]
    content = {"facts": facts(rows), "attempts": attempts(), "faults": found}
    Path(ledger).write_text(json.dumps(content, indent=1, sort_keys=True))


def facts(rows: dict[str, Any]) -> dict[str, Any]:
    from tasks.models import DatasetTask, DatasetVersion, Event, ProofRun, Review, Upload
    from trainer.models import (
        AliasMove,
        BaseBuild,
        Evaluation,
        GateReport,
        Mixture,
        ModelVersion,
        Recipe,
        Schedule,
        SuiteVersion,
        TrainingRun,
    )

    told = Counter(kind for kind in Event.objects.values_list("kind", flat=True) if not _is_of_attempts(kind))
    moved: Counter[str] = Counter()
    for kind, data in Event.objects.filter(kind__in=["task.approved", "task.rejected"]).values_list("kind", "data"):
        moved[kind] += data.get("count", 1)
    return {
        # "proved" counts a task that another file's answer sent to review afterwards: by_state says where it ended.
        "rows": {name: count for name, count in rows.items() if name != "proved"},
        "memberships": DatasetTask.objects.count(),
        "duplicates": DatasetTask.objects.filter(duplicate=True).count(),
        "uploads": sorted(Upload.objects.values_list("filename", "state", "line")),
        "proofs": sorted(ProofRun.objects.values_list("upload__filename", "state")),
        "reviews": dict(Counter(Review.objects.values_list("decision", flat=True))),
        "versions": sorted(DatasetVersion.objects.values_list("dataset__slug", "number", "digest")),
        "mixtures": sorted(Mixture.objects.values_list("digest", "size")),
        "suites": sorted(SuiteVersion.objects.values_list("name", "number", "item_count", "looks")),
        "work": [sorted(kind.objects.values_list("state", flat=True)) for kind in (BaseBuild, TrainingRun, Evaluation)],
        "reports": list(GateReport.objects.values_list("verdict", flat=True)),
        "models": sorted(ModelVersion.objects.values_list("line__slug", "number")),
        "moves": sorted(AliasMove.objects.values_list("name", "old__number", "new__number"), key=str),
        "made": [Recipe.objects.count(), Schedule.objects.count()],
        "events": dict(told),
        "moved": dict(moved),
    }


def attempts() -> dict[str, Any]:
    from tasks.models import ProofRun, Upload
    from trainer.models import BaseBuild, Evaluation, TrainingRun

    kinds = {"upload": Upload, "proof": ProofRun, "base": BaseBuild, "run": TrainingRun, "evaluation": Evaluation}
    return {name: max(kind.objects.values_list("attempt", flat=True), default=0) for name, kind in kinds.items()}


def faults() -> list[str]:
    """What must not be after a turn, each in a few words."""
    return [*_chain(), *_left_over_files(), *_engines(), *_double_counts(), *_untold_attempts()]


def _is_of_attempts(kind: str) -> bool:
    return any(part in kind for part in _OF_ATTEMPTS)


def _chain() -> list[str]:
    from tasks.models import Event, events

    _, broken = events.verify()
    unsealed = Event.objects.filter(seal__isnull=True).count()
    return [f"the chain breaks at event {broken}"] * (broken is not None) + [f"{unsealed} unsealed"] * bool(unsealed)


def _left_over_files() -> list[str]:
    from django.conf import settings

    from tasks.models import File, Upload
    from tasks.services.uploads import stored_file
    from trainer.models import ModelVersion

    files, models = Path(settings.MEDIA_ROOT), Path(settings.DATA_DIR) / "models"
    kept = {stored_file(upload) for upload in Upload.objects.all()}
    kept |= {files / file.storage_key for file in File.objects.live()}  # results of runs, which are no uploads
    there = {path for path in files.rglob("*") if path.is_file()}
    named = set(ModelVersion.objects.values_list("digest", flat=True))
    published = {path.name for path in models.iterdir()}
    return [
        *(f"left over: {path}" for path in there - kept),
        *(f"missing: {path}" for path in kept - there),
        *(f"left over: models/{name}" for name in published - named),
        *(f"missing: models/{name}" for name in named - published),
    ]


def _engines() -> list[str]:
    from django.conf import settings

    from flywheel.embedded.memory import engines

    return [f"engine {process.pid} still runs" for process in engines(settings.DATA_DIR)]


def _double_counts() -> list[str]:
    """The chunks' events add up to the uploads' counts and rows; nobody was reviewed twice."""
    from django.db.models import Count

    from tasks.models import Event, Review, Upload

    found = []
    for upload in Upload.objects.all():
        told = Event.objects.filter(kind="upload.chunk", subject_id=str(upload.pk)).values_list("data", flat=True)
        good = upload.counts["rows"] - sum(upload.counts["rejected"].values())
        if sum(data["rows"] for data in told) != upload.counts["rows"] or upload.memberships.count() != good:
            found.append(f"rows of {upload.filename} do not add up")
    doubled = Review.objects.values("task").annotate(n=Count("pk")).filter(n__gt=1).count()
    return [*found, *[f"{doubled} tasks reviewed twice"] * bool(doubled)]


def _untold_attempts() -> list[str]:
    from tasks.models import Event
    from trainer.models import BaseBuild, Evaluation, TrainingRun

    return [
        f"{work} has {work.attempt} attempts and {told} events of them"
        for kind in (BaseBuild, TrainingRun, Evaluation)
        for work in kind.objects.all()
        if (told := Event.objects.filter(kind=f"{kind._meta.model_name}.running", subject_id=str(work.pk)).count())
        != work.attempt
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
