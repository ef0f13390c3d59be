"""/evals/{eval}/runs/{run}/output_items: what became of each row, as soon as it is graded."""

from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.openai_compat import eval_shapes, ids, lists
from flywheel.openai_compat.eval_runs import RunSurface
from tasks.errors import Invalid, NotFound
from trainer.models import EvalItem


class OutputItems(RunSurface):
    def get(self, request: Request, eval_id: str, run_id: str) -> Response:
        run = self.find_run(eval_id, run_id)
        rows = run.items.exclude(status="")
        if status := request.query_params.get("status"):
            if status not in EvalItem.Status.values:
                raise Invalid("invalid_value", f"status is {', '.join(EvalItem.Status.values)}.", "status")
            rows = rows.filter(status=status)
        return Response(
            lists.page(
                request,
                rows,
                lambda item: eval_shapes.item_shown(item, run),
                prefix=ids.OUTPUT_ITEM,
                newest_first=False,
                with_ends=True,
            )
        )


class OutputItem(RunSurface):
    def get(self, request: Request, eval_id: str, run_id: str, item_id: str) -> Response:
        run = self.find_run(eval_id, run_id)
        found = run.items.exclude(status="").filter(pk=ids.decode(ids.OUTPUT_ITEM, item_id) or 0).first()
        if found is None:
            sentence = f"This run has no output item {item_id[:80]!r}: a row has one as soon as it is graded."
            raise NotFound("not_found", sentence, "output_item_id")
        return Response(eval_shapes.item_shown(found, run))
