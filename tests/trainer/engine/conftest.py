"""A base model of a few thousand weights, built once, and run directories to put it to work in."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from trainer.contract import BaseSpec, ModelRef, Result, Spec, TrainSpec, encode
from trainer.runspec import RunSpec

REPOSITORY = Path(__file__).parents[3]
NUMBER = {"type": "number", "reference": "{{ item.reference }}"}
BASE = BaseSpec(seed=1, steps=20, batch_size=16, vocabulary=280, hidden=32, layers=1, heads=2)

Lines = Iterable[Mapping[str, Any]]
Prepare = Callable[..., Path]


def prompt_line(number: int, **changes: Any) -> dict[str, Any]:
    """A task whose answer is its own number; a hundred of them make a file."""
    return {
        "key": f"{number:032x}",
        "messages": [{"role": "user", "content": f"Say {number}"}],
        "item": {"reference": number % 10},
        "grader": NUMBER,
        "domain": "echo" if number % 2 else "parrot",
        **changes,
    }


def demonstration_lines() -> Lines:
    return [
        {"messages": [{"role": "user", "content": f"Say {n}"}], "completion": str(n % 10 if n % 3 else 7)}
        for n in range(100)
    ]


def prepare(directory: Path, spec: Spec, **files: Lines) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "spec.json").write_bytes(encode(spec))
    for name, lines in files.items():
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return directory


def start_engine(directory: Path, **environment: str) -> "subprocess.Popen[bytes]":
    """Its words go to engine.log, as the launcher has it: a pipe that nobody reads would stop it when full."""
    with (directory / "engine.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "trainer.engine", str(directory)],
            cwd=REPOSITORY,
            env={**os.environ, "ENGINE_THREADS": "1", **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def run_engine(directory: Path) -> Result:
    """Start the engine as the launcher does and read what it left."""
    engine = start_engine(directory)
    assert engine.wait() in (0, 1), (directory / "engine.log").read_text()
    return msgspec.json.decode((directory / "result.json").read_bytes(), type=Result)


def train_spec(model: ModelRef, *, attempt: int = 1, grader: dict[str, Any] | None = None, **recipe: Any) -> TrainSpec:
    small = {
        "steps": 4,
        "prompts_per_step": 4,
        "group_size": 4,
        "max_completion_tokens": 4,
        "learning_rate": 1e-2,
        "save_every": 2,
        "measure_every": 2,
        "validation_prompts": 8,
        "probe_prompts": 8,
        "guard": False,  # so small a model at so high a rate sets off every alarm
    }
    return TrainSpec(run="r", model=model, recipe=RunSpec(**{**small, **recipe}), grader=grader, attempt=attempt)


def prepare_training(directory: Path, spec: TrainSpec, lines: Lines | None = None) -> Path:
    return prepare(
        directory,
        spec,
        train=lines or [prompt_line(number) for number in range(40)],
        validation=[prompt_line(number) for number in range(50, 60)],
        probe=[prompt_line(number) for number in range(60, 70)],
    )


@pytest.fixture(scope="session")
def base_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainer.engine import base
    from trainer.engine.progress import Progress

    directory = prepare(tmp_path_factory.mktemp("base"), BASE, demonstrations=demonstration_lines())
    with Progress(directory, 1) as progress:
        base.build(BASE, directory, progress)
    return directory


@pytest.fixture(scope="session")
def tiny(base_directory: Path) -> ModelRef:
    from trainer.engine.checkpoints import read_manifest

    model = base_directory / "model"
    return ModelRef(path=str(model), digest=read_manifest(model).digest, name="tiny")
