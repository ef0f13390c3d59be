from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured

from tasks.graders import judges
from tasks.graders.judges import Endpoint


class TrainerConfig(AppConfig):
    name = "trainer"
    verbose_name = "Model side"

    def ready(self) -> None:
        judges.resolve_with(_served)
        try:
            judges.of_this_process()
        except ValueError as nonsense:
            raise ImproperlyConfigured(str(nonsense)) from None


def _served(model: str, team_id: int | None) -> Endpoint | None:
    from trainer.services.judges import served  # the models are loaded by now

    return served(model, team_id)
