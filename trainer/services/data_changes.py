"""What changed in the data from the champion's training to the candidate's: rows added, removed, withdrawn."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tasks.models import Task
from tasks.states import TaskState
from trainer.models import ModelVersion, TrainingRun
from trainer.services import rows, training_data
from trainer.states import LinePurpose


@dataclass(frozen=True, slots=True)
class Share:
    """Of one domain: rows, and their share of all."""

    domain: str
    before: int
    after: int
    before_share: float
    after_share: float


@dataclass(frozen=True, slots=True)
class Changes:
    before: int  # rows that the champion was trained on; 0: it is a base
    after: int
    added: int
    removed: int
    withdrawn: int  # of the removed ones, by their contributors
    domains: tuple[Share, ...]

    @property
    def sentence(self) -> str:
        if not self.before:
            return f"The champion was trained on no rows of this platform, the candidate on {self.after:,}."
        gone = f"{self.removed:,} left out" + (f" ({self.withdrawn:,} of them withdrawn)" if self.withdrawn else "")
        return f"{self.after:,} rows instead of {self.before:,}: {self.added:,} added, {gone}."


def between(champion: ModelVersion, candidate: ModelVersion) -> Changes | None:
    """None where the candidate is no child of training here."""
    if candidate.run is None:
        return None
    old, new = _trained(champion.run), _trained(candidate.run)
    kept = new.filter(pk__in=old.values("pk")).count()
    gone = old.exclude(pk__in=new.values("pk"))
    before, after = _by_domain(old), _by_domain(new)
    whole_before, whole_after = before.total(), after.total()
    return Changes(
        before=whole_before,
        after=whole_after,
        added=whole_after - kept,
        removed=whole_before - kept,
        withdrawn=gone.filter(state=TaskState.WITHDRAWN).count(),
        domains=tuple(
            Share(name, before[name], after[name], _share(before[name], whole_before), _share(after[name], whole_after))
            for name in sorted({*before, *after})
        ),
    )


def _trained(run: TrainingRun | None) -> Any:
    """The tasks of a run as they were frozen, those withdrawn since among them."""
    if run is None:
        return Task.objects.none()
    if run.mixture is not None:
        return Task.objects.filter(pk__in=run.mixture.entries.order_by().values("task")).order_by()
    if run.is_whole:
        return training_data.frozen(run).order_by()
    private = run.line.purpose == LinePurpose.EXPERT
    return training_data.train_tasks(training_data.version_tasks(run.dataset_version), private=private).order_by()


def _by_domain(tasks: Any) -> Counter[str]:
    return Counter(domain or rows.GENERAL for domain in tasks.values_list("domain", flat=True).iterator())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
