"""Which checkpoints of a run stand: the newest, the best, the last healthy one; and what the run went back on.

A run that goes back writes that down first (rollbacks.json) and removes what lies past the point afterwards. A
checkpoint belongs to a branch, the number of rollbacks before it was written; it stands if no later rollback went back
past it.
A kill between the two steps therefore leaves nothing that a later attempt could take for its own.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from trainer.engine import checkpoints, ranks
from trainer.engine.run import STATE, State

LEVEL_ERRORS = 1.0  # standard errors below the best within which a later measurement is as good
NEWEST = 2  # the newest, and the one before it for the case that the newest is damaged


class Rollback(msgspec.Struct, frozen=True):
    from_step: int
    to_step: int  # 0: the starting weights
    kind: str  # of the alarm
    tokens: int = 0  # spent when the run went back: they stay spent
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    directory: Path
    step: int
    state: State


class History:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "rollbacks.json"
        self._sound: dict[Path, Checkpoint] = {}  # checked once: hashing gigabytes at every save would cost minutes

    def rollbacks(self) -> list[Rollback]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[Rollback])
        except FileNotFoundError:
            return []

    def standing(self) -> list[Checkpoint]:
        """Sound checkpoints of this run's course, newest first. Those that it went back on are removed."""
        rollbacks = self.rollbacks()
        found = []
        for directory in sorted(self._root.glob("step-*"), key=checkpoints.step_of, reverse=True):
            checkpoint = self._sound.get(directory) or self._checked(directory)
            if checkpoint is None:
                continue  # truncated or bit-flipped
            if _stands(checkpoint, rollbacks):
                found.append(checkpoint)
            else:
                self._remove(directory)
        return found

    def written(self, directory: Path, state: State) -> None:
        """This process has just published a checkpoint: its hashes need no second look."""
        step = checkpoints.step_of(directory)
        self._sound[directory] = Checkpoint(
            directory, step, msgspec.json.decode(msgspec.json.encode(state), type=State)
        )

    def _checked(self, directory: Path) -> Checkpoint | None:
        manifest = checkpoints.verified(directory)
        if manifest is None:
            return None
        self._sound[directory] = Checkpoint(directory, manifest.step, _state(directory))
        return self._sound[directory]

    def _remove(self, directory: Path) -> None:
        self._sound.pop(directory, None)
        if ranks.first():
            shutil.rmtree(directory)

    def go_back(self, from_step: int, kind: str, spent: State) -> Checkpoint | None:
        """Record that the run returns to its last healthy checkpoint, and return that; None: to the very start."""
        if ranks.first():
            healthy = self.last_healthy()
            entry = Rollback(from_step, healthy.step if healthy else 0, kind, spent.tokens, spent.seconds)
            self._root.mkdir(parents=True, exist_ok=True)
            checkpoints.write_durably(self._path, msgspec.json.encode([*self.rollbacks(), entry]))
        told = ranks.told_by_first(self.rollbacks())  # the others must not read before the first has written
        return next((found for found in self.standing() if found.step == told[-1].to_step), None)

    def best(self, *, latest: bool = False) -> Checkpoint | None:
        """The healthy checkpoint with the best validation reward; of equals the later.

        `latest`: the newest of those that validation cannot tell from the best, within one standard error.
        """
        measured = self._measured()
        if not measured or not latest:
            return measured[0] if measured else None
        level = [found for found in measured if found.step > measured[0].step and found.state.behind <= LEVEL_ERRORS]
        return max([measured[0], *level], key=lambda found: found.step)

    def _measured(self) -> list[Checkpoint]:
        """The healthy ones with a validation reward, best first."""
        found = [one for one in self.standing() if one.state.healthy and one.state.validation is not None]
        return sorted(found, key=lambda one: (one.state.validation, one.step), reverse=True)

    def last_healthy(self) -> Checkpoint | None:
        """Of those that the run would have without any pause: it must go back to the same one."""
        return next((found for found in self.standing() if _returnable(found)), None)

    def prune(self, keep_best: int, *, latest: bool = False) -> None:
        """Keep the newest two, the last healthy one and the best by validation; the damaged go with the others.

        A snapshot of a pause counts only while it is the newest: what is kept must not depend on who paused a run.
        `latest`: also the one that `best` would choose so.
        """
        standing = self.standing()
        best = self._measured()[:keep_best]
        if latest and best and (chosen := self.best(latest=True)):
            best.append(chosen)
        healthy = [found for found in standing if _returnable(found)][:1]
        newest = [found for found in standing if found.state.scheduled][:NEWEST]
        kept = {found.directory for found in (*standing[:1], *newest, *best, *healthy)}
        if len(standing) < NEWEST:
            return  # a damaged one stays until enough sound ones have come after it
        for directory in self._root.glob("step-*"):
            if directory not in kept:
                self._remove(directory)


def _state(directory: Path) -> State:
    return msgspec.json.decode((directory / STATE).read_bytes(), type=State)


def _returnable(checkpoint: Checkpoint) -> bool:
    return checkpoint.state.healthy and checkpoint.state.scheduled


def _stands(checkpoint: Checkpoint, rollbacks: list[Rollback]) -> bool:
    return all(checkpoint.step <= later.to_step for later in rollbacks[checkpoint.state.rollbacks :])
