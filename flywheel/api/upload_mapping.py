"""How an upload's rows are read: a preview under a mapping, and its confirmation."""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.arriving import mapping_of
from flywheel.api.resource import Given, Resource
from flywheel.api.upload_shown import OneUploadOut
from tasks.errors import Invalid
from tasks.models import Upload
from tasks.services import mapping


class PreviewIn(Given):
    mapping = serializers.JSONField(help_text='A mapping: {"columns": {"frage": "prompt", "antwort": "reference"}}.')


class MappingIn(PreviewIn):
    mapping = serializers.JSONField(
        help_text='A mapping: {"columns": {"frage": "prompt", "antwort": "reference"}}; or "auto" for the guess.'
    )
    remember = serializers.BooleanField(
        required=False, default=False, help_text="For the caller's files with the same columns."
    )


class MessageOut(serializers.Serializer[Any]):
    role = serializers.CharField()
    content = serializers.CharField()


class TaskPreviewOut(serializers.Serializer[Any]):
    messages = MessageOut(many=True)
    item = serializers.JSONField()
    gold = serializers.CharField(allow_null=True)
    grader = serializers.JSONField(allow_null=True, help_text="null: the dataset's.")
    domain = serializers.CharField()
    metadata = serializers.JSONField()


class PreviewRowOut(serializers.Serializer[Any]):
    line = serializers.IntegerField(help_text="1 is the first row.")
    raw = serializers.JSONField(help_text="The row as it stands; of long texts beginning and end.")
    task = TaskPreviewOut(allow_null=True, source="row")
    issues = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_issues(self, shown: mapping.Previewed) -> list[dict[str, Any]]:
        return [asdict(found) for found in shown.issues]


class MappedUploads(Resource):
    model = Upload

    @extend_schema(request=MappingIn, responses=OneUploadOut)
    @action(detail=True, methods=["post"])
    def mapping(self, request: Request, pk: str) -> Response:
        """Say how the rows of a file in state `unmapped` are read; its import begins.

        Targets of `columns` are prompt, messages, system, reference, gold, domain, grader, choices, item, item.NAME,
        metadata, metadata.NAME and ignore; a column that is not named goes into the metadata. `dialect`,
        `reference_after`, `choices_in_prompt` and `grader` are optional.
        """
        upload, given = self.get_object(), self.given(MappingIn)
        mapping.confirm(upload, mapping_of(given["mapping"]), actor=self.user, remember=given["remember"])
        upload.refresh_from_db()
        return self.shown(upload, OneUploadOut)

    @extend_schema(request=PreviewIn, responses=PreviewRowOut(many=True))
    @action(detail=True, methods=["post"], url_path="mapping/preview", pagination_class=None)
    def preview(self, request: Request, pk: str) -> Response:
        """The first rows as they stand and as they would be read; nothing is stored."""
        upload, given = self.get_object(), mapping_of(self.given(PreviewIn)["mapping"])
        if isinstance(given, str):
            raise Invalid("bad_mapping", "Give a mapping as a JSON object.", "mapping")
        chosen = mapping.parse(given)
        if problems := mapping.problems(upload, chosen):
            raise Invalid("bad_mapping", " ".join(problems), "mapping")
        return Response(PreviewRowOut(mapping.preview(upload, chosen), many=True).data)
