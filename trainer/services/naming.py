"""Names of what runs made: ft:BASE:TEAM:SUFFIX:RUN, and of a checkpoint on the way with :ckpt-step-N behind it.

The last part says which run it is; the others are for people, and a name of which one is wrong names nothing.
"""

import re
from dataclasses import dataclass

from trainer.models import RunCheckpoint, TrainingRun

PREFIX = "ft:"
_NAME = re.compile(r"ft:(?P<head>.+):(?P<run>[0-9a-f]{8,16})(?P<checkpoint>:ckpt-step-(?P<step>\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class Named:
    """What a name of this form says. Whether it is that run's whole name is for the caller to see."""

    run: int
    step: int | None  # of a checkpoint


def of_run(run: TrainingRun) -> str:
    """What the run's version is called, before there is one too."""
    return f"{PREFIX}{base_of(run)}:{run.line.team.slug}:{run.suffix}:{run.pk:08x}"


def of_checkpoint(checkpoint: RunCheckpoint) -> str:
    return f"{of_run(checkpoint.run)}:ckpt-step-{checkpoint.step}"


def asked_model(run: TrainingRun) -> str:
    """The model that the run starts from, by the name that it was asked for with."""
    return str(run.asked.get("echo", {}).get("model") or run.start.name)


def base_of(run: TrainingRun) -> str:
    """Of a run that goes on from what another one made, that one's base."""
    return asked_model(run).removeprefix(PREFIX).partition(":")[0]


def read(name: str) -> Named | None:
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return Named(int(found["run"], 16), None if found["step"] is None else int(found["step"]))
