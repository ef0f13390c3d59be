"""ifeval: instructions about the form of a reply (IFEval's 25), each checked by rule, strictly or loosely.

strict judges the reply as it is; loose also without its first line, its last line, both, and without asterisks.
The checkers are if-verifiable's. What they would draw at random, take for a pattern or wave through is refused here.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import Lock
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import msgspec

from tasks.graders import templates
from tasks.graders.outcome import AuthorFault, Check, ModelFault, scored, wrong
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {"type": "ifeval", "instructions": "{{ item.instructions }}", "example": "{{ item.example }}"},
    "item": {
        "instructions": [
            {"id": "detectable_format:number_bullet_lists", "kwargs": {"num_bullets": 2}},
            {"id": "keywords:existence", "kwargs": {"keywords": ["tea", "coffee"]}},
            {"id": "punctuation:no_comma"},
        ],
        "example": "* Tea is made of leaves.\n* Coffee is made of beans.",
    },
    "completion": "Two drinks:\n* green tea\n* black coffee",
}

MAX_CHARACTERS = 100_000  # of a reply
MAX_INSTRUCTIONS = 50
_LONGEST_BLANK = 100  # characters; a longer run of blanks is cut to this, for patterns that are quadratic in it
_NEEDS_PUNKT = frozenset({"length_constraints:number_sentences", "change_case:capital_word_frequency"})
_COUNTS = frozenset(
    {
        *("num_sentences", "num_words", "num_paragraphs", "nth_paragraph", "num_sections", "num_highlights"),
        *("num_bullets", "num_placeholders", "frequency", "let_frequency", "capital_frequency"),
    }
)
_LISTS = frozenset({"keywords", "forbidden_words"})
_PATTERNS = frozenset({"keywords", "forbidden_words", "keyword", "section_spliter", "postscript_marker"})
_POSTSCRIPTS = ("P.S.", "P.P.S")  # for which the library has patterns of its own


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="ifeval", tag_field="type"):
    # [{"id", "kwargs"}], or the ids alone with `kwargs` beside them; JSON text of either is read as well
    instructions: str | list[str | dict[str, Any]] = "{{ item.instructions }}"
    kwargs: str | list[dict[str, Any] | None] | None = None
    mode: Literal["strict", "loose"] = "strict"
    aggregate: Literal["all", "share"] = "all"  # 1 where all are followed; or the share that is
    input: str = "{{ sample.output_text }}"
    example: str = ""  # a reply that follows them all, or a template of one: the gold of rows that bring none
    name: str = ""
    pass_threshold: float = 1.0


class Instruction(NamedTuple):
    label: str  # its id, numbered where it comes twice
    id: str
    arguments: Mapping[str, Any]


def compile(config: Config) -> Check:
    text_of = templates.parse(config.input)
    if not _has_template(config):
        for instruction in _instructions(config, {}):
            _checker(instruction)

    def check(completion: str, item: Mapping[str, Any]) -> Grade:
        checkers = {one.label: _follows(one) for one in _instructions(config, item)}
        text = text_of.text(completion, item)
        if not text.strip():
            return wrong(None, "The reply is empty.")
        if len(text) > MAX_CHARACTERS:
            raise ModelFault("too_long", f"The reply is longer than {MAX_CHARACTERS:,} characters.")
        variants = _variants(_LONG_BLANK.sub(_shorter, text), config.mode)
        followed = {label: any(map(follows, variants)) for label, follows in checkers.items()}
        missed = [label for label, done in followed.items() if not done]
        share = 1 - len(missed) / len(followed)
        score = share if config.aggregate == "share" else float(not missed)
        reason = f"Not followed: {', '.join(missed)}." if missed else "Follows every instruction."
        return scored(
            score, config.pass_threshold, text, reason, {label: float(done) for label, done in followed.items()}
        )

    return check


_LONG_BLANK = re.compile(rf"\s{{{_LONGEST_BLANK + 1},}}")


def _shorter(blank: re.Match[str]) -> str:
    return blank[0][: _LONGEST_BLANK // 2] + blank[0][-_LONGEST_BLANK // 2 :]


def _variants(text: str, mode: str) -> Sequence[str]:
    if mode == "strict":
        return [text]
    variants = _library().loose(text)
    return [variant for variant in dict.fromkeys(variants) if variant.strip()]


# The instructions of a row


def _has_template(config: Config) -> bool:
    return any("{{" in text for part in (config.instructions, config.kwargs) for text in templates.strings(part))


def _instructions(config: Config, item: Mapping[str, Any]) -> list[Instruction]:
    """Raises AuthorFault where they are not a list of known instructions with their arguments."""
    given = _listed(templates.fill(config.instructions, "", item), "instructions")
    beside = None if config.kwargs is None else _listed(templates.fill(config.kwargs, "", item), "kwargs")
    if not 0 < len(given) <= MAX_INSTRUCTIONS:
        raise AuthorFault("bad_reference", f"`instructions` must list 1 to {MAX_INSTRUCTIONS} instructions.")
    if beside is not None and len(beside) != len(given):
        raise AuthorFault("bad_reference", f"{len(given)} instructions have {len(beside)} `kwargs`: give one for each.")
    found: list[Instruction] = []
    for entry, more in zip(given, beside or [None] * len(given), strict=True):
        if isinstance(entry, str):
            entry = {"id": entry, "kwargs": more}
        if (
            not isinstance(entry, Mapping)
            or not isinstance(entry.get("id"), str)
            or not entry.keys() <= {"id", "kwargs"}
        ):
            raise AuthorFault("bad_reference", 'An instruction is its id, or {"id": …, "kwargs": {…}}.')
        arguments = entry.get("kwargs") or {}
        if not isinstance(arguments, Mapping):
            raise AuthorFault("bad_reference", f"The `kwargs` of {entry['id'][:80]} are not an object.")
        count = sum(one.id == entry["id"] for one in found) + 1
        label = entry["id"] if count == 1 else f"{entry['id']}#{count}"
        given_arguments = {name: value for name, value in arguments.items() if value is not None}
        found.append(Instruction(label, entry["id"], given_arguments))
    return found


def _listed(value: Any, field: str) -> list[Any]:
    if isinstance(value, str):
        try:
            value = templates.output_json(value)
        except ModelFault:
            raise AuthorFault("bad_reference", f"`{field}` is a text that is not JSON.") from None
    if not isinstance(value, list):
        raise AuthorFault("bad_reference", f"`{field}` is not a list.")
    return value


def _argument(instruction: Instruction, name: str, value: Any) -> Any:
    """As the checker needs it: counts whole, texts stripped, and what it would take for a pattern made literal."""
    if name in _COUNTS:
        whole = (isinstance(value, float) and value.is_integer()) or isinstance(value, int)
        if isinstance(value, bool) or not whole or value < 0:
            raise AuthorFault("bad_reference", f"`{name}` of {instruction.id} is not a whole number from 0 up.")
        return int(value)
    texts = value if name in _LISTS else [value]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        wanted = "a list of texts" if name in _LISTS else "a text"
        raise AuthorFault("bad_reference", f"`{name}` of {instruction.id} is not {wanted}.")
    texts = [text.strip() for text in texts]
    if name == "forbidden_words" and (odd := [text for text in texts if not _BOUNDED.fullmatch(text)]):
        raise AuthorFault(
            "bad_reference", f"The forbidden word '{odd[0][:80]}' must begin and end with a letter or a digit."
        )
    if name in _PATTERNS:
        texts = [text if text in _POSTSCRIPTS else re.escape(text) for text in texts]
    return texts if name in _LISTS else texts[0]


_BOUNDED = re.compile(r"\w(?:.*\w)?", re.DOTALL)


# The checkers


def _checker(instruction: Instruction) -> Any:
    """The library's checker. Raises AuthorFault where it is unknown, lacks its data or misses an argument."""
    library = _library()
    if instruction.id not in library.checkers:
        raise AuthorFault(
            "bad_reference", f"There is no instruction '{instruction.id[:80]}': IFEval's are in the documentation."
        )
    if instruction.id in _NEEDS_PUNKT and (sentence := _without_punkt()):
        raise AuthorFault("checker_unavailable", f"{instruction.id} {sentence}")
    arguments = {name: _argument(instruction, name, value) for name, value in instruction.arguments.items()}
    checker = library.checkers[instruction.id](instruction.id)
    try:
        checker.build_description(**arguments)
    except _Draw:
        wanted = ", ".join(checker.get_instruction_args_keys())
        raise AuthorFault(
            "bad_reference", f"{instruction.id} needs {wanted}: without one of them its rule would be drawn at random."
        ) from None
    except (TypeError, ValueError, KeyError):
        wanted = ", ".join(checker.get_instruction_args_keys()) or "no arguments"
        raise AuthorFault("bad_reference", f"{instruction.id} takes {wanted}, not these values.") from None
    return checker


def _follows(instruction: Instruction) -> Callable[[str], bool]:
    checker, prepared = _checker(instruction), _PREPARED.get(instruction.id)

    def follows(text: str) -> bool:
        try:
            return bool(checker.check_following(prepared(text) if prepared else text))
        except RecursionError:  # a hundred thousand brackets where JSON is asked for
            return False

    return follows


def _up_to_last(mark: str) -> Callable[[str], str]:
    """Every line as far as its last closing mark: the same matches, and no search to the end of a line for nothing."""
    return lambda text: "\n".join(
        line[: line.rfind(mark) + len(mark)] if mark in line else "" for line in text.split("\n")
    )


_PREPARED: Mapping[str, Callable[[str], str]] = {
    "detectable_content:number_placeholders": _up_to_last("]"),
    "detectable_format:title": _up_to_last(">>"),
}


class _Draw(Exception):
    """A checker asked for a random value: an argument is missing or out of range."""


class _NoDraws:
    """In the place of the library's `random`."""

    def __getattr__(self, name: str) -> Any:
        raise _Draw(name)


class _Library(NamedTuple):
    checkers: Mapping[str, Callable[[str], Any]]
    loose: Callable[[str], Sequence[str]]  # the reply's variants, itself among them


_loading = Lock()


def _library() -> _Library:
    with _loading:  # the language profiles must not be read by two threads at once
        return _loaded()


@cache
def _loaded() -> _Library:
    """The package's own __init__ imports `datasets`, seconds for nothing: its parts are loaded without it."""
    package = "if_verifiable"
    shell = package not in sys.modules and (spec := find_spec(package)) is not None
    if shell and spec is not None:
        sys.modules[package] = module_from_spec(spec)
    try:
        instructions = import_module("if_verifiable.ifeval.instructions")
        words = import_module("if_verifiable.ifeval.instructions_util")
        checkers = import_module("if_verifiable.ifeval.instructions_registry").INSTRUCTION_DICT
        loose = import_module("if_verifiable.common").get_loose_transformations
    finally:
        if shell:
            sys.modules.pop(package, None)
    for module in (instructions, words):
        vars(module)["random"] = _NoDraws()
    vars(instructions)["langdetect"] = _language_detection()
    return _Library(checkers, loose)


def _language_detection() -> SimpleNamespace:
    """langdetect with a seed, and in two points not as the library uses it.

    A text in no language that it knows is in none (the library lets it pass), and capitals are read as small letters
    (langdetect leaves words in capitals out, and finds English in few of them).
    """
    langdetect = import_module("langdetect")
    langdetect.DetectorFactory.seed = 0

    def detect(text: str) -> str:
        try:
            return str(langdetect.detect(text.lower() if text.isupper() else text))
        except langdetect.LangDetectException:
            return ""

    detect("The profiles are read with the first text.")
    return SimpleNamespace(detect=detect, LangDetectException=langdetect.LangDetectException)


@cache
def _without_punkt() -> str | None:
    from nltk.tokenize import punkt_model_available

    if punkt_model_available():
        return None
    return "needs NLTK's sentence model, which is not installed: run `python -m nltk.downloader punkt_tab`."


def unavailable(config: Config) -> str | None:
    """Told before any row where the configuration itself names a checker without its data."""
    if _has_template(config):
        return None
    named = [one.id for one in _instructions(config, {}) if one.id in _NEEDS_PUNKT]
    return f"{named[0]} {sentence}" if named and (sentence := _without_punkt()) else None


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    """Instructions tell no reply that follows them: only an example does."""
    try:
        return templates.parse(config.example).text("", item) if config.example else None
    except (AuthorFault, ModelFault):
        return None


def reference_problem(config: Config, item: Mapping[str, Any]) -> str | None:
    """Why the instructions of this item cannot be checked, as a sentence."""
    for instruction in _instructions(config, item):
        _checker(instruction)
    return None
