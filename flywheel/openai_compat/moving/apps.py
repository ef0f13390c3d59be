from django.apps import AppConfig


class MovingConfig(AppConfig):
    """An app for its command alone: it has no rows. The package above is none, because of its views called models.py,
    which Django would load at every start."""

    name = "flywheel.openai_compat.moving"
    label = "moving"
