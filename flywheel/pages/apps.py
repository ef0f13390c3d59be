from django.apps import AppConfig


class PagesConfig(AppConfig):
    name = "flywheel.pages"
    label = "pages"
