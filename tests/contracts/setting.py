"""What a live server holds before anybody calls: a small model that really answers, and people with keys.

`python -m tests.contracts.setting FOLDER`, inside the stack: writes FOLDER/told.json, then waits until it is ended.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import django

MAJORS = ("1", "2", "3")
SEEDS = {"base": 11, "better": 12, "trained": 13}
VOCABULARY = 300  # every byte: an answer can be any JSON


def main(folder: Path) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flywheel.settings")
    django.setup()
    from tests import cast

    models = {name: _model(folder / "models" / name, seed) for name, seed in SEEDS.items()}
    _base(models["base"])
    people = {major: _person(f"own-{major}", models["better"]) for major in MAJORS}
    told = {
        "base_url": f"{os.environ['WEB_URL']}/openai/v1",
        "api_url": f"{os.environ['WEB_URL']}/api/v1",
        "stranger": cast.of_own_team("stranger").secret,
        "people": people,
    }
    _knobs(folder / "knobs.json", models["trained"])
    (folder / "told.partial").write_text(json.dumps(told))
    (folder / "told.partial").replace(folder / "told.json")
    signal.pause()


def _model(path: Path, seed: int) -> Path:
    import torch

    from tests.fakes.tiny_model import make_model, make_tokenizer

    torch.set_num_threads(1)
    tokenizer = make_tokenizer(VOCABULARY)
    make_model(len(tokenizer), seed).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def _base(model: Path) -> None:
    """The shared line, whose champion is what everybody starts from."""
    from tests import cast
    from trainer.models import Line
    from trainer.services import artifacts, bases
    from trainer.states import LinePurpose

    team = cast.of_the_pool("operator", "operator").team
    line = Line.objects.create(team=team, slug="shared", name="Shared", purpose=LinePurpose.SHARED)
    bases.register_base(line, artifacts.take_in(model), origin="built locally")


def _person(name: str, better: Path) -> dict[str, Any]:
    """A team's keys, and a line of its own whose version 1 waits to be promoted."""
    from tasks.states import Scope
    from tests import cast
    from trainer.models import ModelVersion
    from trainer.services import artifacts, lines
    from trainer.services.lines import shared_line
    from trainer.states import AliasName

    person = cast.of_own_team(name)
    line = lines.create_expert(person.team, "moving", shared_line().alias(AliasName.CHAMPION), actor=person.user)
    manifest = artifacts.take_in(better)
    waiting = ModelVersion.objects.create(line=line, number=1, digest=manifest.digest, origin="trained elsewhere")
    scopes = {"reader": [Scope.READ], "writer": [Scope.READ, Scope.WRITE], "trainer": [Scope.READ, Scope.TRAIN]}
    return {
        "team": person.team.slug,
        "key": person.secret,
        **{kind: cast.key(person.user, person.team, allowed) for kind, allowed in scopes.items()},
        "line": line.slug,
        "line_id": line.pk,
        "waiting": waiting.pk,
    }


def _knobs(path: Path, model: Path) -> None:
    """By the seed that a job asks for: how its engine behaves."""
    by_seed = {
        "60": {"seconds": 60},  # time enough to pause or cancel it
        "5": {"fail": "training"},
        "6": {"alarms": [{"step": 2, "kind": "kl", "level": "warn"}]},
    }
    path.write_text(json.dumps({"model": str(model), "seconds": 0.2, "by_seed": by_seed}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
