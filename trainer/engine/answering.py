"""Many tasks answered chunk by chunk, graded as they come, and kept in a file that a kill leaves usable.

Evaluation and difficulty share this. A chunk is one pass of the model over tasks of like length, with a seed of its
own; chunks come in the same order on every attempt. After a kill whole chunks are kept, a torn tail is cut off, and
work goes on from there: nothing is answered twice and no line is doubled.
"""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.crash import crash_point
from tasks.types import Grade
from trainer import rewards
from trainer.contract import EvalItem, PromptItem, Sampling, encode
from trainer.engine import loading, sampling
from trainer.engine.progress import Progress
from trainer.engine.sampling import Answer

ANSWERS_AT_ONCE = 512  # rows of one generate call for models up to SMALL parameters
SMALL = 50_000_000
ANSWERS_AT_ONCE_LARGE = 64

Item = TypeVar("Item", PromptItem, EvalItem)
Line = TypeVar("Line", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Chunk(Generic[Item]):
    """Items answered in one pass. `seed` belongs to the items, not to the model: two models meet the same noise."""

    items: Sequence[Item]
    seed: int


def chunks(items: Sequence[Item], drawn_as: Sampling, answers_at_once: int) -> list[Chunk[Item]]:
    """The items by length of prompt, so that a pass pads little; the same on every attempt.

    The first item's key is in a chunk's seed: chunks of several suites, which all begin at 0, must not meet the same
    noise, or their items would stand and fall together.
    """
    ordered = sorted(items, key=lambda item: (sum(len(m.content) for m in item.messages), item.key))
    size = max(1, answers_at_once // drawn_as.answers_per_item)
    return [
        Chunk(ordered[at : at + size], _seed(drawn_as.seed, at, ordered[at].key)) for at in range(0, len(ordered), size)
    ]


def _seed(seed: int, at: int, first: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{at}/{first}".encode()).digest()[:4], "big")


def answers_at_once(model: PreTrainedModel) -> int:
    return ANSWERS_AT_ONCE if loading.parameters(model) <= SMALL else ANSWERS_AT_ONCE_LARGE


def require_room(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Sequence[Item], drawn_as: Sampling
) -> None:
    sampling.require_room(model, _encoded(tokenizer, items), drawn_as.max_completion_tokens)


def answered(
    chunk: Chunk[Item], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, drawn_as: Sampling
) -> list[tuple[Item, int, Answer, Grade]]:
    """(item, which of its answers, the answer, its grade), items in the chunk's order."""
    settings = msgspec.structs.replace(drawn_as, seed=chunk.seed)
    answers = sampling.draw(model, tokenizer, _encoded(tokenizer, chunk.items), settings)
    given = [
        (item, k, answer)
        for item, several in zip(chunk.items, answers, strict=True)
        for k, answer in enumerate(several)
    ]
    grades = rewards.grade_rollouts(
        [answer.text for _, _, answer in given],
        [item.item for item, _, _ in given],
        [item.grader for item, _, _ in given],
    )
    return [(item, k, answer, grade) for (item, k, answer), grade in zip(given, grades, strict=True)]


def _encoded(tokenizer: PreTrainedTokenizerBase, items: Sequence[Item]) -> list[list[int]]:
    return sampling.encode(tokenizer, [item.messages for item in items])


class ChunkFile(Generic[Line]):
    """Lines that grow chunk by chunk in a fixed order, opened where the last attempt left them."""

    def __init__(self, path: Path, kind: type[Line], progress: Progress) -> None:
        self._path, self._progress = path, progress
        self._kept: list[Line] | None = _whole_lines(path, kind)  # None: past what the last attempt left
        self._at = 0  # of the kept lines, how many this attempt has walked past

    def kept(self, expected: Sequence[Hashable], name: Callable[[Line], Hashable]) -> Sequence[Line] | None:
        """The next kept lines where they are exactly this chunk; at the first that is not, the rest is cut off."""
        if self._kept is None:
            return None
        found = self._kept[self._at : self._at + len(expected)]
        if [name(line) for line in found] != list(expected):
            self._cut(self._kept[: self._at])
            return None
        self._at += len(expected)
        return found

    def add(self, lines: Sequence[Line], *, then: Callable[[Sequence[Line]], None]) -> None:
        self._progress.require_own_attempt()
        with self._path.open("ab") as file:
            file.write(b"".join(encode(line) + b"\n" for line in lines))
        then(lines)
        crash_point(f"{self._path.stem}.after_chunk")

    def _cut(self, whole: Sequence[Line]) -> None:
        self._kept = None
        self._progress.require_own_attempt()
        partial = self._path.with_name(f"{self._path.name}.partial")
        partial.write_bytes(b"".join(encode(line) + b"\n" for line in whole))
        partial.replace(self._path)


def _whole_lines(path: Path, kind: type[Line]) -> list[Line]:
    """The lines before the first that is torn or unreadable."""
    found: list[Line] = []
    if path.is_file():
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                found.append(msgspec.json.decode(line, type=kind))
            except msgspec.DecodeError:
                break
    return found
