"""Every validation answer of a measurement as a file, so that a mean can be looked into afterwards."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.types import Grade
from trainer.contract import PromptItem, ValidationAnswer, encode, validation_file
from trainer.engine import checkpoints, sampling


def write(
    directory: Path, step: int, items: Sequence[PromptItem], answers: Sequence[sampling.Answer], grades: Sequence[Grade]
) -> None:
    """One line an answer, of which each sequence has an entry. A step that is measured again replaces its file."""
    path = validation_file(directory, step)
    path.parent.mkdir(exist_ok=True)
    lines = (encode(line) + b"\n" for line in _lines(items, answers, grades))
    checkpoints.write_durably(path, b"".join(lines))


def _lines(
    items: Sequence[PromptItem], answers: Sequence[sampling.Answer], grades: Sequence[Grade]
) -> Iterator[ValidationAnswer]:
    seen: dict[str, int] = {}
    for item, answer, grade in zip(items, answers, grades, strict=True):
        sample = seen[item.key] = seen.get(item.key, -1) + 1
        yield ValidationAnswer(
            key=item.key,
            sample=sample,
            completion=answer.text,
            tokens=len(answer.tokens),
            truncated=answer.truncated,
            outcome=grade.outcome.value,
            score=grade.score,
            reason=grade.reason,
            read=grade.read,
            sub_scores=dict(grade.sub_scores),
            errors=list(grade.errors),
            usage=dict(grade.usage),
        )
