"""/api/v1. No trailing slashes. What is not listed here is answered 404 as JSON."""

from django.urls import include, path, re_path
from rest_framework.routers import SimpleRouter

from flywheel.api.appeals import Appeals
from flywheel.api.credit import Credits, Leaderboard
from flywheel.api.datasets import Datasets
from flywheel.api.difficulty import DifficultyChecks, PassRates
from flywheel.api.docs import Docs, Schema, Unknown
from flywheel.api.evaluations import Evaluations
from flywheel.api.events import Events
from flywheel.api.gates import Gates
from flywheel.api.graders import Graders
from flywheel.api.keys import Keys
from flywheel.api.lines import Lines
from flywheel.api.mixtures import Mixtures
from flywheel.api.recipes import Recipes
from flywheel.api.resumable import Resumable
from flywheel.api.reviews import Reviews
from flywheel.api.runs import Runs
from flywheel.api.samples import Samples
from flywheel.api.schedules import Schedules
from flywheel.api.status import Status
from flywheel.api.suites import ImportedSuites, SuiteRotations, Suites
from flywheel.api.tasks import Tasks
from flywheel.api.teams import Teams
from flywheel.api.uploads import Uploads
from flywheel.api.usage import UsageApi
from flywheel.api.versions import Versions
from flywheel.api.wanted import WantedList
from flywheel.api.webhooks import Webhooks
from flywheel.api.withdrawals import Withdrawals
from flywheel.api.wrappers import Wrappers

router = SimpleRouter(trailing_slash=False)
for name, resource in {
    "appeals": Appeals,
    "credit": Credits,
    "datasets": Datasets,
    "difficulty-checks": DifficultyChecks,
    "evaluations": Evaluations,
    "events": Events,
    "gates": Gates,
    "graders": Graders,
    "imported-suites": ImportedSuites,
    "keys": Keys,
    "lines": Lines,
    "mixtures": Mixtures,
    "pass-rates": PassRates,
    "recipes": Recipes,
    "reviews": Reviews,
    "runs": Runs,
    "samples": Samples,
    "schedules": Schedules,
    "suite-rotations": SuiteRotations,
    "suites": Suites,
    "tasks": Tasks,
    "teams": Teams,
    "uploads": Uploads,
    "versions": Versions,
    "webhooks": Webhooks,
    "withdrawals": Withdrawals,
    "wrappers": Wrappers,
}.items():
    router.register(name, resource, basename=name)

pieces = SimpleRouter(trailing_slash=False)
pieces.register("uploads/resumable", Resumable, basename="resumable")

app_name = "api"
urlpatterns = [
    path("status", Status.as_view({"get": "retrieve"}), name="status"),
    path("usage", UsageApi.as_view({"get": "retrieve"}), name="usage"),
    path("usage/budget", UsageApi.as_view({"put": "budget"}), name="usage-budget"),
    path("leaderboard", Leaderboard.as_view({"get": "retrieve"}), name="leaderboard"),
    path("leaderboard/name", Leaderboard.as_view({"put": "rename"}), name="leaderboard-name"),
    path("wanted", WantedList.as_view({"get": "retrieve"}), name="wanted"),
    path("schema", Schema.as_view(), name="schema"),
    path("docs", Docs.as_view(), name="docs"),
    path("", include(pieces.urls)),
    path("", include(router.urls)),
    re_path(r"^.*$", Unknown.as_view(), name="unknown"),
]
