"""What an answer may be written with, by a speller that knows every byte and by one that knows ninety tokens."""

import json
import random
from typing import Any

import jsonschema
import numpy as np
import pytest

from tests.fakes.tiny_model import make_tokenizer
from trainer import constraint
from trainer.constraint import Unusable, Vocabulary

VERDICT = {
    "type": "object",
    "properties": {"verdict": {"enum": ["yes", "no"]}, "score": {"type": "integer", "minimum": 0, "maximum": 10}},
    "required": ["verdict", "score"],
    "additionalProperties": False,
}
END = 0  # of both tokenizers


def format_of(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema, "strict": True}}


def vocabulary(size: int, ends: tuple[int, ...] = (END,), width: int | None = None) -> Vocabulary:
    tokenizer = make_tokenizer(size)
    return Vocabulary(tokenizer.backend_tokenizer.to_str(), width or len(tokenizer), ends)


@pytest.fixture(scope="module")
def spelling() -> Vocabulary:
    return vocabulary(320)


def written(known: Vocabulary, grammar: str, seed: int) -> str:
    """By one who picks any token that is allowed."""
    pick, answer, text = random.Random(seed), known.begin(grammar), b""
    while not answer.finished:
        token = int(pick.choice(np.flatnonzero(answer.allowed())))
        if token == END:
            break
        answer.accept(token)
        text += known.bytes_of(token)
    return text.decode()


def wanted(response_format: dict[str, Any]) -> str:
    grammar = constraint.grammar(response_format)
    assert grammar is not None
    return grammar


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_allowed_makes_an_answer_of_the_schema(spelling: Vocabulary, seed: int) -> None:
    answer = json.loads(written(spelling, wanted(format_of(VERDICT)), seed))

    jsonschema.validate(answer, VERDICT)


def test_any_object_is_an_answer_where_no_schema_is_given(spelling: Vocabulary) -> None:
    answer = spelling.begin(wanted({"type": "json_object"}))

    for token in make_tokenizer(320).encode('{"a": [1, {"b": null}]}', add_special_tokens=False):
        assert answer.allowed()[token]
        answer.accept(token)

    assert answer.finished


def test_the_end_is_allowed_only_where_the_answer_is_whole(spelling: Vocabulary) -> None:
    answer = spelling.begin(wanted(format_of({"type": "integer", "minimum": 0, "maximum": 99})))
    before = answer.allowed()[END]

    answer.accept(next(t for t in range(4, 320) if spelling.bytes_of(t) == b"7"))

    assert (before, answer.allowed()[END], answer.finished) == (False, True, False)


def test_a_model_without_an_end_token_finishes_too() -> None:
    endless = vocabulary(320, ends=())

    assert json.loads(written(endless, wanted(format_of({"enum": ["yes"]})), 1)) == "yes"


def test_a_mask_is_as_wide_as_the_models_logits() -> None:
    padded = vocabulary(320, width=384).begin(wanted(format_of(VERDICT))).allowed()

    assert (len(padded), padded[320:].any()) == (384, False)


def test_a_token_of_the_template_is_never_part_of_a_string(spelling: Vocabulary) -> None:
    answer = spelling.begin(wanted(format_of({"type": "string"})))
    answer.accept(next(t for t in range(4, 320) if spelling.bytes_of(t) == b'"'))

    assert not answer.allowed()[:4].any()


def test_blanks_between_tokens_come_to_an_end(spelling: Vocabulary) -> None:
    answer = spelling.begin(wanted(format_of({"type": "array", "items": {"type": "null"}, "maxItems": 1})))
    line, blank = (next(t for t in range(4, 320) if spelling.bytes_of(t) == text) for text in (b"\n", b" "))
    answer.accept(next(t for t in range(4, 320) if spelling.bytes_of(t) == b"["))

    for token in [line] + 16 * [blank]:
        answer.accept(token)

    assert not answer.allowed()[[line, blank]].any()


def test_ninety_tokens_write_a_number() -> None:
    assert 0 <= int(written(vocabulary(90), wanted(format_of({"type": "integer", "minimum": 0, "maximum": 9})), 1)) < 10


def test_what_the_tokens_cannot_spell_is_refused() -> None:
    with pytest.raises(Unusable, match="cannot write"):
        vocabulary(90).begin(wanted({"type": "json_object"}))


def test_text_is_no_grammar() -> None:
    assert constraint.grammar({"type": "text"}) is None


def test_a_schema_left_out_is_any_object() -> None:
    assert constraint.grammar({"type": "json_schema", "json_schema": {"name": "any"}}) == constraint.grammar(
        {"type": "json_object"}
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "foo"},
        {"not": {"type": "string"}},
        {"enum": []},
        {"type": "string", "pattern": "(?=x)"},
        {"$ref": "http://elsewhere.example/schema"},
        {"x-guidance": {"lenient": True}, "if": {}, "then": {}},
    ],
)
def test_a_schema_that_cannot_be_held_is_refused_in_a_sentence(schema: dict[str, Any]) -> None:
    with pytest.raises(Unusable) as raised:
        constraint.check(format_of(schema))

    assert str(raised.value).startswith("The schema of response_format cannot be used: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "response_format",
    [
        {},
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "two words", "schema": {}}},
        {"type": "json_schema", "json_schema": {"name": "n", "schema": []}},
        {"type": "json_object", "schema": {}},
    ],
)
def test_what_is_no_response_format_is_refused(response_format: dict[str, Any]) -> None:
    with pytest.raises(Unusable, match="response_format is text, json_object, or json_schema"):
        constraint.grammar(response_format)


def test_a_grammar_is_compiled_once(spelling: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    grammar = wanted(format_of({"const": "once"}))
    spelling.begin(grammar)
    monkeypatch.setattr(spelling, "_compile", lambda wanted: pytest.fail("It was compiled again."))

    assert spelling.begin(grammar).allowed().any()


def test_a_schema_that_is_too_large_to_follow_says_so(spelling: Vocabulary) -> None:
    many = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(3000)}}
    answer = spelling.begin(wanted(format_of(many)))

    answer.accept(next(t for t in range(4, 320) if spelling.bytes_of(t) == b"{"))

    assert not answer.allowed().any()
    assert "too large" in answer.dead_end


def test_a_schema_that_is_too_deep_is_refused() -> None:
    deep: dict[str, Any] = {"type": "null"}
    for _ in range(200):
        deep = {"type": "array", "items": deep}

    with pytest.raises(Unusable, match="recursion limit"):
        constraint.grammar(format_of(deep))
