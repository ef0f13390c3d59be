"""The settings of launchers: what they refuse, and what becomes of them."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from trainer.launchers.kubernetes import KubernetesLauncher
from trainer.launchers.local import REPOSITORY, LocalLauncher
from trainer.launchers.protocol import KubernetesHandle, LocalHandle, SkyPilotHandle, SlurmHandle
from trainer.launchers.skypilot import SkyPilotLauncher
from trainer.launchers.slurm import SlurmLauncher
from trainer.services import launching


def read_settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, Any]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(REPOSITORY / "flywheel" / "settings.py"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENGINE_LAUNCHER", "ray"),
        ("ENGINE_GPUS", "two"),
        ("ENGINE_GPUS", "-1"),
        ("ENGINE_TIME_LIMIT_MINUTES", "1:00:00"),
        ("ENGINE_MEMORY_GB", "16G"),
        ("ENGINE_GPU_TYPE", "H100:8"),
        ("ENGINE_IMAGE", "flywheel latest"),
        ("ENGINE_IMAGE", "--privileged"),
        ("ENGINE_SLURM_PARTITION", "gpu\n#SBATCH --wrap=reboot"),
        ("ENGINE_SLURM_ACCOUNT", "a b"),
        ("ENGINE_SLURM_QOS", "-x"),
        ("ENGINE_KUBERNETES_NAMESPACE", "Training"),
        ("ENGINE_KUBERNETES_CLAIM", "data_claim"),
        ("ENGINE_KUBERNETES_CONTEXT", "--kubeconfig=x"),
        ("ENGINE_KUBERNETES_USER", "0"),
        ("ENGINE_KUBERNETES_GPU", "gpu"),
        ("ENGINE_SKYPILOT_INFRA", "AWS east"),
        ("ENGINE_SKYPILOT_STORAGE", "ftp://bucket"),
        ("ENGINE_POLL_SECONDS", "0"),
    ],
)
def test_nonsense_is_refused_with_the_name_of_the_setting(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} must be"):
        read_settings(monkeypatch, **{name: value})


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"ENGINE_LAUNCHER": "kubernetes"}, "ENGINE_IMAGE"),
        ({"ENGINE_LAUNCHER": "kubernetes", "ENGINE_IMAGE": "flywheel:1"}, "ENGINE_KUBERNETES_CLAIM"),
        ({"ENGINE_LAUNCHER": "skypilot", "ENGINE_IMAGE": "flywheel:1"}, "ENGINE_SKYPILOT_STORAGE"),
        (
            {
                "ENGINE_LAUNCHER": "skypilot",
                "ENGINE_IMAGE": "flywheel:1",
                "ENGINE_SKYPILOT_STORAGE": "s3://data",
                "ENGINE_GPUS": "1",
            },
            "ENGINE_GPU_TYPE",
        ),
    ],
)
def test_what_a_launcher_cannot_do_without_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], missing: str
):
    with pytest.raises(ImproperlyConfigured, match=f"^Set {missing}: "):
        read_settings(monkeypatch, **given)


@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_the_other_launchers_need_no_more_than_their_name(monkeypatch: pytest.MonkeyPatch, launcher: str):
    assert read_settings(monkeypatch, ENGINE_LAUNCHER=launcher)["ENGINE_LAUNCHER"] == launcher


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("local", LocalLauncher),
        ("slurm", SlurmLauncher),
        ("kubernetes", KubernetesLauncher),
        ("skypilot", SkyPilotLauncher),
    ],
)
def test_the_setting_names_the_launcher(settings: Any, name: str, kind: type):
    settings.ENGINE_LAUNCHER = name

    launcher = launching.launcher()

    assert isinstance(launcher, kind)
    assert launcher.name == name


@pytest.mark.parametrize(
    ("handle", "kind"),
    [
        (LocalHandle("here", 1, "b", 1), LocalLauncher),
        (SlurmHandle("1", "n", 1), SlurmLauncher),
        (KubernetesHandle("n", "default", 1), KubernetesLauncher),
        (SkyPilotHandle("n", 0.0, 1), SkyPilotLauncher),
    ],
)
def test_work_under_way_stays_with_the_launcher_that_started_it(settings: Any, handle: Any, kind: type):
    settings.ENGINE_LAUNCHER = "local" if kind is not LocalLauncher else "slurm"

    assert isinstance(launching.launcher_of(handle), kind)


@pytest.mark.parametrize(
    ("name", "python"), [("slurm", sys.executable), ("kubernetes", "python"), ("skypilot", "/app/.venv/bin/python")]
)
def test_an_image_brings_its_own_python(settings: Any, name: str, python: str):
    settings.ENGINE_LAUNCHER = name

    assert launching.launcher().payload.of(Path("/r")) == (python, "-m", "trainer.engine", "/r")  # type: ignore[attr-defined]


def test_an_engine_elsewhere_knows_of_this_environment_only_how_to_grade(
    settings: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SECRET_KEY", "the-platforms-own")
    monkeypatch.setenv("SANDBOX_LEVELS", "landlock")
    settings.ENGINE_LAUNCHER, settings.ENGINE_THREADS = "kubernetes", 3

    variables = launching.launcher().payload.variables()  # type: ignore[attr-defined]

    assert variables.items() >= {"SANDBOX_LEVELS": "landlock", "ENGINE_THREADS": "3"}.items()
    assert "the-platforms-own" not in variables.values()


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_every_engine_learns_which_server_draws_for_it(settings, name):
    settings.ENGINE_LAUNCHER, settings.ENGINE_VLLM_SERVER = name, "http://gpu-1:8000"

    launcher = launching.launcher()
    told = launcher.environment if name == "local" else launcher.payload.variables()  # type: ignore[attr-defined]

    assert told["ENGINE_VLLM_SERVER"] == "http://gpu-1:8000"
