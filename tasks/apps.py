from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class TasksConfig(AppConfig):
    name = "tasks"
    verbose_name = "Data side"

    def ready(self) -> None:
        post_migrate.connect(_keep_system_team, sender=self)


def _keep_system_team(**_: Any) -> None:
    """The shared pool's owner exists in every migrated database, also in one whose rows were flushed."""
    from django.db import connection

    from tasks.services.accounts import ensure_pool

    if "tasks_team" in connection.introspection.table_names():  # not so after `migrate tasks zero`
        ensure_pool()
