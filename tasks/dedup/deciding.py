"""Which rows of a chunk are new tasks, which are tasks that are there, and which contradict one. Pure.

A row looks at what is older: tasks that are stored, and rows before it. So the answer does not depend on how a file is
cut into chunks.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.states import TaskState

_GONE = (TaskState.WITHDRAWN, TaskState.REJECTED)  # contradicts nobody any more


class Stored(NamedTuple):
    """A task that has the prompt of a row."""

    id: int
    answer: bytes
    grader: str | None  # digest
    state: str
    split: str


@dataclass(slots=True)
class Exact:
    """By row of the chunk."""

    tasks: list[int]  # id of the stored task that the row is; 0: none, its task is new
    firsts: list[int]  # the row of the chunk that brings its task: itself, or an earlier one; -1: its task is stored
    new: list[int] = field(default_factory=list)  # rows that bring tasks, in order
    clashing: set[int] = field(default_factory=set)  # of them, those that contradict a task, older or newer
    contradicting: set[int] = field(default_factory=set)  # of them, those that contradict an older one


def exact(
    keys: Sequence[bytes],
    answers: Sequence[bytes],
    graders: Sequence[str | None],
    known: Mapping[bytes, Sequence[Stored]],
    refused: Collection[int],
) -> Exact:
    """Compare rows by key, answer and grader. `known`: live tasks by key; `refused`: rows that become nothing."""
    found = Exact([0] * len(keys), [-1] * len(keys))
    brought: dict[bytes, list[int]] = {}  # new tasks of the chunk by key
    for row, key in enumerate(keys):
        if row in refused:
            continue
        stored, earlier = known.get(key, ()), brought.get(key)
        same = next((task.id for task in stored if (task.answer, task.grader) == (answers[row], graders[row])), 0)
        if same:
            found.tasks[row] = same
            continue
        if earlier is None:
            found.firsts[row] = row
            brought[key] = [row]
        else:
            twin = (one for one in earlier if (answers[one], graders[one]) == (answers[row], graders[row]))
            found.firsts[row] = next(twin, row)
            if found.firsts[row] != row:
                continue
            others = [one for one in earlier if answers[one] != answers[row]]
            earlier.append(row)
            if others:
                found.contradicting.add(row)
                found.clashing.update((row, *others))
        found.new.append(row)
        if any(task.answer != answers[row] and task.state not in _GONE for task in stored):
            found.contradicting.add(row)
            found.clashing.add(row)
    return found
