"""Every page of the portal, with who opens it."""

from typing import Any

from tasks.models import Appeal, Task
from trainer.models import Recipe, Schedule, Webhook


def pages(portal: Any) -> dict[str, tuple[Any, str]]:
    """Name → (user, path)."""
    conflict = Task.objects.filter(state="conflict").earliest("pk")
    proved = Task.objects.filter(state="proved", space__is_system=True).earliest("pk")
    appeal = Appeal.objects.latest("pk")
    own = Task.objects.filter(memberships__dataset=portal.contributed, state="approved").earliest("pk")
    own_found = Task.objects.filter(memberships__dataset=portal.contributed, findings__kind="overlap").latest("pk")
    hook = Webhook.objects.get(name="Chat room")
    team = portal.team.slug
    measured = portal.measured
    data = {
        "submit": "/submit",
        "upload": f"/submit/{portal.upload.pk}",
        "upload-findings": f"/submit/{portal.upload.pk}/findings?kind=duplicate",
        "mapping": f"/submit/{portal.unmapped.pk}/mapping",
        "upload-by-code": f"/submit/{portal.upload.pk}?code=not_json",
        "grader": f"/submit/{portal.upload.pk}/grader",
        "grader-cell": f"/submit/{portal.upload.pk}/grader?grader=number&row=gold&cell=failed&at=9",
        "datasets": "/datasets",
        "dataset": f"/datasets/{team}/{portal.contributed.slug}",
        "private": f"/datasets/{team}/{portal.private.slug}",
        "train": f"/datasets/{team}/{portal.private.slug}/train",
        "task": f"/tasks/{own.pk}",
        "task-found": f"/tasks/{own_found.pk}",
        "task-rejected": f"/tasks/{appeal.task_id}",
        "task-correct": f"/tasks/{own.pk}/correct",
        "dataset-credit": f"/datasets/{team}/{portal.contributed.slug}/credit",
        "empty-credit": f"/datasets/{team}/{portal.private.slug}/credit",
        "home-credit": "/",
        "changes": f"/datasets/{team}/{portal.contributed.slug}/changes",
        "appeal-own": f"/review/appeals/{appeal.pk}",
        "me": "/me",
        "used-in": f"/datasets/{team}/{portal.contributed.slug}/used-in",
        "withdraw": f"/datasets/{team}/{portal.contributed.slug}/withdraw",
        "withdraw-task": f"/tasks/{own.pk}/withdraw",
        "withdrawals": "/withdrawals",
        "samples": "/samples",
        "submit-for-domain": "/submit?domain=maximum",
        "withdrawal": f"/withdrawals/{portal.receipt.pk}",
        "empty-suites": "/ops/models/carlas-lab-house/suites",
        "evals": "/evals",
        "eval": f"/evals/{measured.eval_id}",
        "eval-run": f"/evals/{measured.eval_id}/runs/{measured.pk}",
        "eval-run-failed": f"/evals/{measured.eval_id}/runs/{measured.pk}?status=fail",
        "eval-run-broken": f"/evals/{measured.eval_id}/runs/{measured.pk + 1}",
        "eval-run-going": f"/evals/{measured.eval_id}/runs/{measured.pk + 2}",
    }
    review = {
        "review": "/review",
        "review-task": f"/review/{proved.pk}?state=proved",
        "review-conflict": f"/review/{conflict.pk}",
        "log": "/review/log",
        "appeals": "/review/appeals",
        "appeal": f"/review/appeals/{appeal.pk}",
        "wrappers": "/review/wrappers",
        "task-tombstone": f"/tasks/{portal.receipt.task_id}",
    }
    models = {
        "home": "/",
        "ops": "/ops",
        "run": f"/ops/runs/{portal.run.pk}",
        "run-rollouts": f"/ops/runs/{portal.run.pk}/rollouts",
        "run-going": f"/ops/runs/{portal.going.pk}",
        "run-failed": f"/ops/runs/{portal.failed.pk}",
        "evaluation": f"/ops/evaluations/{portal.held.evaluation_id}",
        "recipes": "/ops/recipes",
        "recipe": f"/ops/recipes/{portal.recipe.pk}",
        "recipe-measured": f"/ops/recipes/{Recipe.objects.get(name='teaching').pk}",
        "leaderboard": "/leaderboard",
        "wanted": "/wanted",
        "wanted-filtered": "/wanted?reason=nearly+solved",
        "gates": "/ops/gates",
        "gate-promote": f"/ops/gates/{portal.promoted.pk}",
        "gate-hold": f"/ops/gates/{portal.held.pk}",
        "models": "/ops/models",
        "line": "/ops/models/shared",
        "suites": "/ops/models/shared/suites",
        "suite-rotate": "/ops/models/shared/suites/rotate?name=arithmetic",
        "version": "/ops/models/shared/v1",
        "card": "/ops/models/shared/v1/card",
        "lineage": "/ops/models/shared/v3/lineage",
        "schedules": "/ops/schedules",
        "schedule": f"/ops/schedules/{Schedule.objects.get(cron='0 3 * * 1-5').pk}",
        "schedule-deferred": f"/ops/schedules/{Schedule.objects.get(cron='*/15 * * * *').pk}?preset=nightly",
        "schedule-new": "/ops/schedules/new?preset=soon",
        "usage": "/ops/usage",
        "webhooks": "/ops/webhooks",
        "docs-webhooks": "/docs/webhooks",
        "docs-openai": "/docs/openai",
        "webhook": f"/ops/webhooks/{hook.pk}",
        "delivery": f"/ops/webhooks/{hook.pk}/deliveries/{hook.deliveries.latest('pk').pk}",
        "playground": "/playground",
        "formats": "/docs/formats",
        "graders": "/docs/graders",
        "errors": "/docs/errors",
    }
    if portal.on_file and portal.validating:
        data["run-on-file"] = f"/ops/runs/{portal.on_file.pk}"
        data["run-validating"] = f"/ops/runs/{portal.validating.pk}"
    return {
        **{name: (portal.contributor, path) for name, path in data.items()},
        **{name: (portal.reviewer, path) for name, path in review.items()},
        **{name: (portal.operator, path) for name, path in models.items()},
        "newcomer": (portal.stranger, "/"),
        "empty-datasets": (portal.stranger, "/datasets"),
        "empty-leaderboard": (portal.stranger, "/leaderboard?claim=worse"),
        "empty-review": (portal.stranger, "/review"),
        "empty-appeals": (portal.stranger, "/review/appeals"),
        "empty-wrappers": (portal.stranger, "/review/wrappers"),
        "empty-webhooks": (portal.stranger, "/ops/webhooks"),
        "empty-withdrawals": (portal.stranger, "/withdrawals"),
        "not-found": (portal.stranger, f"/submit/{portal.upload.pk}"),
        "empty-samples": (portal.stranger, "/samples"),
        "empty-evals": (portal.stranger, "/evals"),
        "wanted-public": (None, "/wanted"),
        "login": (None, "/login"),
    }


NAMES = [
    *(
        "home",
        "newcomer",
        "submit",
        "upload",
        "upload-by-code",
        "upload-findings",
        "mapping",
        "grader",
        "grader-cell",
        "datasets",
        "empty-datasets",
        "dataset",
        "private",
    ),
    *("train", "task", "me", "review", "review-task", "review-conflict", "empty-review", "log", "ops", "run"),
    *("run-going", "run-failed", "evaluation", "recipes", "recipe", "gates", "gate-promote", "gate-hold", "models"),
    *(
        "line",
        "version",
        "card",
        "schedules",
        "schedule",
        "schedule-deferred",
        "schedule-new",
        "usage",
        "playground",
        "formats",
        "graders",
        "errors",
        "not-found",
        "login",
    ),
    *("task-found", "task-rejected", "task-correct", "changes", "appeal-own", "appeals", "appeal", "empty-appeals"),
    *("wrappers", "empty-wrappers", "recipe-measured", "run-rollouts"),
    *("webhooks", "webhook", "delivery", "empty-webhooks", "docs-webhooks", "docs-openai"),
    *("used-in", "withdraw", "withdraw-task", "withdrawals", "withdrawal", "task-tombstone", "lineage"),
    "empty-withdrawals",
    *("suites", "suite-rotate", "empty-suites"),
    *("leaderboard", "empty-leaderboard", "dataset-credit", "empty-credit", "home-credit"),
    *("evals", "eval", "eval-run", "eval-run-failed", "eval-run-broken", "eval-run-going", "empty-evals"),
    *("run-on-file", "run-validating"),
    *("wanted", "wanted-filtered", "wanted-public", "samples", "empty-samples", "submit-for-domain"),
]
