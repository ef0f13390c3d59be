"""A shared directory with a run in it, and a fake cluster first on PATH."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.graders.judges import Endpoint, Judges
from tests.fakes import cluster as clusters
from tests.fakes.cluster import Cluster
from trainer import contract
from trainer.launchers.kubernetes import KubernetesLauncher
from trainer.launchers.payload import Payload
from trainer.launchers.protocol import Launcher
from trainer.launchers.skypilot import SkyPilotLauncher
from trainer.launchers.slurm import REPOSITORY, SlurmLauncher

SCHEDULERS = ("slurm", "kubernetes", "skypilot")
KEY = "sk-never-in-a-file"
BENCH = Judges({"*": Endpoint("https://judge.example/v1", KEY)})

Make = Callable[..., Launcher]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def shared_dir(data_dir: Path) -> Path:
    """A run directory under DATA_DIR."""
    directory = data_dir / "runs" / "run-0123456789abcdef0123456789abcdef"
    directory.mkdir(parents=True)
    (directory / "spec.json").write_bytes(contract.encode(contract.BaseSpec(steps=4)))
    return directory


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Jobs wait until the test moves them on."""
    return _first_on_path(clusters.install(tmp_path / "cluster"), monkeypatch)


@pytest.fixture
def working_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Jobs are really run."""
    return _first_on_path(clusters.install(tmp_path / "cluster", runs=True), monkeypatch)


def _first_on_path(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("PATH", f"{cluster.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return cluster


@pytest.fixture
def make(data_dir: Path) -> Make:
    """A launcher by its name, that asks its scheduler every time."""
    return lambda scheduler, **changes: launcher_on(data_dir, scheduler, **changes)


def launcher_on(data_dir: Path, scheduler: str, **changes: object) -> Launcher:
    payload = Payload(sys.executable, environment={"ENGINE_THREADS": "1"})
    common = {"payload": payload, "every_seconds": 0.0, **changes}
    elsewhere = {"data_dir": data_dir, "image": "registry.example/flywheel:1.0"}
    if scheduler == "slurm":
        return SlurmLauncher(**{"secrets": data_dir / "secrets", **common})  # type: ignore[arg-type]
    if scheduler == "kubernetes":
        return KubernetesLauncher(**{**elsewhere, "claim": "flywheel-data", **common})  # type: ignore[arg-type]
    return SkyPilotLauncher(**{**elsewhere, "storage": "flywheel", "directory": str(REPOSITORY), **common})  # type: ignore[arg-type]
