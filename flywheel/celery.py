"""The Celery app. Its settings are Django's CELERY_*; its jobs are the `jobs` modules of the installed apps."""

import os
from logging.config import dictConfig

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flywheel.settings")

app = Celery("flywheel")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(related_name="jobs")


@setup_logging.connect
def log_as_the_settings_say(**_: object) -> None:
    """Celery would otherwise replace Django's handlers and write two lines for every wake-up, several a second."""
    from django.conf import settings

    dictConfig(settings.LOGGING)
