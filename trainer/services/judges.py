"""Served models as judges: by their public names, for the team on whose behalf is graded."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from django.conf import settings
from django.db import connection

from tasks.graders import judges
from tasks.graders.judges import Endpoint, Judges
from trainer.models import Line, ModelVersion
from trainer.services import serving


def served(model: str, team_id: int | None) -> Endpoint | None:
    """The model server, asked for the version behind a public name; None where the team has no such model."""
    if not settings.DATABASE_CONFIGURED:  # `manage.py grade` runs without one
        return None
    with _no_connection_left_behind():
        version = serving.version_of(model, Line.objects.for_team(team_id))
        return _endpoint(version) if version else None


@contextmanager
def _no_connection_left_behind() -> Iterator[None]:
    """Graders are also tried in threads that end; a connection that such a thread opened would be lost to the pool."""
    mine = connection.connection is None
    try:
        yield
    finally:
        if mine and not connection.in_atomic_block:
            connection.close()


def for_engine(team_id: int | None) -> Judges:
    """All judges that an engine may need. It has no database: names keep the version that they mean now."""
    known = judges.current()
    patterns = {pattern: endpoint for pattern, endpoint in known.endpoints.items() if pattern != "*"}
    names = serving.names_among(Line.objects.for_team(team_id))
    ours = {public.name: _endpoint(public.version) for public in names if public.name not in patterns}
    last = {"*": known.endpoints["*"]} if "*" in known.endpoints else {}
    return msgspec.structs.replace(known, endpoints={**patterns, **ours, **last})


def _endpoint(version: ModelVersion) -> Endpoint:
    url = f"{settings.MODEL_SERVER_URL.rstrip('/')}/v1"
    return Endpoint(url, settings.MODEL_SERVER_TOKEN, serving.served_name(version))
