"""The wheel in numbers, and whether somebody is there to turn it."""

from typing import Any

from celery import current_app
from django.core.cache import cache
from django.db.models import Count
from drf_spectacular.utils import extend_schema
from kombu.exceptions import OperationalError
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from flywheel.api.resource import Resource
from tasks.models import Task, Upload
from tasks.states import TaskState, UploadState
from trainer.models import Evaluation, GateReport, Line, TrainingRun
from trainer.services import serving
from trainer.states import EvaluationState, RunState, Verdict

WORKERS_KNOWN_FOR_SECONDS = 5
PING_SECONDS = 0.5


class StatusOut(serializers.Serializer[Any]):
    uploads = serializers.DictField(child=serializers.IntegerField(), help_text="State → count, of what you may see.")
    tasks = serializers.DictField(child=serializers.IntegerField(), help_text="State → count.")
    runs = serializers.DictField(child=serializers.IntegerField(), help_text="State → count.")
    evaluations = serializers.DictField(child=serializers.IntegerField(), help_text="State → count.")
    verdicts = serializers.DictField(child=serializers.IntegerField(), help_text="Verdict → count.")
    lines = serializers.IntegerField()
    workers = serializers.IntegerField(help_text="Job workers that answer. With 0, nothing moves: start one.")
    model_server = serializers.BooleanField(help_text="Whether it answers.")


class Status(Resource):
    model = Task

    @extend_schema(responses=StatusOut, operation_id="status")
    def retrieve(self, request: Request) -> Response:
        """Counts of everything that you may see, by state."""
        counted = {
            "uploads": self._count(Upload, "state", UploadState),
            "tasks": self._count(Task, "state", TaskState),
            "runs": self._count(TrainingRun, "state", RunState),
            "evaluations": self._count(Evaluation, "state", EvaluationState),
            "verdicts": self._count(GateReport, "verdict", Verdict),
        }
        alive = {"workers": workers_alive(), "model_server": serving.is_up()}
        return Response({**counted, "lines": self.rows(Line).count(), **alive})

    def _count(self, model: Any, field: str, names: Any) -> dict[str, int]:
        found = dict(self.rows(model).order_by().values_list(field).annotate(n=Count("pk")))
        return {name: found.get(name, 0) for name in names}


def workers_alive() -> int:
    """How many job workers answer a ping; 0 also when the broker is down."""
    return int(cache.get_or_set("workers-alive", _ping, WORKERS_KNOWN_FOR_SECONDS) or 0)


def _ping() -> int:
    try:
        return len(current_app.control.ping(timeout=PING_SECONDS) or [])
    except (OperationalError, OSError):
        return 0
