"""What may be asked of a fine-tuning job, and what it means in our words."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from flywheel.openai_compat.reading import Body, Metadata, read, storable
from tasks.errors import Invalid
from trainer.hyperparameters import Asked

Auto = Literal["auto"]
LARGEST_SEED = 2**31 - 1
CONTRIBUTE, LICENCE = "contribute", "licence"  # keys of the metadata


class Hyperparameters(Body):
    n_epochs: Auto | Annotated[int, Meta(ge=1, le=50)] | None = None
    batch_size: Auto | Annotated[int, Meta(ge=1, le=256)] | None = None
    learning_rate_multiplier: Auto | Annotated[float, Meta(gt=0, le=1000)] | None = None
    compute_multiplier: Auto | Annotated[float, Meta(gt=0, le=10)] | None = None
    eval_interval: Auto | Annotated[int, Meta(ge=1)] | None = None
    eval_samples: Auto | Annotated[int, Meta(ge=1, le=64)] | None = None
    reasoning_effort: Literal["default", "low", "medium", "high"] | None = None

    @property
    def asked(self) -> Asked:
        given = {name: None if value == "auto" else value for name, value in msgspec.structs.asdict(self).items()}
        return Asked(
            epochs=given["n_epochs"],
            prompts_per_step=given["batch_size"],
            rate_multiple=given["learning_rate_multiplier"],
            answers_multiple=given["compute_multiplier"],
            measure_every=given["eval_interval"],
            validation_answers=given["eval_samples"],
            effort=given["reasoning_effort"],
        )


PLACES = {"epochs": "method.reinforcement.hyperparameters.n_epochs"}  # our names in refusals


def told(asked: Asked) -> dict[str, Any]:
    """The same numbers back under the names of the request; "auto" for a multiple that nobody knows."""
    return {
        "n_epochs": asked.epochs,
        "batch_size": asked.prompts_per_step,
        "learning_rate_multiplier": asked.rate_multiple or "auto",
        "compute_multiplier": asked.answers_multiple or "auto",
        "eval_interval": asked.measure_every,
        "eval_samples": asked.validation_answers,
        "reasoning_effort": asked.effort or "default",
    }


class Reinforcement(Body):
    grader: dict[str, Any]
    hyperparameters: Hyperparameters | None = None
    response_format: dict[str, Any] | None = None


class Create(Body):
    model: Annotated[str, Meta(min_length=1, max_length=500)]
    training_file: str
    validation_file: str | None = None
    method: dict[str, Any] | None = None
    hyperparameters: dict[str, Any] | None = None  # of the supervised method, in the place of old
    suffix: Annotated[str, Meta(max_length=64)] | None = None
    seed: Annotated[int, Meta(ge=0, le=LARGEST_SEED)] | None = None
    metadata: Metadata | None = None
    integrations: list[Any] | None = None


def create_of(body: Any) -> tuple[Create, Reinforcement]:
    given = read(storable(body), Create)
    if given.integrations:
        sentence = "Integrations are not built: leave them out, and let a webhook tell you of the run instead."
        raise Invalid("unsupported_parameter", sentence, "integrations")
    if given.suffix and not set(given.suffix) <= _OF_A_SUFFIX:
        raise Invalid("invalid_value", "A suffix has letters, digits, blanks, dots, hyphens and underscores.", "suffix")
    return given, _reinforcement(given)


_OF_A_SUFFIX = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_. ")
_KINDS = ("reinforcement", "supervised", "dpo")


def _reinforcement(given: Create) -> Reinforcement:
    method = given.method or {"type": "supervised"}
    kind = method.get("type")
    if kind not in _KINDS:
        raise Invalid("invalid_value", f"method.type is one of {', '.join(_KINDS)}.", "method.type")
    if kind != "reinforcement":
        sentence = (
            f"The method '{kind}' is not done here: send method.type 'reinforcement' with a grader. Rows that hold "
            "answers to imitate need a grader that compares with them."
        )
        raise Invalid("unsupported_method", sentence, "method.type" if given.method else "method")
    if given.hyperparameters:
        sentence = "Hyperparameters of a reinforcement job stand in method.reinforcement.hyperparameters."
        raise Invalid("unknown_parameter", sentence, "hyperparameters")
    unknown = next((name for name in method if name not in ("type", *_KINDS)), None)
    if unknown is not None:
        raise Invalid("unknown_parameter", f"Unknown parameter: 'method.{unknown}': leave it out.", f"method.{unknown}")
    if not isinstance(method.get(kind), dict):
        raise Invalid("missing_required_parameter", "Missing required parameter: 'method.reinforcement'.", "method")
    found = read(method[kind], Reinforcement, within="method.reinforcement")
    if found.response_format is not None:
        found.response_format = _format_of(found.response_format)
    return found


def _format_of(given: dict[str, Any]) -> dict[str, Any] | None:
    """None for plain text, which asks for nothing."""
    kind = given.get("type")
    if kind == "text":
        return None
    if kind not in ("json_object", "json_schema"):
        param = "method.reinforcement.response_format.type"
        raise Invalid("invalid_value", "response_format.type is text, json_object or json_schema.", param)
    return given
