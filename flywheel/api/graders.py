"""Graders: the catalogue with an example of each, a configuration checked, a text graded. Nothing is written."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Given, Resource
from flywheel.http.auth import SignedInWithScope
from tasks.errors import Invalid, NotFound
from tasks.graders import registry
from tasks.models import ApiKey, Grader, Task, Upload
from tasks.services import trying
from tasks.states import Scope


class GraderTypeOut(serializers.Serializer[Any]):
    type = serializers.CharField()
    summary = serializers.CharField()
    grader = serializers.JSONField(help_text="An example configuration.")
    item = serializers.JSONField(help_text="An example item.")
    completion = serializers.CharField(help_text="A completion that earns full score.")


class ConfigIn(Given):
    grader = serializers.DictField()


class ConfigOut(serializers.Serializer[Any]):
    grader = serializers.JSONField(help_text="With every default filled in.")
    digest = serializers.CharField(help_text="SHA-256 of it: equal graders have equal digests.")
    reads = serializers.ListField(child=serializers.CharField(), help_text="What it reads of a row's item.")


class TrialIn(Given):
    grader = serializers.DictField(required=False, help_text="Without it the row's own decides.")
    task = serializers.IntegerField(required=False, min_value=1, help_text="The row to grade against, by its task.")
    upload = serializers.IntegerField(required=False, min_value=1, help_text="Or by its upload and line.")
    line = serializers.IntegerField(required=False, min_value=1)
    item = serializers.DictField(required=False, help_text="Instead of the row's item.")
    completion = serializers.CharField(allow_blank=True, trim_whitespace=False)


class GradeOut(serializers.Serializer[Any]):
    outcome = serializers.ChoiceField(choices=["correct", "incorrect", "ungradable"])
    score = serializers.FloatField(help_text="From 0 to 1.")
    read = serializers.CharField(allow_null=True, help_text="What was read out of the completion.")
    reason = serializers.CharField()
    sub_scores = serializers.DictField(child=serializers.FloatField())
    errors = serializers.ListField(child=serializers.CharField())  # type: ignore[assignment]  # a field, not the property
    seconds = serializers.FloatField()
    usage = serializers.DictField(child=serializers.IntegerField(), help_text="Tokens, by judge model and side.")


class Graders(Resource):
    model = Grader
    pagination_class = None
    scopes = {"run": Scope.READ, "validate": Scope.READ}

    @extend_schema(responses=GraderTypeOut(many=True))
    def list(self, request: Request) -> Response:
        """Every type with an example."""
        return Response(GraderTypeOut(registry.describe(), many=True).data)

    @extend_schema(request=ConfigIn, responses=ConfigOut)
    @action(detail=False, methods=["post"])
    def validate(self, request: Request) -> Response:
        """Check a configuration. 400 bad_grader where it cannot work, source that does not compile included."""
        config = self.given(ConfigIn)["grader"]
        return self.shown(trying.check(config, actor=self.user, space=self._space()), ConfigOut)

    @extend_schema(request=TrialIn, responses=GradeOut)
    @action(detail=False, methods=["post"])
    def run(self, request: Request) -> Response:
        """Grade one completion: with a grader and an item, or against a row that you may see.

        A judge's grade costs tokens: a key needs the scope `write` as well for it.
        """
        given = self.given(TrialIn)
        task = self._row(given)
        config = given.get("grader", task.grader.config if task and task.grader else None)
        if config is None:
            raise Invalid("grader_missing", "Give a grader, or name a row that has one.", "grader")
        if registry.asks_a_model(config):
            self._require(Scope.WRITE)
        item: Mapping[str, Any] = given.get("item", task.item if task else {})
        space = task.space_id if task else self._space()
        return self.shown(trying.grade(config, given["completion"], item, actor=self.user, space=space), GradeOut)

    def _require(self, scope: Scope) -> None:
        if isinstance(self.request.auth, ApiKey) and not self.request.auth.allows(scope):
            self.permission_denied(self.request, SignedInWithScope.message)

    def _space(self) -> int | None:
        """Whose served models may judge where no row says it: the key's team's."""
        return self.caller.team.pk if self.caller.team else None

    def _row(self, given: Mapping[str, Any]) -> Task | None:
        """The task that the request names, if it names one; 404 where the caller may not see it."""
        tasks = self.rows(Task).select_related("grader")
        if "task" in given:
            return self.find(tasks, given["task"], "task")
        if ("upload" in given) != ("line" in given):
            raise Invalid("row_missing", "Name a row by its upload and its line together, or by its task.", "line")
        if "upload" not in given:
            return None
        upload: Upload = self.find(self.rows(Upload), given["upload"], "upload")
        found: Task | None = tasks.filter(memberships__upload=upload, memberships__line=given["line"]).first()
        if found is None:
            raise NotFound("not_found", f"Line {given['line']:,} of this upload has become no task.", "line")
        return found
