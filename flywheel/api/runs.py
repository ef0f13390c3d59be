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
from tasks.errors import Forbidden, Invalid, NotFound
from tasks.states import Scope
from trainer.models import Line, Mixture, ModelVersion, Recipe, RunAlarm, RunMetric, RunSample, TrainingRun
from trainer.services import hacking, recipes, rollouts, runs
from trainer.services.runs import Estimate
from trainer.states import RunState


class RunOut(serializers.ModelSerializer[TrainingRun]):
    line_slug = serializers.CharField(source="line.slug")
    start = serializers.CharField(source="start.name", help_text="Version that it starts from.")
    version = serializers.SerializerMethodField(help_text="Version that came out of it.")
    dataset = serializers.IntegerField(source="dataset_version.dataset_id", default=None)
    started_by = serializers.CharField(source="started_by.username", default=None, help_text="null: a schedule.")
    suspicious = serializers.SerializerMethodField(help_text="Checks of its report that did not hold; null: no report.")

    class Meta:
        model = TrainingRun
        fields = (
            "id", "line", "line_slug", "state", "phase", "step", "total_steps", "attempt", "start", "version",
            "mixture", "dataset_version", "dataset", "cloned_from", "spec", "reasons", "grader", "second_grader",
            "estimated_seconds", "estimated_tokens", "tokens", "kl", "notes", "ending", "kept_step", "learning_rate",
            "suspicious",
            "error", "peak_memory_bytes", "started_by", "created_at", "started_at", "finished_at",
        )  # fmt: skip

    def get_version(self, run: TrainingRun) -> str | None:
        version = getattr(run, "version", None)
        return version.name if version else None

    def get_suspicious(self, run: TrainingRun) -> list[str] | None:
        return hacking.failed(run.report) if run.report else None


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


class ExampleOut(serializers.Serializer[Any]):
    key = serializers.CharField()
    prompt = serializers.CharField()
    completion = serializers.CharField()
    score = serializers.FloatField(allow_null=True)
    reason = serializers.CharField()


class CheckOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    title = serializers.CharField()
    value = serializers.FloatField(allow_null=True, help_text="In the unit.")
    limit = serializers.FloatField()
    least = serializers.FloatField(allow_null=True, help_text="It may not be below this either.")
    unit = serializers.CharField(help_text="score, share or times.")
    holds = serializers.BooleanField(allow_null=True, help_text="null: there was nothing to measure.")
    n = serializers.IntegerField(help_text="Answers that were measured.")
    sentence = serializers.CharField(help_text="With what to do.")
    examples = ExampleOut(many=True, help_text="Worst first; empty for those who may not read the rows.")


class HackingReportOut(serializers.Serializer[Any]):
    step = serializers.IntegerField(help_text="Whose weights answered.")
    rows = serializers.IntegerField(help_text="Sampled of training and validation.")
    fault = serializers.CharField(help_text="Why there are no checks, where the inspection broke.")
    checks = CheckOut(many=True)


class RolloutOut(serializers.Serializer[Any]):
    step = serializers.IntegerField()
    key = serializers.CharField(help_text="Of the task: the same prompt at another step has the same.")
    domain = serializers.CharField()
    prompt = serializers.CharField()
    completion = serializers.CharField()
    reward = serializers.FloatField(allow_null=True, help_text="null: it could not be graded.")
    advantage = serializers.FloatField()
    reason = serializers.CharField()
    tokens = serializers.IntegerField()
    truncated = serializers.BooleanField()
    learned = serializers.BooleanField(help_text="Whether an update was made of its group.")


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
    second_grader = serializers.DictField(
        required=False, help_text="Trains nothing: the run's report says where it disagrees with the first."
    )
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


class RolloutFilter(Asked):
    order = serializers.ChoiceField(choices=list(rollouts.ORDERS), required=False, default="reward")
    limit = serializers.IntegerField(min_value=1, max_value=rollouts.MOST_ROWS, required=False, default=20)
    skip = serializers.IntegerField(min_value=0, required=False, default=0)
    step = serializers.IntegerField(required=False, help_text="Default: the last steps, or with `key` all of them.")
    key = serializers.CharField(required=False, help_text="Of one task: its answers over the steps.")
    domain = serializers.CharField(required=False)
    learned = serializers.BooleanField(required=False, allow_null=True, default=None)
    least = serializers.FloatField(required=False, help_text="Reward from here.")
    most = serializers.FloatField(required=False, help_text="Reward up to here.")
    text = serializers.CharField(required=False, help_text="In prompt or answer, in any case.")


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

    @extend_schema(parameters=[RolloutFilter], responses=RolloutOut(many=True), operation_id="runs_rollouts")
    @action(detail=True, pagination_class=None)
    def rollouts(self, request: Request, pk: str) -> Response:
        """Every answer of the last steps, the best paid first. Shown to whom samples are."""
        run = self.get_object()
        if not run.line.shows_rows_to(self.caller.user, self.caller.team):
            raise Forbidden("rows_hidden", "Answers of a shared line are for the pool's reviewers and operators.")
        looked = rollouts.look(run, rollouts.Wanted(**self.asked(RolloutFilter)))
        return Response(RolloutOut(looked.rows, many=True).data)

    @extend_schema(responses=HackingReportOut, operation_id="runs_report")
    @action(detail=True, pagination_class=None)
    def report(self, request: Request, pk: str) -> Response:
        """Could the reward be hacked? The checks of the run's end."""
        run = self.get_object()
        report = hacking.shown(run, self.caller.user, self.caller.team)["report"]
        if report is None:
            raise NotFound("no_report", f"Run {run.pk} has no report: it is made when the weights are, at the end.")
        return Response(HackingReportOut(report).data)

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
