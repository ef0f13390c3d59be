"""A line with a base, approved tasks and a fake engine: the model side without torch and without an import."""

import json
import sys
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import pytest

from tasks.models import Dataset, DatasetTask, Grader, Task, Team, Upload, User
from tasks.services import accounts, datasets
from tasks.states import Role, Split, TaskState, UploadState
from trainer.models import BaseBuild, Line
from trainer.services import artifacts, bases, lines

FAKE_ENGINE = Path(__file__).parents[2] / "fakes" / "engine.py"
DOMAINS = ("add", "reverse")


@pytest.fixture
def knobs(settings: object, tmp_path: Path) -> Callable[..., None]:
    """Sets the fake engine's knobs; the engine is the fake one from now on."""
    path = tmp_path / "knobs.json"
    path.write_text("{}")
    settings.ENGINE_COMMAND = f"{sys.executable} {FAKE_ENGINE} --knobs {path}"  # type: ignore[attr-defined]
    settings.DATA_DIR = tmp_path / "data"  # type: ignore[attr-defined]

    def turn(**values: object) -> None:
        path.write_text(json.dumps(values))

    return turn


@pytest.fixture
def operator(db: None) -> User:
    user = User.objects.create_user("olga", password="long-enough-1")
    for role in (Role.OPERATOR, Role.REVIEWER, Role.ADMINISTRATOR):
        accounts.join(accounts.pool(), user, role, actor=None)
    return user


@pytest.fixture
def stranger(db: None) -> User:
    user = User.objects.create_user("sam", password="long-enough-1")
    accounts.create_team("Sam's", actor=user)
    return user


@pytest.fixture
def team(db: None) -> Team:
    contributor = User.objects.create_user("ada", password="long-enough-1")
    return accounts.create_team("Ada's", actor=contributor)


@pytest.fixture
def contributor(team: Team) -> User:
    return User.objects.get(username="ada")


@pytest.fixture
def fill(team: Team) -> Callable[..., Dataset]:
    """Makes a dataset with approved tasks, as an import, a proof and a review would have left them."""

    def make(
        name: str = "sums",
        *,
        visibility: str = "contributed",
        train: int = 60,
        sealed: int = 30,
        validation: int = 10,
        domains: tuple[str, ...] = DOMAINS,
        state: TaskState = TaskState.APPROVED,
        owner: Team | None = None,
        slug: str = "",
    ) -> Dataset:
        owner = owner or team
        dataset = datasets.create(
            owner,
            name,
            actor=None,
            slug=slug,
            visibility=visibility,
            licence="CC0-1.0" if visibility == "contributed" else "",
            consent_version=datasets.CONSENT_VERSION if visibility == "contributed" else "",
        )
        upload = Upload.objects.create(
            team=owner,
            dataset=dataset,
            filename="f.jsonl",
            sha256=f"{dataset.pk:064d}",
            bytes=1,
            state=UploadState.IMPORTED,
        )
        grader, _ = Grader.objects.get_or_create(
            digest="n" * 64, type="number", config={"type": "number", "reference": "{{ item.reference }}"}
        )
        line = 0
        for domain in domains:
            for split, count in ((Split.TRAIN, train), (Split.SEALED, sealed), (Split.VALIDATION, validation)):
                for i in range(count):
                    line += 1
                    key = md5(f"{dataset.pk}{domain}{split}{i}".encode()).hexdigest()
                    task = Task.objects.create(
                        space=dataset.space,
                        state=state,
                        messages=[{"role": "user", "content": f"{domain} {key}"}],
                        item={"reference": str(i)},
                        grader=grader,
                        domain=domain,
                        exact_key=key,
                        answer_digest=f"{i:032x}",
                        number_signature="0" * 16,
                        template="0" * 32,
                        content_digest=f"{key:0>64}",
                        norm_version=1,
                        split=split,
                    )
                    DatasetTask.objects.create(dataset=dataset, task=task, upload=upload, line=line)
        return dataset

    return make


@pytest.fixture
def unbuilt_line(knobs: Callable[..., None], operator: User, settings: object) -> Line:
    """A shared line whose base waits for the engine."""
    data_dir: Path = settings.DATA_DIR / "demonstrations"  # type: ignore[attr-defined]
    data_dir.mkdir(parents=True, exist_ok=True)
    demonstration = {"messages": [{"role": "user", "content": "1+1"}], "completion": "2"}
    (data_dir / "flawed.jsonl").write_text(json.dumps(demonstration) + "\n")
    return lines.create_shared("Flywheel", "shared", actor=operator, demonstrations="flawed.jsonl")


@pytest.fixture
def line(unbuilt_line: Line, tmp_path: Path) -> Line:
    """A shared line with version 0, registered as a finished build leaves it."""
    source = tmp_path / "base"
    source.mkdir()
    header = b'{"weight":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    (source / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"base")
    (source / "config.json").write_text("{}")
    (source / "tokenizer.json").write_text("{}")
    bases.register_base(unbuilt_line, artifacts.take_in(source), origin="test")
    BaseBuild.objects.filter(line=unbuilt_line).update(state="succeeded")
    return unbuilt_line
