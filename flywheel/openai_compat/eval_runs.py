"""/evals/{eval}/runs: rows graded by the eval's criteria, with their own samples or with a model's answers."""

from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.openai_compat import eval_bodies, eval_shapes, ids, lists
from flywheel.openai_compat.eval_bodies import Completions, CreateRun, FileContent, Jsonl, named
from flywheel.openai_compat.evals import EvalSurface
from flywheel.openai_compat.reading import read, storable
from flywheel.openai_compat.retries import told_once
from tasks.errors import Invalid, NotFound
from tasks.models import File
from trainer.models import Eval, EvalRun
from trainer.services import eval_runs, serving
from trainer.services.eval_runs import Asked


class RunSurface(EvalSurface):
    def runs_of(self, of: Eval) -> QuerySet[EvalRun]:
        return EvalRun.objects.filter(eval=of).select_related("eval__team")

    def find_run(self, eval_id: str, given: str) -> EvalRun:
        found = self.runs_of(self.find_eval(eval_id)).filter(pk=ids.decode(ids.EVAL_RUN, given) or 0).first()
        if found is None:
            sentence = f"This eval has no run {given[:80]!r}: list them with GET /evals/{eval_id[:80]}/runs."
            raise NotFound("not_found", sentence, "run_id")
        return found


class Runs(RunSurface):
    def get(self, request: Request, eval_id: str) -> Response:
        rows = self.runs_of(self.find_eval(eval_id))
        if status := request.query_params.get("status"):
            if status not in eval_shapes.STATES:
                raise Invalid("invalid_value", f"status is one of {', '.join(eval_shapes.STATES)}.", "status")
            rows = rows.filter(state=eval_shapes.STATES[status])
        return Response(
            lists.page(request, rows, _without_rows, prefix=ids.EVAL_RUN, newest_first=False, with_ends=True)
        )

    @told_once
    def post(self, request: Request, eval_id: str) -> Response:
        of = self.find_eval(eval_id)
        given = read(storable(self.body()), CreateRun)
        asked_for = eval_bodies.data_source_of(given.data_source)
        source = eval_bodies.source_of(asked_for.source)
        kept = {name: value for name, value in asked_for.source.items() if name != "content"}
        with named(
            rows="data_source.source.content",
            model="data_source.model",
            prompt="data_source.input_messages",
        ):
            run = eval_runs.start(
                of,
                actor=self.caller.user,
                name=given.name or "",
                metadata=given.metadata,
                source={**given.data_source, "source": kept},
                asked=self._asked(asked_for),
                **self._rows(source),
            )
        return Response(_without_rows(run), status=201)

    def _asked(self, given: Jsonl | Completions) -> Asked | None:
        if isinstance(given, Jsonl):
            return None
        prompt = eval_bodies.prompt_of(given.input_messages)
        sampling = eval_bodies.sampling_of(given.sampling_params)
        served = serving.find(given.model, self.caller.user, self.team)
        return Asked(given.model, served, prompt, sampling)

    def _rows(self, source: eval_bodies.FileContent | eval_bodies.FileId) -> dict[str, Any]:
        if isinstance(source, FileContent):
            return {"rows": source.content}
        mine = File.objects.for_user(self.caller.user, self.team).filter(team=self.team)
        file = mine.filter(pk=ids.decode(ids.FILE, source.id) or 0).first()
        if file is None:
            sentence = f"There is no file {source.id[:80]!r} here: upload it with POST /files."
            raise NotFound("not_found", sentence, "data_source.source.id")
        return {"file": file}


def _without_rows(run: EvalRun) -> dict[str, Any]:
    """Without those that came with the request: a page of runs would hold them all, and the reply to a creation is kept
    for a client that asks again."""
    return eval_shapes.run_shown(run, whole=False)


class OneRun(RunSurface):
    def get(self, request: Request, eval_id: str, run_id: str) -> Response:
        return Response(eval_shapes.run_shown(self.find_run(eval_id, run_id)))

    def post(self, request: Request, eval_id: str, run_id: str) -> Response:
        """Cancel: at this path by clients of major 1 and 2, at /cancel by those of 3."""
        run = eval_runs.cancel(self.find_run(eval_id, run_id), actor=self.caller.user)
        return Response(eval_shapes.run_shown(run))

    @told_once
    def delete(self, request: Request, eval_id: str, run_id: str) -> Response:
        eval_runs.delete(self.find_run(eval_id, run_id), actor=self.caller.user)
        return Response({"object": "eval.run.deleted", "deleted": True, "run_id": run_id})


class CancelRun(OneRun):
    http_method_names = ["post", "options"]
