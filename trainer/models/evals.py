"""Evals: a team's own criteria, runs of them over rows, and what each row got. No gate reads them."""

from typing import Any

from django.db import models
from django.db.models import Q

from tasks.models.accounts import Membership, Team, User
from tasks.models.files import File
from tasks.models.moves import Moving, StateModel
from trainer.models.checkpoints import RunCheckpoint
from trainer.models.runs import TrainingRun
from trainer.models.versions import ModelVersion
from trainer.states import EVALUATION_MOVES, EvaluationState


class EvalQuerySet(models.QuerySet["Eval"]):
    def for_user(self, user: Any, team: Team | None = None) -> "EvalQuerySet":
        """The user's own teams', or those of the one that a key is for."""
        own = self.filter(team__in=Membership.objects.filter(user=user).values("team"))
        return own if team is None else own.filter(team=team)


class Eval(models.Model):
    """What is measured: the shape of an item and the criteria. Neither ever changes, so that its runs compare."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="evals")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    name = models.CharField(max_length=200, blank=True)
    item_schema = models.JSONField()  # JSON Schema of an item
    include_sample_schema = models.BooleanField(default=False)  # said of the rows; decides nothing
    criteria = models.JSONField()  # of {key, name, grader}
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = EvalQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["team", "updated_at"], name="evals_by_change")]

    def __str__(self) -> str:
        return self.name or f"eval {self.pk}"


class EvalRunQuerySet(Moving):
    def for_user(self, user: Any, team: Team | None = None) -> "EvalRunQuerySet":
        return self.filter(eval__in=Eval.objects.for_user(user, team))


class EvalRun(StateModel):
    """One pass over rows: those of a file or of the request, with their samples or with answers of a version."""

    MOVES = EVALUATION_MOVES

    eval = models.ForeignKey(Eval, on_delete=models.CASCADE, related_name="runs")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    name = models.CharField(max_length=200, blank=True)
    model = models.CharField(max_length=200, blank=True)  # as it was asked for; "": the rows bring their samples
    version = models.ForeignKey(ModelVersion, null=True, on_delete=models.PROTECT, related_name="eval_runs")
    checkpoint = models.ForeignKey(RunCheckpoint, null=True, on_delete=models.SET_NULL, related_name="+")  # or this
    source = models.JSONField()  # the data source as it was asked for; rows that came with it are items, not here
    prompt = models.JSONField(null=True)  # trainer.evaluation.prompting: what of an item is asked; null: nobody is
    sampling = models.JSONField(default=dict)  # parameters of the chat wire
    file = models.ForeignKey(File, null=True, on_delete=models.SET_NULL, related_name="+")  # of the rows, if of any
    loaded = models.BooleanField(default=False)  # every row is an item
    training_run = models.ForeignKey(TrainingRun, null=True, on_delete=models.CASCADE, related_name="eval_runs")
    step = models.PositiveIntegerField(null=True)  # of that training run: this is its validation there
    state = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in EvaluationState], default=EvaluationState.QUEUED
    )
    attempt = models.PositiveIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0)  # claims since the last chunk that was committed
    lease_until = models.DateTimeField(null=True)
    total = models.PositiveIntegerField(default=0)
    passed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    errored = models.PositiveIntegerField(default=0)
    by_criterion = models.JSONField(default=dict)  # key → {passed, failed, errored}
    usage = models.JSONField(default=dict)  # model → {calls, prompt_tokens, completion_tokens}
    error = models.JSONField(null=True)  # {code, sentence}: why it failed, or what it waits for
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = EvalRunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["training_run", "step"], name="one_eval_run_per_step")]
        indexes = [models.Index(fields=["state"], condition=Q(state__in=("queued", "running")), name="eval_run_due")]

    def __str__(self) -> str:
        return self.name or f"run {self.pk}"

    @property
    def owner_team_id(self) -> int | None:
        return self.eval.team_id

    @property
    def served(self) -> ModelVersion | RunCheckpoint | None:
        """What answers, where anybody is asked."""
        checkpoint = self.checkpoint if self.checkpoint and self.checkpoint.deleted_at is None else None
        return self.version or checkpoint

    @property
    def done(self) -> int:
        return self.passed + self.failed + self.errored


class EvalItem(models.Model):
    """A row of a run and what became of it."""

    class Status(models.TextChoices):
        PASS = "pass", "Every criterion passed"
        FAIL = "fail", "A criterion did not"
        ERROR = "error", "Not answered, or not gradable"

    run = models.ForeignKey(EvalRun, on_delete=models.CASCADE, related_name="items")
    position = models.PositiveIntegerField()  # of the row, from 0
    item = models.JSONField()
    sample = models.JSONField(null=True)  # that the row brought
    answer = models.JSONField(null=True)  # trainer.evaluation.eval_items.Answer: what was graded
    results = models.JSONField(default=list)  # trainer.evaluation.eval_items.Result, in the order of the criteria
    status = models.CharField(max_length=5, choices=Status, blank=True)  # "": not graded yet
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["run", "position"], name="one_eval_item_per_row")]

    def __str__(self) -> str:
        return f"{self.run_id}[{self.position}]"
