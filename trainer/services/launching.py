"""The launcher that the settings name, and the directories that engines work in."""

import os
import shlex
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings

from tasks.graders.judges import Judges
from trainer.launchers.kubernetes import KubernetesLauncher
from trainer.launchers.local import LocalLauncher
from trainer.launchers.payload import Payload
from trainer.launchers.protocol import Handle, Launcher
from trainer.launchers.skypilot import SkyPilotLauncher
from trainer.launchers.slurm import SlurmLauncher

HANDED_ON = ("SANDBOX_LEVELS", "SANDBOX_WORKERS")  # an engine grades as the platform was told to


def launcher(judges: Judges | None = None) -> Launcher[Any]:
    """The one that ENGINE_LAUNCHER names. `judges`: those that an engine submitted here may ask."""
    return _LAUNCHERS[settings.ENGINE_LAUNCHER](judges)


def launcher_of(handle: Handle) -> Launcher[Any]:
    """The one that gave the handle: work that is under way when the settings change stays where it is."""
    return _LAUNCHERS[_tag(handle)](None)


def _tag(handle: Handle) -> str:
    return str(handle.__struct_config__.tag)


def _local(judges: Judges | None) -> LocalLauncher:
    return LocalLauncher(_command(), settings.ENGINE_GPUS, _told(), judges=judges)


def _told() -> dict[str, str]:
    """What an engine is told by its environment, wherever it runs."""
    told = {"ENGINE_THREADS": settings.ENGINE_THREADS, "ENGINE_VLLM_SERVER": settings.ENGINE_VLLM_SERVER}
    return {name: str(value) for name, value in told.items() if value}


def _slurm(judges: Judges | None) -> SlurmLauncher:
    return SlurmLauncher(
        payload=_payload(sys.executable),
        secrets=Path(settings.DATA_DIR) / "secrets",
        partition=settings.ENGINE_SLURM_PARTITION,
        account=settings.ENGINE_SLURM_ACCOUNT,
        qos=settings.ENGINE_SLURM_QOS,
        gpu_type=settings.ENGINE_GPU_TYPE,
        every_seconds=settings.ENGINE_POLL_SECONDS,
        judges=judges,
    )


def _kubernetes(judges: Judges | None) -> KubernetesLauncher:
    return KubernetesLauncher(
        data_dir=Path(settings.DATA_DIR),
        image=settings.ENGINE_IMAGE,
        claim=settings.ENGINE_KUBERNETES_CLAIM,
        namespace=settings.ENGINE_KUBERNETES_NAMESPACE,
        context=settings.ENGINE_KUBERNETES_CONTEXT,
        user=settings.ENGINE_KUBERNETES_USER,
        gpu_resource=settings.ENGINE_KUBERNETES_GPU,
        payload=_payload("python"),
        every_seconds=settings.ENGINE_POLL_SECONDS,
        judges=judges,
    )


def _skypilot(judges: Judges | None) -> SkyPilotLauncher:
    return SkyPilotLauncher(
        data_dir=Path(settings.DATA_DIR),
        image=settings.ENGINE_IMAGE,
        storage=settings.ENGINE_SKYPILOT_STORAGE,
        infra=settings.ENGINE_SKYPILOT_INFRA,
        gpu_type=settings.ENGINE_GPU_TYPE,
        spot=settings.ENGINE_SKYPILOT_SPOT,
        payload=_payload("/app/.venv/bin/python"),  # the image's; SkyPilot's shells do not promise its PATH
        every_seconds=settings.ENGINE_POLL_SECONDS,
        judges=judges,
    )


_LAUNCHERS: dict[str, Callable[[Judges | None], Launcher[Any]]] = {
    "local": _local,
    "slurm": _slurm,
    "skypilot": _skypilot,
    "kubernetes": _kubernetes,
}


def _payload(python: str) -> Payload:
    """For another machine: nothing of this one's environment but what an engine is to know."""
    environment = _told() | {name: os.environ[name] for name in HANDED_ON if os.environ.get(name)}
    return Payload(
        python=python,
        command=_command(),
        gpus=settings.ENGINE_GPUS,
        cpus=settings.ENGINE_CPUS,
        memory_gb=settings.ENGINE_MEMORY_GB,
        time_limit_minutes=settings.ENGINE_TIME_LIMIT_MINUTES,
        environment=environment,
    )


def _command() -> tuple[str, ...]:
    """ENGINE_COMMAND replaces `python -m trainer.engine`; its last argument is the run directory."""
    return tuple(shlex.split(settings.ENGINE_COMMAND))


def new_directory(kind: str) -> str:
    """A name for a run directory; the directory itself is made when its inputs are written."""
    return f"{kind}-{uuid.uuid4().hex}"


def path_of(directory: str) -> Path:
    return Path(settings.DATA_DIR) / "runs" / directory
