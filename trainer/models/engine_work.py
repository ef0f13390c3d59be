"""What a row needs to be carried out by an engine process: lease, attempt (fencing), handle, progress."""

from typing import Any

from django.db import models

from tasks.models.moves import StateModel


class EngineWork(StateModel):
    """Abstract. Every write of a claimed attempt says WHERE id AND attempt = n, a fenced attempt changes none."""

    attempt = models.PositiveIntegerField(default=0)
    tries = models.PositiveIntegerField(default=0)  # attempts since the engine last stopped in good order
    lease_until = models.DateTimeField(null=True, blank=True)
    launcher = models.CharField(max_length=20, default="local")
    handle = models.JSONField(null=True, blank=True)  # the launcher's, as it gave it
    directory = models.CharField(max_length=200, blank=True)  # under DATA_DIR/runs
    phase = models.CharField(max_length=20, blank=True)
    step = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField(default=0)
    peak_memory_bytes = models.BigIntegerField(default=0)
    error = models.JSONField(null=True, blank=True)  # trainer.contract.EngineFault
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def owner_team_id(self) -> int | None:
        line: Any = getattr(self, "line", None)
        return line.team_id if line is not None else None
