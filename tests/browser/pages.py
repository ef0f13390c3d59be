"""Every page of the portal, with who opens it."""

from typing import Any

from tasks.models import Appeal, Task
from trainer.models import Recipe


def pages(portal: Any) -> dict[str, tuple[Any, str]]:
    """Name → (user, path)."""
    conflict = Task.objects.filter(state="conflict").earliest("pk")
    proved = Task.objects.filter(state="proved", space__is_system=True).earliest("pk")
    appeal = Appeal.objects.latest("pk")
    own = Task.objects.filter(memberships__dataset=portal.contributed, state="approved").earliest("pk")
    own_found = Task.objects.filter(memberships__dataset=portal.contributed, findings__kind="overlap").latest("pk")
    team = portal.team.slug
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
    }
    review = {
        "review": "/review",
        "review-task": f"/review/{proved.pk}?state=proved",
        "review-conflict": f"/review/{conflict.pk}",
        "log": "/review/log",
        "appeals": "/review/appeals",
        "appeal": f"/review/appeals/{appeal.pk}",
        "wrappers": "/review/wrappers",
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
        "gates": "/ops/gates",
        "gate-promote": f"/ops/gates/{portal.promoted.pk}",
        "gate-hold": f"/ops/gates/{portal.held.pk}",
        "models": "/ops/models",
        "line": "/ops/models/shared",
        "version": "/ops/models/shared/v1",
        "card": "/ops/models/shared/v1/card",
        "schedules": "/ops/schedules",
        "usage": "/ops/usage",
        "playground": "/playground",
        "formats": "/docs/formats",
        "graders": "/docs/graders",
        "errors": "/docs/errors",
    }
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
        "not-found": (portal.stranger, f"/submit/{portal.upload.pk}"),
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
    *("leaderboard", "empty-leaderboard", "dataset-credit", "empty-credit", "home-credit"),
]
