"""How difficult tasks are for a model: it answers each of them k times, and the grader says how often it is right.

answers.jsonl holds one line a task and grows chunk by chunk (see answering). What could not be graded has no score and
is never a zero; a task that the model has no room for is not asked. Where more than half of all answers cannot be
graded the measurement stops: a judge that is away would let the model work for hours for nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.types import Grade, Outcome
from trainer import rewards
from trainer.contract import PromptItem, SampleSpec, Sampling, TaskAnswers
from trainer.engine import answering, loading, rows, sampling
from trainer.engine.answering import Chunk, ChunkFile
from trainer.engine.faults import Fault, Stopped
from trainer.engine.progress import Progress
from trainer.engine.sampling import Answer

ERROR_BUDGET = 0.5  # share of all answers that may be ungradable: one broken dataset must not hold up the others
MOST_SHOWN = 300  # characters of an answer or of a fault that are kept


@dataclass(frozen=True, slots=True)
class Measured:
    tasks: int
    tokens: int


def measure(spec: SampleSpec, directory: Path, progress: Progress) -> Measured:
    """Every task of items.jsonl has its line in answers.jsonl afterwards."""
    items = rows.read(directory / "items.jsonl", PromptItem)
    model, tokenizer = loading.load(spec.model)
    answers = _Answers(directory / "answers.jsonl", progress, len(items) * spec.sampling.answers_per_item)
    progress.enter("sampling", total_steps=len(items))
    for chunk in answering.chunks(items, spec.sampling, answering.answers_at_once(model)):
        if progress.stop:
            raise Stopped
        if not answers.has(chunk):
            answers.add(_answered(chunk, model, tokenizer, spec.sampling))
        progress.step = answers.tasks
    return Measured(answers.tasks, answers.tokens)


def _answered(
    chunk: Chunk[PromptItem], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, drawn_as: Sampling
) -> list[TaskAnswers]:
    """A line an item, in the chunk's order."""
    room = loading.context_tokens(model) - drawn_as.max_completion_tokens
    prompts = sampling.encode(tokenizer, [item.messages for item in chunk.items])
    asked = [item for item, prompt in zip(chunk.items, prompts, strict=True) if len(prompt) <= room]
    given: dict[str, list[tuple[Answer, Grade]]] = {}
    if asked:
        for item, _, answer, grade in answering.answered(Chunk(asked, chunk.seed), model, tokenizer, drawn_as):
            given.setdefault(item.key, []).append((answer, grade))
    return [summary(item, given[item.key]) if item.key in given else _no_room(item, drawn_as) for item in chunk.items]


def summary(item: PromptItem, given: Sequence[tuple[Answer, Grade]]) -> TaskAnswers:
    """What several answers to one task come to."""
    wrong = Counter(_said(answer, grade) for answer, grade in given if grade.outcome is Outcome.INCORRECT)
    text, count = min(wrong.items(), key=lambda said: (-said[1], said[0])) if wrong else ("", 0)
    faults = [rewards.fault(item.grader, grade) for _, grade in given if rewards.reward(grade) is None]
    return TaskAnswers(
        key=item.key,
        scores=[rewards.reward(grade) for _, grade in given],
        passes=sum(grade.correct for _, grade in given),
        tokens=sum(len(answer.tokens) for answer, _ in given),
        truncated=sum(answer.truncated for answer, _ in given),
        wrong=text,
        wrong_count=count,
        fault=faults[0][:MOST_SHOWN] if faults else "",
    )


def _said(answer: Answer, grade: Grade) -> str:
    """What the grader read, where it read something: the same answer comes with many explanations."""
    return (grade.read if grade.read is not None else answer.text).strip()[:MOST_SHOWN]


def _no_room(item: PromptItem, drawn_as: Sampling) -> TaskAnswers:
    fault = f"The prompt and {drawn_as.max_completion_tokens} tokens for the answer exceed what the model can read."
    return TaskAnswers(item.key, [None] * drawn_as.answers_per_item, passes=0, tokens=0, fault=fault)


class _Answers:
    """answers.jsonl with what it counts: tasks, tokens, answers that could not be graded."""

    def __init__(self, path: Path, progress: Progress, expected: int) -> None:
        self._file = ChunkFile(path, TaskAnswers, progress)
        self._expected = expected
        self.tasks = 0
        self.tokens = 0
        self.errors = 0

    def has(self, chunk: Chunk[PromptItem]) -> bool:
        kept = self._file.kept([item.key for item in chunk.items], lambda line: line.key)
        if kept is None:
            return False
        self._count(kept)
        return True

    def add(self, lines: Sequence[TaskAnswers]) -> None:
        self._file.add(lines, then=self._count)

    def _count(self, lines: Sequence[TaskAnswers]) -> None:
        self.tasks += len(lines)
        self.tokens += sum(line.tokens for line in lines)
        self.errors += sum(score is None for line in lines for score in line.scores)
        faults = [line.fault for line in lines if line.fault]
        if faults and self.errors > max(rewards.FORGIVEN_ERRORS, ERROR_BUDGET * self._expected):
            raise Fault(
                "grading",
                "too_many_grading_errors",
                f"{self.errors} of {self._expected} answers could not be graded, over {ERROR_BUDGET:.0%}: repair the "
                f"graders or their references. The last: {faults[-1]}",
            )
