"""What an answer may be written with: a response_format as a state machine over the tokens of one model.

Pure: a tokenizer comes as the JSON text of its fast backend, masks leave as numpy arrays. The model server lays them
over its logits for a chat completion, the engine for a rollout, so that both hold an answer to the same format.
"""

import json
from collections import OrderedDict
from collections.abc import Collection, Mapping
from threading import Lock
from typing import Annotated, Any

import msgspec
import numpy as np
from llguidance import LLMatcher, LLTokenizer
from msgspec import Meta
from numpy.typing import NDArray

Mask = NDArray[np.bool_]  # over the model's logits

# Between the tokens of JSON: nothing, a blank, or a line with its indentation. JSON allows any amount of it, and with
# that a model that is unsure what to say next could fill its whole answer.
WHITESPACE = r"(\n {0,16}| )?"
COMPILED = 64  # grammars remembered for each model
_END = "<|flywheel: end of a constrained answer|>"


class Unusable(ValueError):
    """A response format that no answer can be held to; the text is one sentence for whoever sent it."""


class NamedSchema(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any] | None = None
    strict: bool | None = None  # without it the schema may be missed; it is held all the same
    description: str | None = None


class AsText(msgspec.Struct, tag="text", forbid_unknown_fields=True):
    pass


class AsObject(msgspec.Struct, tag="json_object", forbid_unknown_fields=True):
    pass


class AsSchema(msgspec.Struct, tag="json_schema", forbid_unknown_fields=True):
    json_schema: NamedSchema


def grammar(response_format: Mapping[str, Any] | None) -> str | None:
    """What `Vocabulary.begin` reads; None: any text. Whether the schema itself can be used is told by `check`."""
    if response_format is None:
        return None
    try:
        read = msgspec.convert(response_format, type=AsText | AsObject | AsSchema)
    except msgspec.ValidationError as error:
        raise Unusable(f"response_format is text, json_object, or json_schema with name and schema: {error}.") from None
    if isinstance(read, AsText):
        return None
    schema = (read.json_schema.schema if isinstance(read, AsSchema) else None) or {"type": "object"}
    # `lenient` off also where the schema asks for it: a keyword that is passed over would be a promise not kept.
    options: Any = {"whitespace_flexible": True, "whitespace_pattern": WHITESPACE, "lenient": False}
    try:
        return str(LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options))
    except (ValueError, RecursionError) as error:
        _require(str(error))
        raise


def check(response_format: Mapping[str, Any] | None) -> None:
    """Raises Unusable, before there is a model to ask."""
    if (wanted := grammar(response_format)) is not None:
        _require(LLMatcher.validate_grammar(wanted))


class Constraint:
    """One answer being written: which tokens may come next, and whether any more can."""

    def __init__(self, matcher: LLMatcher, width: int, end: int, ends: Collection[int]) -> None:
        self._matcher, self._width, self._end, self._ends = matcher, width, end, list(ends)

    def allowed(self) -> Mask:
        """The next tokens; the model's end tokens are among them where the answer may be over.

        All false: the answer cannot be finished, and `dead_end` says why.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        known = np.unpackbits(bits, bitorder="little")[: min(self._end, self._width)]
        mask = np.zeros(self._width, dtype=np.bool_)
        mask[: len(known)] = known
        # Where one byte alone may follow and no token begins with it, the library names a token all the same.
        if mask.sum() == 1 and not self._matcher.validate_tokens([int(mask.argmax())]):
            mask[:] = False
        mask[self._ends] = self._matcher.is_accepting()
        return mask

    @property
    def dead_end(self) -> str:
        """One sentence, where nothing is allowed any more."""
        if self._matcher.get_error():  # only tokens that were allowed are ever taken in: it is a limit of the library
            return (
                "The schema of response_format is too large to hold an answer to: give it fewer or simpler properties."
            )
        return "The model's tokens cannot write what response_format asks for: use another model or schema."

    def accept(self, token: int) -> None:
        if token not in self._ends:
            self._matcher.consume_token(token)

    @property
    def finished(self) -> bool:
        """The answer is whole, and nothing can be added to it."""
        return self._matcher.is_accepting() and self._matcher.is_stopped()


class Vocabulary:
    """The tokens of one model, as grammars see them. Making one takes up to a second; it is shared by all answers."""

    def __init__(self, tokenizer: str, width: int, ends: Collection[int]) -> None:
        """`tokenizer`: its backend's JSON; `width`: how many logits the model tells, `ends`: what ends its answers."""
        self._width, self._ends = width, frozenset(ends)
        self._tokenizer, self._end = _with_own_end(tokenizer)
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = Lock()

    def begin(self, wanted: str) -> Constraint:
        """The state of an answer of which nothing is written yet. Raises Unusable."""
        with self._lock:
            compiled = self._compiled.get(wanted)
        if compiled is None:
            compiled = self._compile(wanted)
        with self._lock:
            self._compiled[wanted] = compiled
            self._compiled.move_to_end(wanted)
            if len(self._compiled) > COMPILED:
                self._compiled.popitem(last=False)
            fresh = compiled.deep_copy()
        return Constraint(fresh, self._width, self._end, self._ends)

    def bytes_of(self, token: int) -> bytes:
        """What the token adds to a text, which may be a part of a character; a special token adds nothing."""
        if token >= self._end or self._tokenizer.is_special_token(token):
            return b""
        return bytes(self._tokenizer.decode_bytes([token]))

    def _compile(self, wanted: str) -> LLMatcher:
        _require(LLMatcher.validate_grammar(wanted, self._tokenizer))
        compiled = LLMatcher(self._tokenizer, wanted, log_level=0)
        _require(compiled.get_error())
        first = Constraint(compiled.deep_copy(), self._width, self._end, self._ends)
        if not first.allowed().any():
            raise Unusable(first.dead_end)
        return compiled


def _with_own_end(tokenizer: str) -> tuple[LLTokenizer, int]:
    """The library wants one end token; a model may have none, or several. So it gets one behind all others, which the
    model does not have, and the model's own are let in where the grammar accepts."""
    described = json.loads(tokenizer)
    vocabulary = described.get("model", {}).get("vocab") or {}
    listed = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    added = described.get("added_tokens") or []
    end = 1 + max([*listed, *(token["id"] for token in added)], default=-1)
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    described["added_tokens"] = [*added, {"id": end, "content": _END, "special": True, **plain}]
    described["padding"] = described["truncation"] = None  # of prompts, which llguidance never sees
    try:
        return LLTokenizer(json.dumps(described), eos_token=end), end
    except ValueError as error:
        raise Unusable(f"This model's tokenizer cannot be held to a format: {_first_line(str(error))}.") from error


def _require(told: str) -> None:
    if told and not told.startswith("WARNING"):
        raise Unusable(f"The schema of response_format cannot be used: {_first_line(told)}.")


def _first_line(told: str) -> str:
    """The library's reasons run over several lines, of which a regular expression's last one says what is wrong."""
    lines = [line.strip() for line in told.strip().splitlines() if line.strip()]
    chosen = next((line for line in lines if line.startswith("error:")), lines[0] if lines else "no reason given")
    return chosen.removeprefix("error: ")[:200].rstrip(".")
