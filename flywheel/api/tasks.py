"""Tasks and their proofs. Sealed items are shown to those who brought them and to the pool's workers, nobody else."""

from typing import Any

from django.db.models import Exists, OuterRef
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Resource, teams_of
from flywheel.api.uses import UsedInOut, shown_uses
from flywheel.api.withdrawals import ConsequencesOut, previewed
from tasks.errors import Invalid
from tasks.models import Dataset, DatasetTask, Proof, Review, Task, TaskFinding
from tasks.services import correcting, proofs, reviews, suspecting, tombstones
from tasks.states import Split, TaskState
from trainer.models import Line
from trainer.services import uses


class TaskOut(serializers.ModelSerializer[Task]):
    space = serializers.CharField(source="space.slug")
    grader_type = serializers.CharField(source="grader.type", default=None)
    prompt = serializers.CharField(help_text="The messages' text.")

    class Meta:
        model = Task
        fields: tuple[str, ...] = (
            "id", "space", "state", "reason", "reason_code", "domain", "split", "grader_type", "prompt", "created_at",
        )  # fmt: skip


class ProofOut(serializers.ModelSerializer[Proof]):
    class Meta:
        model = Proof
        fields = ("outcome", "reason", "gold", "decoys", "at")


_BESIDE = (TaskFinding.Kind.NEAR_DUPLICATE, TaskFinding.Kind.SUSPECT)


class FindingOut(serializers.ModelSerializer[TaskFinding]):
    class Meta:
        model = TaskFinding
        fields = ("kind", "rule", "other", "similarity", "evidence")


class TaskDetail(TaskOut):
    grader = serializers.JSONField(source="grader.config", default=None)
    proof = serializers.SerializerMethodField()
    conflicts = serializers.SerializerMethodField(help_text="Ids of tasks with this prompt and another answer.")

    findings = serializers.SerializerMethodField(help_text="What the checks found, each with its rule and evidence.")

    class Meta(TaskOut.Meta):
        fields = (
            *TaskOut.Meta.fields, "messages", "item", "gold", "grader", "content_digest", "proof", "conflicts",
            "findings",
        )  # fmt: skip

    @extend_schema_field(FindingOut(many=True))
    def get_findings(self, task: Task) -> list[dict[str, Any]]:
        """Another team's task has no id here."""
        found = [] if task.is_tombstone else list(task.findings.order_by("id")[:50])
        others = {one.other for one in found if one.kind in _BESIDE}
        visible = set(self.context["view"].rows(Task).filter(pk__in=others).values_list("pk", flat=True))
        for one in found:
            if one.kind in _BESIDE and one.other not in visible:
                one.other = None
        return [dict(FindingOut(one).data) for one in found]

    @extend_schema_field(ProofOut(allow_null=True))
    def get_proof(self, task: Task) -> dict[str, Any] | None:
        proof = None if task.is_tombstone else proofs.of(task)
        return dict(ProofOut(proof).data) if proof else None

    def get_conflicts(self, task: Task) -> list[int]:
        visible = self.context["view"].rows(Task)
        same = visible.filter(space=task.space_id, exact_key=task.exact_key).exclude(answer_digest=task.answer_digest)
        return list(same.order_by("id").values_list("id", flat=True)[:20])


class ReviewOut(serializers.ModelSerializer[Review]):
    reviewer = serializers.CharField(source="reviewer.username")

    class Meta:
        model = Review
        fields = ("id", "task", "reviewer", "decision", "reason_code", "note", "before", "batch", "at", "undone_at")


class TaskFilter(Asked):
    dataset = serializers.CharField(required=False, help_text="Id, or team/slug.")
    state = serializers.ChoiceField(choices=[(s.value, s.value) for s in TaskState], required=False)
    domain = serializers.CharField(required=False)
    split = serializers.ChoiceField(choices=[(s.value, s.value) for s in Split], required=False)


class ApprovalIn(Given):
    note = serializers.CharField(max_length=500, required=False, default="", allow_blank=True)


class RejectionIn(ApprovalIn):
    reason_code = serializers.ChoiceField(choices=Review.ReasonCode.choices)


class CorrectionIn(Given):
    """What is not named stays; null takes a field away."""

    dataset = serializers.CharField(
        required=False, help_text="Id, or team/slug; needed where several of yours hold it."
    )
    messages = serializers.ListField(child=serializers.DictField(), required=False)
    item = serializers.DictField(required=False)
    gold = serializers.CharField(required=False, allow_null=True, allow_blank=True, trim_whitespace=False)
    grader = serializers.DictField(required=False, allow_null=True, help_text="null: the dataset's.")
    domain = serializers.CharField(max_length=64, required=False, allow_null=True)
    metadata = serializers.DictField(required=False, allow_null=True)


class CorrectedOut(serializers.Serializer[Any]):
    task = serializers.IntegerField()
    upload = serializers.IntegerField(
        allow_null=True,
        help_text="By which the corrected row comes in: once it is valid, its task takes this one's place. null: the "
        "row is the same task in other words, which it has taken.",
    )


class Tasks(Resource):
    model = Task

    @extend_schema(parameters=[TaskFilter], responses=TaskOut(many=True))
    def list(self, request: Request) -> Response:
        """Tasks, newest first."""
        rows = narrowed(self, self.asked(TaskFilter)).select_related("space", "grader")
        found = self.paginate_queryset(rows) or []
        tombstones.bury(found, self.user, self.caller.team)
        return self.get_paginated_response(TaskOut(found, many=True, context=self.get_serializer_context()).data)

    @extend_schema(responses=TaskDetail)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One task with its item, its grader and what its proof found."""
        task = self.get_object()
        tombstones.bury([task], self.user, self.caller.team)
        return self.shown(task, TaskDetail)

    @extend_schema(responses=UsedInOut)
    @action(detail=True, url_path="used-in", pagination_class=None)
    def used_in(self, request: Request, pk: str) -> Response:
        """Mixtures, runs and versions that had it among their rows, and what came of those versions."""
        lines = Line.objects.for_user(self.user, self.caller.team)
        return self.shown(shown_uses(uses.of_task(self.get_object(), lines)), UsedInOut)

    @extend_schema(responses=ConsequencesOut)
    @action(detail=True, pagination_class=None)
    def withdrawal(self, request: Request, pk: str) -> Response:
        """What withdrawing it would do. Nothing happens; POST /withdrawals does it."""
        return previewed(self, self.get_object())

    @extend_schema(request=CorrectionIn, responses=CorrectedOut)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Correct a task of a dataset of yours. The corrected row is checked at once, then imported and proved."""
        task, given = self.get_object(), self.given(CorrectionIn)
        dataset = self._holding(task, given.pop("dataset", None))
        made = correcting.amend(task, dataset, given, actor=self.user)
        return self.shown({"task": task.pk, "upload": made.pk if made else None}, CorrectedOut)

    def _holding(self, task: Task, name: str | None) -> Dataset:
        """The dataset in which the task is corrected: the one named, else the only one there is."""
        if name is not None:
            named: Dataset = self.dataset(name)
            return named
        teams = teams_of(self.caller).values("pk")
        held = Dataset.objects.filter(memberships__task=task, team__in=teams).select_related("team", "space")
        found = list(held.distinct().order_by("pk")[:2])
        if len(found) != 1:
            raise Invalid("dataset_missing", "Say in which dataset: give its id or team/slug.", "dataset")
        return found[0]

    @extend_schema(request=ApprovalIn, responses={201: ReviewOut})
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        """Let the task in."""
        task, given = self.get_object(), self.given(ApprovalIn)
        return self.shown(reviews.approve(task, reviewer=self.user, **given), ReviewOut, 201)

    @extend_schema(request=ApprovalIn, responses=FindingOut)
    @action(detail=True, methods=["post"])
    def uphold(self, request: Request, pk: str) -> Response:
        """Say of a task that a model never solved (finding never_solved) that its reference is right: it stays."""
        task, given = self.get_object(), self.given(ApprovalIn)
        return self.shown(suspecting.uphold(task, reviewer=self.user, **given), FindingOut)

    @extend_schema(request=RejectionIn, responses={201: ReviewOut})
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        """Keep the task out, with a reason."""
        task, given = self.get_object(), self.given(RejectionIn)
        return self.shown(reviews.reject(task, reviewer=self.user, **given), ReviewOut, 201)


def narrowed(resource: Resource, asked: dict[str, Any]) -> Any:
    """The caller's tasks under the filters."""
    rows = resource.rows(Task)
    if "dataset" in asked:
        dataset = resource.dataset(asked["dataset"])
        rows = rows.filter(Exists(DatasetTask.objects.filter(task=OuterRef("pk"), dataset=dataset)))
    return rows.filter(**{name: asked[name] for name in ("state", "domain", "split") if name in asked})
