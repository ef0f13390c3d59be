"""Addresses of the model side's pages."""

from django.urls import path, re_path

from trainer.views import difficulty, gates, ops, recipes, runs, schedules, versions

urlpatterns = [
    path("datasets/<slug:team>/<slug:slug>/train", runs.train, name="train"),
    path("ops", ops.overview, name="ops"),
    path("ops/queue", ops.queue, name="ops-queue"),
    path("ops/evaluations/<int:pk>", ops.evaluation_page, name="evaluation"),
    path("ops/evaluations/<int:pk>/status", ops.evaluation_status, name="evaluation-status"),
    path("ops/runs/<int:pk>", runs.run_page, name="run"),
    path("ops/runs/<int:pk>/status", runs.run_status, name="run-status"),
    path("ops/runs/<int:pk>/metrics", runs.run_metrics, name="run-metrics"),
    re_path(r"^ops/runs/(?P<pk>\d+)/(?P<verb>pause|resume|cancel)$", runs.steer, name="run-steer"),
    path("ops/recipes", recipes.recipe_list, name="recipes"),
    path("ops/recipes/new", recipes.create, name="recipe-create"),
    path("ops/recipes/<int:pk>", recipes.recipe_page, name="recipe"),
    path("ops/recipes/<int:pk>/change", recipes.update, name="recipe-update"),
    path("ops/recipes/<int:pk>/build", recipes.build, name="recipe-build"),
    path("ops/recipes/<int:pk>/run", recipes.run, name="recipe-run"),
    path("ops/recipes/<int:pk>/difficulty", difficulty.status, name="recipe-difficulty"),
    path("ops/recipes/<int:pk>/measure", difficulty.measure, name="recipe-measure"),
    path("ops/difficulty/<int:pk>/cancel", difficulty.cancel, name="difficulty-cancel"),
    path("ops/gates", gates.report_list, name="gates"),
    path("ops/gates/<int:pk>", gates.report_page, name="gate"),
    path("ops/models", versions.model_list, name="models"),
    path("ops/models/new", versions.register, name="line-create"),
    path("ops/models/<slug:slug>", versions.line_page, name="line"),
    path("ops/models/<slug:slug>/policy", versions.set_policy, name="line-policy"),
    path("ops/models/<slug:slug>/roll-back", versions.roll_back, name="line-roll-back"),
    path("ops/models/<slug:slug>/v<int:number>", versions.version_page, name="version"),
    path("ops/models/<slug:slug>/v<int:number>/promote", versions.promote, name="version-promote"),
    path("ops/models/<slug:slug>/v<int:number>/move", versions.move, name="version-move"),
    path("ops/models/<slug:slug>/v<int:number>/evaluate", versions.evaluate, name="version-evaluate"),
    path("ops/models/<slug:slug>/v<int:number>/card", versions.card, name="version-card"),
    path("ops/models/<slug:slug>/v<int:number>/download", versions.download, name="version-download"),
    path("ops/schedules", schedules.schedule_list, name="schedules"),
    path("ops/schedules/new", schedules.create, name="schedule-create"),
    path("ops/schedules/<int:pk>/change", schedules.update, name="schedule-update"),
    path("ops/schedules/<int:pk>/fire", schedules.fire, name="schedule-fire"),
]
