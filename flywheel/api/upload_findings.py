"""What the checks found about an upload's rows."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Asked, Resource
from tasks.models import Task, TaskFinding, Upload
from tasks.services.found import BESIDE, DUPLICATE, found_in


class FoundOut(serializers.Serializer[Any]):
    line = serializers.IntegerField(help_text="Of the file.")
    task = serializers.IntegerField(source="task_id", help_text="That the row has become, or was already.")
    kind = serializers.CharField()
    rule = serializers.CharField()
    other = serializers.IntegerField(allow_null=True, help_text="The other task; null where you may not see it.")
    similarity = serializers.FloatField(allow_null=True)
    evidence = serializers.JSONField(allow_null=True, help_text="What the check decided by.")


class FoundFilter(Asked):
    kind = serializers.ChoiceField(
        choices=[DUPLICATE, *TaskFinding.Kind.values], required=False, help_text="Left out: every kind but duplicate."
    )


class ByNumber(CursorPagination):
    ordering = ("id",)
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 500


class FoundUploads(Resource):
    model = Upload

    @extend_schema(parameters=[FoundFilter], responses=FoundOut(many=True))
    @action(detail=True, pagination_class=ByNumber)
    def findings(self, request: Request, pk: str) -> Response:
        """What the checks found about its rows, in the order in which it was found: near copies, suspects, overlaps
        with held-out suites, personal data; and, asked for, rows that were there already. What a row was refused for
        is among its issues."""
        rows = self.paginate_queryset(found_in(self.get_object(), **self.asked(FoundFilter))) or []
        others = {row.other for row in rows if row.kind in BESIDE}
        visible = set(self.rows(Task).filter(pk__in=others).values_list("pk", flat=True))
        for row in rows:
            if row.kind in BESIDE and row.other not in visible:
                row.other = None
        return self.get_paginated_response(FoundOut(rows, many=True).data)
