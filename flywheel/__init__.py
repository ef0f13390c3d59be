"""Importing the Celery app here makes every shared_task belong to it; without it they would go to a default broker."""

from flywheel.celery import app as celery_app

__all__ = ["celery_app"]
