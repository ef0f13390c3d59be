"""Evaluations: champion and candidate on the same sealed items."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Resource
from tasks.states import Scope
from trainer.models import Evaluation, ModelVersion
from trainer.services import evaluations, known_answers
from trainer.states import EvaluationState


class EvaluationOut(serializers.ModelSerializer[Evaluation]):
    candidate_name = serializers.CharField(source="candidate.name")
    champion_name = serializers.CharField(source="champion.name")
    report = serializers.SerializerMethodField(help_text="Id of the gate report, when there is one.")
    known = serializers.SerializerMethodField(help_text="What was not asked again, as sentences.")

    class Meta:
        model = Evaluation
        fields = (
            "id", "line", "candidate", "candidate_name", "champion", "champion_name", "anchor", "suites", "state",
            "phase", "step", "total_steps", "attempt", "extends", "look", "sampling", "policy", "policy_digest", "plan",
            "known", "exposure", "report", "error", "created_at", "started_at", "finished_at",
        )  # fmt: skip

    def get_known(self, evaluation: Evaluation) -> list[str]:
        return known_answers.told(evaluation)

    def get_report(self, evaluation: Evaluation) -> int | None:
        report = getattr(evaluation, "report", None)
        return report.pk if report else None


class EvaluationIn(Given):
    candidate = serializers.IntegerField(help_text="Version id.")


class EvaluationFilter(Asked):
    line = serializers.IntegerField(required=False)
    candidate = serializers.IntegerField(required=False)
    state = serializers.ChoiceField(choices=[(s.value, s.value) for s in EvaluationState], required=False)


class Evaluations(Resource):
    model = Evaluation
    scopes = {"create": Scope.TRAIN}

    def get_queryset(self) -> Any:
        rows = super().get_queryset().select_related("candidate__line", "champion__line", "report")
        return rows.prefetch_related("suites", "answered")

    @extend_schema(parameters=[EvaluationFilter], responses=EvaluationOut(many=True))
    def list(self, request: Request) -> Response:
        """Evaluations, newest first."""
        return self.page(self.get_queryset().filter(**self.asked(EvaluationFilter)), EvaluationOut)

    @extend_schema(responses=EvaluationOut)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One evaluation, with what planning said about n, K and the smallest effect it can see."""
        return self.shown(self.get_object(), EvaluationOut)

    @extend_schema(request=EvaluationIn, responses={201: EvaluationOut})
    def create(self, request: Request) -> Response:
        """Evaluate a candidate against its line's champion. One that is under way is not doubled."""
        candidate = self.find(self.rows(ModelVersion), self.given(EvaluationIn)["candidate"], "candidate")
        return self.shown(evaluations.start(candidate, actor=self.user), EvaluationOut, 201)
