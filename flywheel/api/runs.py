"""Training runs: estimate, start, watch, pause, resume, clone, cancel."""

from collections.abc import Callable
from typing import Any

import msgspec
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Nothing, Resource
from tasks.errors import Forbidden, Invalid
from tasks.states import Scope
from trainer.models import Line, Mixture, ModelVersion, Recipe, RunAlarm, RunMetric, RunSample, TrainingRun
from trainer.services import recipes, runs
from trainer.services.runs import Estimate
from trainer.states import RunState


class RunOut(serializers.ModelSerializer[TrainingRun]):
    line_slug = serializers.CharField(source="line.slug")
    start = serializers.CharField(source="start.name", help_text="Version that it starts from.")
    version = serializers.SerializerMethodField(help_text="Version that came out of it.")
    dataset = serializers.IntegerField(source="dataset_version.dataset_id", default=None)
    started_by = serializers.CharField(source="started_by.username", default=None, help_text="null: a schedule.")

    class Meta:
        model = TrainingRun
        fields = (
            "id", "line", "line_slug", "state", "phase", "step", "total_steps", "attempt", "start", "version",
            "mixture", "dataset_version", "dataset", "cloned_from", "spec", "reasons", "grader", "estimated_seconds",
            "estimated_tokens", "tokens", "kl", "notes", "ending", "kept_step", "learning_rate",
            "error", "peak_memory_bytes", "started_by", "created_at", "started_at", "finished_at",
        )  # fmt: skip

    def get_version(self, run: TrainingRun) -> str | None:
        version = getattr(run, "version", None)
        return version.name if version else None


class MetricOut(serializers.ModelSerializer[RunMetric]):
    class Meta:
        model = RunMetric
        fields = ("step", "data")


class AlarmOut(serializers.ModelSerializer[RunAlarm]):
    level = serializers.CharField(source="data.level", help_text="warn, or stop.")
    value = serializers.FloatField(source="data.value", default=None)
    threshold = serializers.FloatField(source="data.threshold", default=None)
    action = serializers.CharField(source="data.action", help_text="none, rolled_back or stopped.")
    sentence = serializers.CharField(source="data.sentence")

    class Meta:
        model = RunAlarm
        fields = ("id", "step", "at", "kind", "level", "value", "threshold", "action", "sentence")


class SampleOut(serializers.ModelSerializer[RunSample]):
    class Meta:
        model = RunSample
        fields = ("id", "step", "data")


class EstimateOut(serializers.Serializer[Any]):
    seconds = serializers.FloatField(help_text="Of the engine; waiting for one comes on top.")
    tokens = serializers.IntegerField(help_text="Prompt and answer tokens drawn for training.")
    runs = serializers.IntegerField(help_text="Earlier runs that it rests on; 0: good to a factor of two only.")
    steps = serializers.IntegerField()
    rows = serializers.IntegerField()
    sentence = serializers.CharField()
    spec = serializers.SerializerMethodField(help_text="Every knob, resolved.")
    reasons = serializers.DictField(child=serializers.CharField(), help_text="By knob, of those decided for you.")

    def get_spec(self, estimate: Estimate) -> dict[str, Any]:
        return dict(msgspec.to_builtins(estimate.spec))


class EstimateIn(Given):
    """A dataset (your team's expert), or a recipe as it would be mixed now."""

    dataset = serializers.CharField(required=False, help_text="Id, or team/slug.")
    recipe = serializers.IntegerField(required=False, help_text="Id.")
    preset = serializers.CharField(max_length=20, required=False)
    overrides = serializers.DictField(required=False, default=dict, help_text='A knob may be "auto".')
    start_from = serializers.IntegerField(required=False, help_text="Version id; default as for a run.")


class ResumeIn(Given):
    """Other budgets, for a run that a spent one has paused; what is left out stays. 0: no limit."""

    max_steps = serializers.IntegerField(min_value=0, required=False)
    max_minutes = serializers.FloatField(min_value=0, required=False)
    max_tokens = serializers.IntegerField(min_value=0, required=False)


class CloneIn(Given):
    overrides = serializers.DictField(required=False, default=dict, help_text='Knobs that differ; "auto" is allowed.')
    seed = serializers.IntegerField(min_value=0, required=False)


class RunIn(Given):
    """One source: a dataset alone (the team's expert), or a line with a recipe, a mixture or a dataset."""

    line = serializers.IntegerField(required=False, help_text="Id.")
    recipe = serializers.IntegerField(required=False, help_text="Id: mixed now, with the seed.")
    mixture = serializers.IntegerField(required=False, help_text="Id.")
    dataset = serializers.CharField(required=False, help_text="Id, or team/slug.")
    preset = serializers.CharField(max_length=20, required=False)
    overrides = serializers.DictField(required=False, help_text="Knobs of the preset.")
    seed = serializers.IntegerField(min_value=0, required=False)
    grader = serializers.DictField(required=False, help_text="Replaces every row's grader.")
    start_from = serializers.IntegerField(
        required=False,
        help_text="Version id: of the line, or for an expert any that your team may see. Default: the line's champion, "
        "of an expert its newest version.",
    )


class RunFilter(Asked):
    line = serializers.IntegerField(required=False)
    state = serializers.ChoiceField(choices=[(s.value, s.value) for s in RunState], required=False)


class MetricFilter(Asked):
    after = serializers.IntegerField(required=False, default=-1, help_text="Only steps above this one.")


class SampleFilter(Asked):
    step = serializers.IntegerField(required=False)


class Runs(Resource):
    model = TrainingRun
    scopes = {
        "create": Scope.TRAIN, "pause": Scope.TRAIN, "resume": Scope.TRAIN, "cancel": Scope.TRAIN,
        "clone": Scope.TRAIN,
        "estimate": Scope.READ,
    }  # fmt: skip

    def get_queryset(self) -> Any:
        related = ("line", "start__line", "version__line", "dataset_version", "started_by", "cloned_from")
        return super().get_queryset().select_related(*related)

    @extend_schema(parameters=[RunFilter], responses=RunOut(many=True))
    def list(self, request: Request) -> Response:
        """Runs, newest first."""
        return self.page(self.get_queryset().filter(**self.asked(RunFilter)), RunOut)

    @extend_schema(responses=RunOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One run: state, phase, step of how many."""
        return self.shown(self.get_object(), RunOut)

    @extend_schema(request=RunIn, responses={201: RunOut})
    def create(self, request: Request) -> Response:
        """Start a run. A dataset alone trains your team's expert on it; its line is made on first use."""
        given = self._looked_up(self.given(RunIn))
        line = given.pop("line", None)
        if line is not None:
            run = runs.start(line, actor=self.user, **given)
        elif given.get("recipe") or given.get("mixture"):
            source = given.get("recipe") or given["mixture"].recipe
            run = runs.start(source.line, actor=self.user, **given)
        elif "dataset" in given:
            run = runs.train_expert(given.pop("dataset"), actor=self.user, **given)
        else:
            raise Invalid("source_missing", "Name a dataset, a recipe or a mixture to train on.", "dataset")
        return self.shown(run, RunOut, 201)

    def _looked_up(self, given: dict[str, Any]) -> dict[str, Any]:
        """Ids of the request become rows that the caller may see."""
        models = {"line": Line, "recipe": Recipe, "mixture": Mixture, "start_from": ModelVersion}
        for field, model in models.items():
            if field in given:
                given[field] = self.find(self.rows(model), given[field], field)
        if "dataset" in given:
            given["dataset"] = self.dataset(given["dataset"])
        return given

    @extend_schema(request=EstimateIn, responses=EstimateOut)
    @action(detail=False, methods=["post"])
    def estimate(self, request: Request) -> Response:
        """What training on a dataset or on a recipe would take, before it starts."""
        given = self._looked_up(self.given(EstimateIn))
        dataset, recipe = given.pop("dataset", None), given.pop("recipe", None)
        if (dataset is None) == (recipe is None):
            raise Invalid("one_source", "Name one thing to train on: a dataset or a recipe.", "dataset")
        if recipe is not None:
            return self.shown(runs.estimate_recipe(recipe, recipes.preview(recipe).size, **given), EstimateOut)
        return self.shown(runs.estimate(dataset, **given), EstimateOut)

    @extend_schema(parameters=[MetricFilter], responses=MetricOut(many=True), operation_id="runs_metrics")
    @action(detail=True, pagination_class=None)
    def metrics(self, request: Request, pk: str) -> Response:
        """Metrics per step; poll with ?after= the last step that you have."""
        steps = self.get_object().metrics.filter(step__gt=self.asked(MetricFilter)["after"])
        return Response(MetricOut(steps, many=True).data)

    @extend_schema(responses=AlarmOut(many=True), operation_id="runs_alarms")
    @action(detail=True, pagination_class=None)
    def alarms(self, request: Request, pk: str) -> Response:
        """What the run's guard saw, oldest first, and what it did about it."""
        return Response(AlarmOut(self.get_object().alarms.all(), many=True).data)

    @extend_schema(parameters=[SampleFilter], responses=SampleOut(many=True), operation_id="runs_samples")
    @action(detail=True, pagination_class=None)
    def samples(self, request: Request, pk: str) -> Response:
        """The newest 100 rollouts. Those of a shared line hold other teams' prompts: for the pool's workers only."""
        run = self.get_object()
        if not run.line.shows_rows_to(self.caller.user, self.caller.team):
            raise Forbidden("rows_hidden", "Samples of a shared line are for the pool's reviewers and operators.")
        return Response(SampleOut(run.samples.filter(**self.asked(SampleFilter))[:100], many=True).data)

    @extend_schema(request=Nothing, responses=RunOut)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Stop at a usable snapshot."""
        return self._moved(runs.pause)

    @extend_schema(request=ResumeIn, responses=RunOut)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Go on from the snapshot. A run that a budget paused needs another one, or none."""
        return self._moved(runs.resume, budgets=self.given(ResumeIn))

    @extend_schema(request=CloneIn, responses={201: RunOut})
    @action(detail=True, methods=["post"])
    def clone(self, request: Request, pk: str) -> Response:
        """Start the run once more: the same rows, start and settings, except for the overrides."""
        return self.shown(runs.clone(self.get_object(), actor=self.user, **self.given(CloneIn)), RunOut, 201)

    @extend_schema(request=Nothing, responses=RunOut)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """End the run; nothing is registered."""
        return self._moved(runs.cancel)

    def _moved(self, verb: Callable[..., Any], **details: Any) -> Response:
        run = self.get_object()
        verb(run, actor=self.user, **details)
        return self.shown(self.get_object(), RunOut)
