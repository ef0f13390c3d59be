"""/openai/v1. No trailing slashes, no redirects; what is not listed is answered 404 in the envelope."""

from django.urls import path, re_path

from flywheel.openai_compat.chat import ChatCompletions
from flywheel.openai_compat.eval_runs import CancelRun, OneRun, Runs
from flywheel.openai_compat.evals import Evals, OneEval
from flywheel.openai_compat.files import Content, Files, OneFile
from flywheel.openai_compat.graders import RunGrader, ValidateGrader
from flywheel.openai_compat.jobs import Job, JobCheckpoints, JobEvents, Jobs, JobVerb
from flywheel.openai_compat.models import Model, Models
from flywheel.openai_compat.output_items import OutputItem, OutputItems
from flywheel.openai_compat.permissions import Permission, Permissions
from flywheel.openai_compat.surface import Unknown
from flywheel.openai_compat.uploads import Cancellation, Completion, Parts, Uploads

app_name = "openai"
urlpatterns = [
    path("chat/completions", ChatCompletions.as_view(), name="chat-completions"),
    path("evals", Evals.as_view(), name="evals"),
    path("evals/<str:eval_id>", OneEval.as_view(), name="eval"),
    path("evals/<str:eval_id>/runs", Runs.as_view(), name="eval-runs"),
    path("evals/<str:eval_id>/runs/<str:run_id>", OneRun.as_view(), name="eval-run"),
    path("evals/<str:eval_id>/runs/<str:run_id>/cancel", CancelRun.as_view(), name="eval-run-cancel"),
    path("evals/<str:eval_id>/runs/<str:run_id>/output_items", OutputItems.as_view(), name="output-items"),
    path("evals/<str:eval_id>/runs/<str:run_id>/output_items/<str:item_id>", OutputItem.as_view(), name="output-item"),
    path("files", Files.as_view(), name="files"),
    path("files/<str:file_id>", OneFile.as_view(), name="file"),
    path("files/<str:file_id>/content", Content.as_view(), name="file-content"),
    path("uploads", Uploads.as_view(), name="uploads"),
    path("uploads/<str:upload_id>/parts", Parts.as_view(), name="upload-parts"),
    path("uploads/<str:upload_id>/complete", Completion.as_view(), name="upload-completion"),
    path("uploads/<str:upload_id>/cancel", Cancellation.as_view(), name="upload-cancellation"),
    path("fine_tuning/alpha/graders/run", RunGrader.as_view(), name="grader-run"),
    path("fine_tuning/alpha/graders/validate", ValidateGrader.as_view(), name="grader-validate"),
    path("fine_tuning/jobs", Jobs.as_view(), name="jobs"),
    path("fine_tuning/jobs/<str:job>", Job.as_view(), name="job"),
    path("fine_tuning/jobs/<str:job>/events", JobEvents.as_view(), name="job-events"),
    path("fine_tuning/jobs/<str:job>/checkpoints", JobCheckpoints.as_view(), name="job-checkpoints"),
    path("fine_tuning/jobs/<str:job>/<str:verb>", JobVerb.as_view(), name="job-verb"),
    path("fine_tuning/checkpoints/<path:name>/permissions", Permissions.as_view(), name="permissions"),
    path("fine_tuning/checkpoints/<path:name>/permissions/<str:permission>", Permission.as_view(), name="permission"),
    path("models", Models.as_view(), name="models"),
    path("models/<path:name>", Model.as_view(), name="model"),
    re_path(r"^.*$", Unknown.as_view(), name="unknown"),
]
