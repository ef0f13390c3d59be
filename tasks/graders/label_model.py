"""label_model: a judge gives one of the labels, and some of them pass. OpenAI's grader of the same name."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

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
        "type": "label_model",
        "model": "judge",
        "input": [
            {"role": "system", "content": "You check whether a reply answers the question."},
            {"role": "user", "content": "Question: {{ item.question }}\nReply: {{ sample.output_text }}"},
        ],
        "labels": ["answers", "evades", "wrong"],
        "passing_labels": ["answers"],
    },
    "item": {"question": "May I return shoes after 40 days?"},
    "completion": "No: shoes can be returned within 30 days.",
}

ASKS_A_MODEL = True
Labels = Annotated[list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(min_length=1, max_length=100)]


class Config(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="label_model", tag_field="type"
):
    model: Model
    input: Input
    labels: Labels
    passing_labels: Labels
    name: str = ""
    pass_threshold: float = 1.0

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels) or len(self.labels) < 2:
            raise ValueError("`labels` must be at least two different texts")
        if unknown := [label for label in self.passing_labels if label not in self.labels]:
            raise ValueError(f"`passing_labels` has '{unknown[0]}', which is not among `labels`")


def compile_many(config: Config) -> CheckMany:
    schema = schema_of("label", {"type": "string", "enum": config.labels})
    listed = ", ".join(msgspec.json.encode(label).decode() for label in config.labels)
    asked = question(config.input, instruction(f'"label": one of {listed}'), SamplingParams())

    def grade(answer: Mapping[str, Any]) -> Grade:
        label = answer.get("label")
        if label not in config.labels:
            raise NoVerdict(PARSE, f"The judge's `label` is none of {listed}: {excerpt(repr(label), 80)}.")
        why = last_conclusion(answer)
        reason = f"The judge says '{label}'{f': {excerpt(why, 400)}' if why else '.'}"
        return scored(float(label in config.passing_labels), config.pass_threshold, str(label), reason)

    return judged(config.model, schema, asked, grade)


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    """A judge has no reference: the row must bring its gold."""
    return None


def template_sources(config: Config) -> Sequence[str]:
    return [text for message in config.input for text in message.texts]


def unavailable(config: Config) -> str | None:
    return judges.unavailable(config.model)
