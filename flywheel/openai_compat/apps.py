from django.apps import AppConfig


class OpenAICompatConfig(AppConfig):
    """An app for its commands alone: it has no rows."""

    name = "flywheel.openai_compat"
    label = "openai_compat"
