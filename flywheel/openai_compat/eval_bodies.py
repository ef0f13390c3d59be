"""What requests about evals may hold, and our own names for it. Values only; what cannot be right is refused here."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from flywheel.openai_compat.reading import Body, Metadata, read
from tasks.errors import FlywheelError, Invalid
from tasks.graders import registry
from tasks.text import json_bytes
from trainer.evaluation import prompting
from trainer.evaluation.prompting import Message, Prompt

MOST_BYTES = registry.MAX_CONFIG_BYTES  # of the messages of a run, and of its sampling parameters
Name = Annotated[str, Meta(max_length=200)]


class CreateEval(Body):
    data_source_config: dict[str, Any]
    testing_criteria: list[dict[str, Any]]
    name: Name | None = None
    metadata: Metadata | None = None


class CustomRows(Body):
    type: str
    item_schema: dict[str, Any]
    include_sample_schema: bool = False


class UpdateEval(Body):
    name: Name | msgspec.UnsetType | None = msgspec.UNSET
    metadata: Metadata | msgspec.UnsetType | None = msgspec.UNSET

    def changes(self) -> dict[str, Any]:
        given = {"name": self.name, "metadata": self.metadata}
        return {field: value or ({} if field == "metadata" else "") for field, value in given.items() if _is_set(value)}


def _is_set(value: Any) -> bool:
    return value is not msgspec.UNSET


class CreateRun(Body):
    data_source: dict[str, Any]
    name: Name | None = None
    metadata: Metadata | None = None


class Jsonl(Body):
    type: str
    source: dict[str, Any]


class Completions(Body):
    type: str
    source: dict[str, Any]
    input_messages: dict[str, Any]
    model: Annotated[str, Meta(min_length=1, max_length=200)]
    sampling_params: dict[str, Any] | None = None


class FileContent(Body):
    type: str
    content: list[Any]


class FileId(Body):
    type: str
    id: str


class Template(Body):
    type: str
    template: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=prompting.MAX_MESSAGES)]


class ItemReference(Body):
    type: str
    item_reference: str


class SamplingParams(Body):
    """Sent on as given; the model server honours or refuses each."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: int | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completions_tokens: Annotated[int, Meta(ge=1)] | None = None  # as graders spell it
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    tools: Annotated[list[Any], Meta(max_length=0)] | None = None


_SOURCES = "the rows themselves (file_content) or a file (file_id)"


def rows_of(given: Mapping[str, Any]) -> CustomRows:
    """`data_source_config` of an eval."""
    where = ".data_source_config"
    _require_kind(given, where, ("custom",), "Evals over your own items are offered here: describe them (custom).")
    return read(given, CustomRows, where)


def data_source_of(given: Mapping[str, Any]) -> Jsonl | Completions:
    where = ".data_source"
    sentence = "Runs read rows with their samples (jsonl) or ask a model about them (completions) here."
    _require_kind(given, where, ("jsonl", "completions"), sentence)
    return read(given, Jsonl, where) if given["type"] == "jsonl" else read(given, Completions, where)


def source_of(given: Mapping[str, Any]) -> FileContent | FileId:
    where = ".data_source.source"
    _require_kind(given, where, ("file_content", "file_id"), f"A run reads {_SOURCES} here: nothing else is stored.")
    return read(given, FileContent, where) if given["type"] == "file_content" else read(given, FileId, where)


def prompt_of(given: Mapping[str, Any]) -> Prompt:
    where = ".data_source.input_messages"
    _require_short(given, where, "bad_prompt")
    _require_kind(given, where, ("template", "item_reference"), "Messages are a template or an item_reference.")
    if given["type"] == "item_reference":
        return Prompt(reference=read(given, ItemReference, where).item_reference)
    return Prompt(_messages(read(given, Template, where).template, f"{where}.template"))


def _messages(given: Sequence[Mapping[str, Any]], where: str) -> list[Message]:
    found = []
    for place, message in enumerate(given):
        field = f"{where}[{place}]".lstrip(".")
        text = prompting.text_of(message.get("content"))
        if text is None or not isinstance(message.get("role"), str):
            sentence = "A message has a role and a content of text: leave images and audio out."
            raise Invalid("invalid_value", sentence, f"{field}.content" if text is None else f"{field}.role")
        found.append(Message(message["role"], text))
    return found


def sampling_of(given: Mapping[str, Any] | None) -> dict[str, Any]:
    where = ".data_source.sampling_params"
    _require_short(given, where, "invalid_value")
    params = read(given or {}, SamplingParams, where)
    sent = {name: value for name, value in msgspec.to_builtins(params).items() if value not in (None, [])}
    if "max_completions_tokens" in sent:
        sent.setdefault("max_completion_tokens", sent.pop("max_completions_tokens"))
    return sent


def _require_short(given: Any, where: str, code: str) -> None:
    """As it was sent: all of it is kept with the run, and told by every list of runs."""
    if json_bytes(given) > MOST_BYTES:
        param = where.lstrip(".")
        raise Invalid(code, f"`{param}` is larger than {MOST_BYTES:,} bytes: let the items hold what is long.", param)


def _require_kind(given: Mapping[str, Any], where: str, known: tuple[str, ...], sentence: str) -> None:
    param = f"{where}.type".lstrip(".")
    if "type" not in given:
        raise Invalid("missing_required_parameter", f"Missing required parameter: '{param}'.", param)
    if given["type"] not in known:
        kind = str(given["type"])[:60]
        raise Invalid("unsupported_value", f"'{kind}' is not offered here. {sentence}", param)


@contextmanager
def named(**names: str) -> Iterator[None]:
    """A refusal of a service is about its own parameters: told under the request's names for them."""
    try:
        yield
    except FlywheelError as fault:
        for own, theirs in names.items():
            if fault.param and (fault.param == own or fault.param.startswith((f"{own}.", f"{own}["))):
                fault.param = theirs + fault.param.removeprefix(own)
                break
        raise
