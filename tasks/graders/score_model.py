"""score_model: a judge gives a number within a range, which is mapped to 0..1. OpenAI's grader of the same name."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tasks.graders import judges
from tasks.graders.judging import PARSE, NoVerdict
from tasks.graders.outcome import CheckMany, scored
from tasks.graders.question import (
    Input,
    Model,
    SamplingParams,
    instruction,
    judged,
    last_conclusion,
    question,
    schema_of,
)
from tasks.text import excerpt
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {
        "type": "score_model",
        "model": "judge",
        "input": [
            {"role": "system", "content": "You grade explanations for children of ten."},
            {"role": "user", "content": "Explained: {{ item.topic }}. How clear is it?\n\n{{ sample.output_text }}"},
        ],
        "range": [1, 10],
        "pass_threshold": 7,
        "sampling_params": {"temperature": 0},
    },
    "item": {"topic": "tides"},
    "completion": "The moon pulls at the sea. Where the pull is strongest, the water stands higher.",
}

ASKS_A_MODEL = True
SCHEMA = schema_of("result", {"type": "number"})
_PRINTABLE = 1e15  # beyond it the clamped value is shown


class Config(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="score_model", tag_field="type"
):
    model: Model
    input: Input
    range: tuple[float, float] = (0.0, 1.0)
    sampling_params: SamplingParams = SamplingParams()
    name: str = ""
    pass_threshold: float = None  # type: ignore[assignment]  # in the range's units; not given: the range's end

    def __post_init__(self) -> None:
        low, high = self.range
        if not low < high:
            raise ValueError("`range` must be two numbers, the lower one first")
        if self.pass_threshold is None:
            msgspec.structs.force_setattr(self, "pass_threshold", high)


def compile_many(config: Config) -> CheckMany:
    low, high = config.range
    threshold = round((config.pass_threshold - low) / (high - low), 12)
    asked = question(config.input, instruction(f'"result": a number from {low:g} to {high:g}'), config.sampling_params)

    def grade(answer: Mapping[str, Any]) -> Grade:
        result = answer.get("result")
        if isinstance(result, bool) or not isinstance(result, int | float):
            raise NoVerdict(PARSE, f"The judge's `result` is not a number: {excerpt(repr(result), 80)}.")
        value = float(min(max(result, low), high))
        said = f"{result if abs(result) < _PRINTABLE else value:g} (of {low:g} to {high:g})"
        why = last_conclusion(answer)
        reason = f"The judge gives {said}{f': {excerpt(why, 400)}' if why else '.'}"
        return scored((value - low) / (high - low), threshold, said, reason)

    return judged(config.model, SCHEMA, asked, grade)


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    """A judge has no reference: the row must bring its gold."""
    return None


def template_sources(config: Config) -> Sequence[str]:
    return [text for message in config.input for text in message.texts]


def unavailable(config: Config) -> str | None:
    return judges.unavailable(config.model)
