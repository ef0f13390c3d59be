"""Training runs, their metrics, alarms and samples of their rollouts."""

from typing import Any

from django.db import models
from django.db.models import Q

from tasks.models.accounts import Team, User
from tasks.models.datasets import Dataset, DatasetVersion
from tasks.models.files import File
from tasks.models.moves import Moving
from tasks.models.uploads import Upload
from trainer.models.engine_work import EngineWork
from trainer.models.lines import Line
from trainer.models.recipes import Mixture
from trainer.models.versions import ModelVersion
from trainer.states import RUN_MOVES, RunState


class TrainingRunQuerySet(Moving):
    def for_user(self, user: Any, team: Team | None = None) -> "TrainingRunQuerySet":
        return self.filter(line__in=Line.objects.for_user(user, team))


class TrainingRun(EngineWork):
    """One execution of a resolved RunSpec on a mixture (the shared line) or on one dataset version (an expert).

    A run on a file has its dataset version, and its final settings, once the file is read: until then it is validating.
    """

    MOVES = RUN_MOVES

    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="runs")
    started_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")  # None: a schedule
    start = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="runs_from_here")
    mixture = models.ForeignKey(Mixture, null=True, on_delete=models.PROTECT, related_name="runs")
    dataset_version = models.ForeignKey(DatasetVersion, null=True, on_delete=models.PROTECT, related_name="runs")
    # A run on a file: every row of it trains, and the rows of the other file, if one was given, validate
    training_file = models.ForeignKey(Upload, null=True, on_delete=models.PROTECT, related_name="runs")
    validation_file = models.ForeignKey(Upload, null=True, on_delete=models.PROTECT, related_name="runs_validated")
    results_file = models.ForeignKey(File, null=True, on_delete=models.SET_NULL, related_name="+")  # metrics, as CSV
    validation_version = models.ForeignKey(DatasetVersion, null=True, on_delete=models.PROTECT, related_name="+")
    eval = models.ForeignKey("trainer.Eval", null=True, on_delete=models.SET_NULL, related_name="training_runs")
    cloned_from = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="clones")
    spec = models.JSONField()  # trainer.runspec.RunSpec, resolved
    reasons = models.JSONField(default=dict)  # knob → why it is that, of the knobs that the preset decided
    grader = models.JSONField(null=True, blank=True)  # replaces every row's grader
    response_format = models.JSONField(null=True, blank=True)  # what answers are held to as they are drawn
    second_grader = models.JSONField(null=True, blank=True)  # trains nothing: the report compares it with the first
    state = models.CharField(max_length=12, choices=[(s.value, s.value) for s in RunState], default=RunState.VALIDATING)
    metrics_offset = models.BigIntegerField(default=0)  # bytes of metrics.jsonl that are stored
    samples_offset = models.BigIntegerField(default=0)
    alarms_offset = models.BigIntegerField(default=0)
    estimated_seconds = models.FloatField(default=0)  # of the engine, said before the start
    estimated_tokens = models.BigIntegerField(default=0)
    tokens = models.BigIntegerField(default=0)
    kl = models.JSONField(null=True)  # trainer.contract.Estimate
    ending = models.JSONField(null=True)  # trainer.contract.Ending: why it has ended, or why it is paused
    kept_step = models.PositiveIntegerField(null=True)  # whose weights the version has
    learning_rate = models.FloatField(null=True)  # at the end; the spec has the one that it began with
    report = models.JSONField(null=True)  # trainer.contract.Report: could the reward be hacked?
    suffix = models.CharField(max_length=64, blank=True)  # of the name of what it makes
    metadata = models.JSONField(default=dict)  # the caller's own, short texts by name
    asked = models.JSONField(default=dict)  # trainer.hyperparameters.Asked with nothing left to decide; and as asked
    notes = models.JSONField(default=list)  # sentences for the run page, e.g. how few rows were split

    objects = TrainingRunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=(Q(mixture__isnull=True) ^ Q(dataset_version__isnull=True))
                | Q(mixture__isnull=True, training_file__isnull=False),
                name="run_has_one_source",
            )
        ]

    def __str__(self) -> str:
        return f"run {self.pk} of {self.line.slug} ({self.state})"

    @property
    def is_control(self) -> bool:
        """Whether a coin stood in place of the grades: what it made is for comparison only."""
        return bool(self.spec.get("random_rewards"))

    @property
    def is_whole(self) -> bool:
        """Whether every row of its dataset version trains, whatever split, proof or review say."""
        return self.training_file_id is not None

    @property
    def dataset(self) -> Dataset | None:
        if self.training_file is not None:
            return self.training_file.dataset
        return self.dataset_version.dataset if self.dataset_version else None


class RunMetric(models.Model):
    """A step's metrics (trainer.contract.StepMetrics). A resumed step replaces its row."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="metrics")
    step = models.PositiveIntegerField()
    data = models.JSONField()

    class Meta:
        ordering = ["step"]
        constraints = [models.UniqueConstraint(fields=["run", "step"], name="one_row_per_step")]

    def __str__(self) -> str:
        return f"run {self.run_id} step {self.step}"


class RunAlarm(models.Model):
    """Something that the run's guard saw (trainer.contract.Alarm). A step that was trained twice may raise two."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="alarms")
    step = models.PositiveIntegerField()
    at = models.FloatField()  # unix seconds
    kind = models.CharField(max_length=40)
    data = models.JSONField()

    class Meta:
        ordering = ["at", "id"]
        constraints = [models.UniqueConstraint(fields=["run", "step", "kind", "at"], name="one_row_per_alarm")]

    def __str__(self) -> str:
        return f"run {self.run_id} step {self.step}: {self.kind}"


class RunSample(models.Model):
    """A rollout for the run page (trainer.contract.Rollout)."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="samples")
    step = models.PositiveIntegerField()
    data = models.JSONField()

    class Meta:
        ordering = ["-step", "id"]
        indexes = [models.Index(fields=["run", "step"], name="sample_by_step")]

    def __str__(self) -> str:
        return f"run {self.run_id} step {self.step}"
