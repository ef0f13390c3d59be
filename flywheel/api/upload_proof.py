"""The proof of an upload: its matrix with the rows behind each number, proving again, agreeing to what judges cost."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Given, Nothing, Resource
from flywheel.api.upload_shown import UploadOut
from tasks.models import Upload
from tasks.services import judged, matrix, reproving


class CellOut(serializers.Serializer[Any]):
    outcome = serializers.CharField(
        help_text="earned, failed, ungradable, absent, not_sampled; or refused, passed, skipped, not_made, ungradable."
    )
    count = serializers.IntegerField()
    share = serializers.FloatField(help_text="Of this grader's rows, from 0 to 1.")
    meaning = serializers.ChoiceField(choices=["right", "false_reject", "false_accept", "open"])
    has_rows = serializers.BooleanField(help_text="Whether matrix/rows lists them.")


class MatrixLineOut(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="gold, or a kind of wrong answer.")
    cells = CellOut(many=True)


class MatrixOut(serializers.Serializer[Any]):
    type = serializers.CharField(help_text="Of grader.")
    rows = serializers.IntegerField()
    refusal = serializers.CharField(help_text="Why the grader is refused for this upload; empty where it is not.")
    lines = MatrixLineOut(many=True)


class CellFilter(Asked):
    grader = serializers.CharField(help_text="A type that the matrix has.")
    row = serializers.CharField(help_text="gold, or a kind of wrong answer.")
    cell = serializers.CharField(help_text="An outcome of that row.")
    after = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**31 - 1)
    limit = serializers.IntegerField(required=False, default=50, min_value=1, max_value=500)


class CellRowOut(serializers.Serializer[Any]):
    line = serializers.IntegerField()
    task = serializers.IntegerField(source="task_id")
    excerpt = serializers.CharField(help_text="Of the answer that was tried.")
    read = serializers.CharField(allow_null=True)
    reason = serializers.CharField()
    score = serializers.FloatField(allow_null=True, help_text="Of right answers only.")


class CellRowsOut(serializers.Serializer[Any]):
    rows = CellRowOut(many=True)
    next_after = serializers.IntegerField(allow_null=True, help_text="`after` of the next page; null on the last.")


class AgainOut(serializers.Serializer[Any]):
    rows = serializers.IntegerField(help_text="That are proved again.")


class CostIn(Given):
    rows = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        min_value=0,
        max_value=judged.MAX_SAMPLE,
        help_text="To ask judges about; 0: none; left out: the estimate's sample.",
    )


class ProvedUploads(Resource):
    model = Upload

    @extend_schema(responses=MatrixOut(many=True))
    @action(detail=True, pagination_class=None)
    def matrix(self, request: Request, pk: str) -> Response:
        """False accepts and false rejects of its graders: how the right answer and six wrong ones came out."""
        return Response(MatrixOut(matrix.of(self.get_object()), many=True).data)

    @extend_schema(parameters=[CellFilter], responses=CellRowsOut)
    @action(detail=True, url_path="matrix/rows")
    def matrix_rows(self, request: Request, pk: str) -> Response:
        """The rows of one cell of the matrix, by line."""
        upload, asked = self.get_object(), self.asked(CellFilter)
        cell = (asked["grader"], asked["row"], asked["cell"])
        return self.shown(matrix.rows(upload, *cell, after=asked["after"], limit=asked["limit"]), CellRowsOut)

    @extend_schema(request=Nothing, responses=AgainOut)
    @action(detail=True, methods=["post"])
    def prove(self, request: Request, pk: str) -> Response:
        """Prove again what could not be graded."""
        return Response({"rows": reproving.again(self.get_object(), actor=self.user)})

    @extend_schema(request=CostIn, responses=UploadOut)
    @action(detail=True, methods=["post"])
    def judge(self, request: Request, pk: str) -> Response:
        """Agree to what the judges of its graders cost (see `proof.estimate`): they are asked then."""
        upload = self.get_object()
        reproving.confirm_cost(upload, actor=self.user, rows=self.given(CostIn)["rows"])
        upload.refresh_from_db()
        return self.shown(upload, UploadOut)
