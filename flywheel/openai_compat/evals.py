"""/evals: what a team measures its models by."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Q, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.openai_compat import eval_shapes, grader_shapes, ids, lists
from flywheel.openai_compat.eval_bodies import CreateEval, CustomRows, UpdateEval, named, rows_of
from flywheel.openai_compat.reading import read, storable
from flywheel.openai_compat.retries import told_once
from flywheel.openai_compat.surface import Surface
from tasks.errors import Invalid, NotFound
from tasks.graders import registry
from tasks.models import Team
from tasks.states import Scope
from trainer.models import Eval
from trainer.services import evals

ORDERS = ("created_at", "updated_at")


class EvalSurface(Surface):
    """A run may ask judges, which costs tokens: whatever changes anything needs the scope `write`."""

    scope = Scope.WRITE

    def mine(self) -> QuerySet[Eval]:
        return Eval.objects.for_user(self.caller.user, self.caller.team).select_related("team")

    def find_eval(self, given: str) -> Eval:
        found = self.mine().filter(pk=ids.decode(ids.EVAL, given) or 0).first()
        if found is None:
            raise NotFound("not_found", f"There is no eval {given[:80]!r} here: list yours with GET /evals.", "eval_id")
        return found


class Evals(EvalSurface):
    def get(self, request: Request) -> Response:
        if request.query_params.get("order_by", ORDERS[0]) not in ORDERS:
            raise Invalid("invalid_value", f"order_by is {' or '.join(ORDERS)}.", "order_by")
        if request.query_params.get("order_by") == "updated_at":
            return Response(_by_change(request, self.mine()))
        rows, shown = self.mine(), eval_shapes.eval_shown
        return Response(lists.page(request, rows, shown, prefix=ids.EVAL, newest_first=False, with_ends=True))

    def post(self, request: Request) -> Response:
        _, _, criteria = read_body(self.body())
        with named(criteria="testing_criteria"):
            evals.require_works(criteria[: evals.MOST_CRITERIA], actor=self.caller.user, team=self.team)
        return self._created(request)

    @told_once
    def _created(self, request: Request) -> Response:
        made = create(self.body(), self.team, actor=self.caller.user, tried=True)
        return Response(eval_shapes.eval_shown(made), status=201)


def create(body: Mapping[str, Any], team: Team, *, actor: Any, tried: bool = False) -> Eval:
    """The eval of a request's body. `tried`: its graders have been, by `evals.require_works`."""
    given, rows, criteria = read_body(body)
    with named(item_schema="data_source_config.item_schema", criteria="testing_criteria"):
        return evals.create(
            team,
            actor=actor,
            name=given.name or "",
            item_schema=rows.item_schema,
            include_sample_schema=rows.include_sample_schema,
            criteria=criteria,
            metadata=given.metadata,
            tried=tried,
        )


def read_body(body: Mapping[str, Any]) -> tuple[CreateEval, CustomRows, list[dict[str, Any]]]:
    """What it asks for, the form of its rows, and its criteria as the registry reads them."""
    given = read(storable(body), CreateEval)
    return given, rows_of(given.data_source_config), _criteria(given.testing_criteria)


def _by_change(request: Request, rows: QuerySet[Eval]) -> dict[str, Any]:
    """A cursor is the eval's time of change and, among equal ones, its key."""
    limit = lists.limit_of(request.query_params.get("limit"), most=100, usual=20)
    descending = lists.order_of(request.query_params.get("order"), newest_first=False)
    if after := request.query_params.get("after"):
        last = rows.filter(pk=ids.decode(ids.EVAL, after) or 0).first()
        if last is None:
            raise Invalid(
                "invalid_value", f"There is no {after[:80]!r} to list after: give the id of an eval.", "after"
            )
        beyond = "lt" if descending else "gt"
        later = Q(**{f"updated_at__{beyond}": last.updated_at})
        rows = rows.filter(later | Q(updated_at=last.updated_at, **{f"pk__{beyond}": last.pk}))
    rows = rows.order_by(*(("-updated_at", "-pk") if descending else ("updated_at", "pk")))
    data, has_more = lists.bounded(rows, eval_shapes.eval_shown, limit)
    return lists.envelope(data, has_more=has_more, with_ends=True)


def _criteria(given: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the registry reads them, each with a name."""
    found = []
    for place, grader in enumerate(given):
        where = f"testing_criteria[{place}]"
        with named(grader=where):
            if grader.get("type") == "text_similarity" and grader.get("pass_threshold") is None:
                param = f"{where}.pass_threshold"
                raise Invalid("missing_required_parameter", f"Missing required parameter: '{param}'.", param)
            config = grader_shapes.ours(grader, labels_alone=True)
            found.append({**config, "name": grader_shapes.name_of(registry.parse(config))})
    return found


class OneEval(EvalSurface):
    def get(self, request: Request, eval_id: str) -> Response:
        return Response(eval_shapes.eval_shown(self.find_eval(eval_id)))

    def post(self, request: Request, eval_id: str) -> Response:
        found = self.find_eval(eval_id)
        changes = read(storable(self.body()), UpdateEval).changes()
        return Response(eval_shapes.eval_shown(evals.change(found, actor=self.caller.user, **changes)))

    @told_once
    def delete(self, request: Request, eval_id: str) -> Response:
        evals.delete(self.find_eval(eval_id), actor=self.caller.user)
        return Response({"object": "eval.deleted", "deleted": True, "eval_id": eval_id})
