"""POST /fine_tuning/alpha/graders/validate and /run: a configuration completed, a sample graded. Nothing is written."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.openai_compat import grader_replies, grader_shapes
from flywheel.openai_compat.reading import Body, read
from flywheel.openai_compat.surface import Surface
from tasks.errors import TooSlow
from tasks.graders import registry
from tasks.services import trying
from tasks.states import Scope
from tasks.types import Grade


class ValidateBody(Body):
    grader: dict[str, Any]


class RunBody(Body):
    grader: dict[str, Any]
    model_sample: str
    item: dict[str, Any] | None = None


class _Grading(Surface):
    @property
    def space(self) -> int | None:
        """Whose served models may judge: the key's team's."""
        return self.caller.team.pk if self.caller.team else None


class ValidateGrader(_Grading):
    def post(self, request: Request) -> Response:
        grader = read(self.body(), ValidateBody).grader
        trying.check(grader_shapes.ours(grader), actor=self.caller.user, space=self.space)
        return Response({"grader": grader_shapes.completed(grader)})


class RunGrader(_Grading):
    """A judge's grade costs tokens: a key needs the scope `write` for it."""

    def post(self, request: Request) -> Response:
        given = read(self.body(), RunBody)
        config = registry.parse(grader_shapes.ours(given.grader))
        if registry.asks_a_model(config):
            self.require(Scope.WRITE)
        return Response(grader_replies.told(config, self._graded(config, given)))

    def _graded(self, config: registry.Config, given: RunBody) -> Grade:
        try:
            return trying.grade(config, given.model_sample, given.item or {}, actor=self.caller.user, space=self.space)
        except TooSlow as refusal:
            return grader_replies.unanswered(config, refusal.sentence, trying.SECONDS)
