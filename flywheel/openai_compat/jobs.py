"""/fine_tuning/jobs: training runs, as jobs. States map one to one; nothing is kept beside the run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import OuterRef, Subquery
from django.http import Http404
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.openai_compat import grader_shapes, ids, job_requests, job_shapes, lists
from flywheel.openai_compat.retries import is_repetition, told_once
from flywheel.openai_compat.surface import Surface
from tasks.errors import FlywheelError, Invalid, NotFound
from tasks.models import File, Upload
from tasks.services import graders
from tasks.states import Scope
from trainer.models import RunMetric, TrainingRun
from trainer.services import checkpoints, file_runs, offering, run_events, runs, serving
from trainer.states import RunState

# Of a run on a whole dataset the file that the dataset began with.
_FIRST_FILE = (
    File.objects.filter(upload__dataset=OuterRef("dataset_version__dataset")).order_by("upload").values("pk")[:1]
)


class JobSurface(Surface):
    @property
    def scope(self) -> Scope:  # type: ignore[override]
        return Scope.TRAIN

    def jobs(self) -> Any:
        """The runs of the key's team; the shared line's for its operators' keys only."""
        related = ("line__team", "start__line", "training_file__file", "validation_file__file", "mixture")
        more = ("dataset_version__dataset__default_grader", "training_file__dataset__default_grader")
        rows = TrainingRun.objects.for_user(self.caller.user, self.caller.team).select_related(*related, *more)
        rows = rows.annotate(first_file=Subquery(_FIRST_FILE))
        return rows if self.caller.team is None else rows.filter(line__team=self.caller.team)

    def job(self, given: str) -> TrainingRun:
        key = ids.decode(ids.JOB, given)
        found: TrainingRun | None = None if key is None else self.jobs().filter(pk=key).first()
        if found is None:
            raise NotFound("not_found", f"There is no fine-tuning job {given[:80]} here: check its id.", None)
        return found


class Jobs(JobSurface):
    def get(self, request: Request) -> Response:
        rows = self.jobs()
        for name, value in lists.metadata_of(request).items():
            rows = rows.filter(metadata__contains={name: value})
        if request.query_params.get("metadata") == "null":
            rows = rows.filter(metadata={})
        return Response(lists.page(request, rows, job_shapes.job, prefix=ids.JOB))

    def post(self, request: Request) -> Response:
        _, method = job_requests.create_of(self.body())
        with _places():
            graders.require_usable(grader_shapes.ours(method.grader), self.team.pk)  # seconds: before a transaction
        return self._created(request)

    @told_once
    def _created(self, request: Request) -> Response:
        given, method = job_requests.create_of(self.body())
        training_file = self._file(given.training_file, "training_file")
        validation_file = self._file(given.validation_file, "validation_file") if given.validation_file else None
        start_from = serving.resolve_version(given.model, self.caller.user, self.caller.team)
        offer = _offer(given.metadata or {})
        if offer is not None:
            self.require(Scope.WRITE)
        run = _started(
            training_file,
            actor=self.caller.user,
            start_from=start_from,
            grader=method.grader,
            echo={"model": given.model},
            validation_file=validation_file,
            asked=(method.hyperparameters or job_requests.Hyperparameters()).asked,
            seed=given.seed,
            response_format=method.response_format,
            suffix=given.suffix or "",
            metadata=given.metadata,
        )
        if offer is not None:
            offering.offer(run, licence=offer, consent_version=offering.CONSENT_VERSION, actor=self.caller.user)
        return Response(job_shapes.job(self.jobs().get(pk=run.pk)))

    def _file(self, given: str, param: str) -> Upload:
        key = ids.decode(ids.FILE, given)
        files = File.objects.for_user(self.caller.user, self.caller.team).select_related("upload__dataset__team")
        found = None if key is None else files.filter(pk=key).first()
        if found is None:
            raise Invalid("invalid_file", f"There is no file {given[:80]}: upload it with purpose fine-tune.", param)
        if found.upload is None:
            sentence = f"{given} was uploaded with purpose {found.purpose}: upload it with purpose fine-tune."
            raise Invalid("invalid_file_purpose", sentence, param)
        upload: Upload = found.upload
        return upload


def _started(training_file: Upload, *, grader: dict[str, Any], echo: dict[str, Any], **asked: Any) -> TrainingRun:
    """The grader is kept as we read it and told as it was written."""
    with _places():
        ours, written = grader_shapes.ours(grader), grader_shapes.completed(grader)
        echo = {**echo, "grader": written}
        return file_runs.start(training_file, grader=ours, echo=echo, grader_tried=True, **asked)


@contextmanager
def _places() -> Iterator[None]:
    """A refused grader is named by its place in the request."""
    try:
        yield
    except FlywheelError as refused:
        if refused.param and refused.param.split(".")[0].split("[")[0] in ("grader", "response_format"):
            refused.param = f"method.reinforcement.{refused.param}"
        refused.param = job_requests.PLACES.get(refused.param or "", refused.param)
        raise


def _offer(metadata: dict[str, str]) -> str | None:
    """The licence under which the rows are offered to everybody; None: they stay the team's."""
    if metadata.get(job_requests.CONTRIBUTE, "").lower() != "true":
        return None
    licence = metadata.get(job_requests.LICENCE) or metadata.get("license") or ""
    if not licence:
        sentence = (
            'To contribute its rows a job names their licence too: metadata {"contribute": "true", "licence": '
            '"CC-BY-4.0"}. With it you agree to what /docs/licence says.'
        )
        raise Invalid("licence_missing", sentence, "metadata.licence")
    return licence


class Job(JobSurface):
    def get(self, request: Request, job: str) -> Response:
        return Response(job_shapes.job(self.job(job)))


class JobVerb(JobSurface):
    verbs = {"cancel": runs.cancel, "pause": runs.pause, "resume": runs.resume}
    done = {  # where a job stands once the verb has been carried out
        "cancel": {RunState.CANCELLED},
        "pause": {RunState.PAUSING, RunState.PAUSED},
        "resume": {RunState.QUEUED, RunState.RUNNING},
    }

    def post(self, request: Request, job: str, verb: str) -> Response:
        """A repetition of a request that was carried out hears how the job stands."""
        if verb not in self.verbs:
            raise Http404
        run = self.job(job)
        if not (is_repetition(request) and run.state in self.done[verb]):
            self.verbs[verb](run, actor=self.caller.user)
        return Response(job_shapes.job(self.job(job)))


class JobEvents(JobSurface):
    def get(self, request: Request, job: str) -> Response:
        run = self.job(job)
        limit = lists.limit_of(request.query_params.get("limit"), most=1000, usual=20)
        after = None
        if given := request.query_params.get("after"):
            after = job_shapes.event_key(run, given)
        try:
            if given and after is None:
                raise ValueError(given)
            found = run_events.newest_first(run, after=after, limit=limit + 1)
        except ValueError:
            sentence = f"This job has no event {given[:80] if given else ''} to list after."
            raise Invalid("invalid_value", sentence, "after") from None
        told = [job_shapes.event(run, one) for one in found[:limit]]
        return Response(lists.envelope(told, has_more=len(found) > limit))


class JobCheckpoints(JobSurface):
    def get(self, request: Request, job: str) -> Response:
        run = self.job(job)
        found = checkpoints.usable(run)
        kept = run.checkpoints.filter(pk__in=[one.pk for one in found])
        steps = dict(
            RunMetric.objects.filter(run=run, step__in=[one.step for one in found]).values_list("step", "data")
        )
        return Response(
            lists.page(
                request,
                kept.select_related("run__line__team", "run__start__line", "run__dataset_version__dataset"),
                lambda one: job_shapes.checkpoint(one, steps.get(one.step)),
                prefix=ids.CHECKPOINT,
                usual=10,
                with_ends=True,
            )
        )
