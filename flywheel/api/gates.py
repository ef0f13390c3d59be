"""Gate reports: verdicts and their reasons."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.evaluations import EvaluationOut
from flywheel.api.resource import Asked, Resource
from flywheel.http.auth import caller
from tasks.states import Scope
from trainer.models import GateReport
from trainer.services import looks
from trainer.states import Verdict


class ReportOut(serializers.ModelSerializer[GateReport]):
    line_slug = serializers.CharField(source="line.slug")
    candidate = serializers.CharField(source="evaluation.candidate.name")
    champion = serializers.CharField(source="evaluation.champion.name")

    class Meta:
        model = GateReport
        fields: tuple[str, ...] = (
            "id", "line", "line_slug", "evaluation", "candidate", "champion", "verdict", "sentence", "policy_digest",
            "created_at",
        )  # fmt: skip


class NextLook(serializers.Serializer[looks.Offer]):
    look = serializers.IntegerField()
    of = serializers.IntegerField(help_text="Looks that the policy declares.")
    more_items = serializers.IntegerField(help_text="0: the same items are answered again.")
    answers = serializers.IntegerField(help_text="Of each item that is asked, on each side.")
    sentence = serializers.CharField()


class ReportDetail(ReportOut):
    next_look = serializers.SerializerMethodField(
        help_text="What going on would run: of an INCONCLUSIVE report whose policy has alpha left, else null."
    )
    flips = serializers.SerializerMethodField(
        help_text="Answers that flipped, regressions first. They quote sealed items: null for whom they are not shown."
    )

    class Meta(ReportOut.Meta):
        fields = (*ReportOut.Meta.fields, "decision", "next_look", "flips")

    @extend_schema_field(NextLook(allow_null=True))
    def get_next_look(self, report: GateReport) -> Any:
        offered = looks.offer(report)
        return NextLook(offered).data if offered else None

    def get_flips(self, report: GateReport) -> list[dict[str, Any]] | None:
        who = caller(self.context["request"])
        return report.flips if report.line.shows_rows_to(who.user, who.team) else None


class ReportFilter(Asked):
    line = serializers.IntegerField(required=False)
    evaluation = serializers.IntegerField(required=False)
    verdict = serializers.ChoiceField(choices=[(v.value, v.value) for v in Verdict], required=False)


class Gates(Resource):
    model = GateReport
    scopes = {"go_on": Scope.TRAIN}

    def get_queryset(self) -> Any:
        related = ("line", "evaluation__candidate__line", "evaluation__champion__line")
        return super().get_queryset().select_related(*related)

    @extend_schema(parameters=[ReportFilter], responses=ReportOut(many=True))
    def list(self, request: Request) -> Response:
        """Gate reports, newest first."""
        return self.page(self.get_queryset().filter(**self.asked(ReportFilter)), ReportOut)

    @extend_schema(responses=ReportDetail)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One report: per suite n, K, both rates, the difference with its interval, and the verdict's reasons."""
        return self.shown(self.get_object(), ReportDetail)

    @extend_schema(request=None, responses={201: EvaluationOut})
    @action(detail=True, methods=["post"], url_path="go-on")
    def go_on(self, request: Request, pk: str) -> Response:
        """Run the next look that the policy declares: more answers, and one alpha for all looks together."""
        return self.shown(looks.go_on(self.get_object(), actor=self.user), EvaluationOut, 201)
