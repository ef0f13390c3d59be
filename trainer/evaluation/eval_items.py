"""One row of an eval: whether it fits, what of it is graded, and what its grades come to. Plain values."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from tasks.graders import shape, templates
from tasks.graders.outcome import AuthorFault, ModelFault
from tasks.text import refused_character
from tasks.types import Grade, Outcome

PASS, FAIL, ERROR = "pass", "fail", "error"
MAX_DEPTH = 64
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
Fits = Callable[[Any], str | None]  # a sentence where an item has another shape


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was graded: of the version that was asked, or out of the row's sample."""

    text: str = ""
    messages: list[dict[str, str]] = []  # that it was asked
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    code: str = ""  # "": there is an answer
    fault: str = ""  # why there is none, as a sentence


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a criterion says of a row."""

    key: str  # of the criterion
    outcome: str  # tasks.types.Outcome
    score: float  # from 0 to 1
    reason: str
    read: str | None = None
    errors: list[str] = []
    usage: dict[str, int] = {}  # as in Grade


def schema_fits(schema: Mapping[str, Any]) -> Fits:
    """Raises ValueError with a sentence on a schema that cannot be used."""
    try:
        check = shape.compile(schema)
    except ValueError as fault:
        raise ValueError(f"{str(fault).replace('`schema`', 'The item schema')}.") from None

    def fits(item: Any) -> str | None:
        try:
            check(item)
        except ModelFault as fault:
            return fault.reason.replace("the reply", "the item").replace("The reply", "The item").rstrip(".") + "."
        return None

    return fits


def row_problem(row: Any, fits: Fits) -> tuple[str, str] | None:
    """(field, sentence) where a row of a data source cannot be used."""
    if not isinstance(row, Mapping) or not isinstance(row.get("item"), Mapping):
        return "item", 'it has no `item`: write {"item": {…}}.'
    if refused := unstorable(row):
        return "item", f"it has {refused}: leave it out."
    if unknown := sorted(row.keys() - {"item", "sample"}):
        return unknown[0], f"it has `{unknown[0][:80]}`: what graders shall read stands inside `item`."
    if (sample := row.get("sample")) is not None and not isinstance(sample, Mapping):
        return "sample", "its `sample` is not an object."
    wrong = fits(row["item"])
    return ("item", f"its item does not fit the schema: {wrong}") if wrong else None


def unstorable(value: Any) -> str | None:
    """What in a JSON value no row of the database can hold, in a few words."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inside: list[Any] = []
        for one in level:
            if isinstance(one, str):
                if refused := refused_character(one):
                    return refused
            elif isinstance(one, float) and not math.isfinite(one):
                return f"the number {one}, which is no JSON"
            elif isinstance(one, Mapping):
                inside += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                inside += one
        if not inside:
            return None
        level = inside
    return f"values more than {MAX_DEPTH} levels deep"


def storable(value: Any) -> Any:
    """What a model or a judge said, as it can be kept: a small one says NUL, too."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {storable(key): storable(inner) for key, inner in value.items()}
    return [storable(inner) for inner in value] if isinstance(value, list) else value


def given_answer(sample: Mapping[str, Any] | None) -> Answer:
    """The answer that a row brought: its text, the first choice's, or its JSON. Without a sample it is empty: criteria
    may read the item alone."""
    sample = sample or {}
    if isinstance(text := sample.get("output_text"), str):
        return Answer(text)
    try:
        said = templates.walk(sample, ("choices", 0, "message", "content"))
    except (LookupError, ValueError):
        said = None
    if isinstance(said, str):
        return Answer(said)
    if sample.get("output_json") is not None:
        return Answer(templates.as_text(sample["output_json"]))
    return Answer()


def result_of(key: str, grade: Grade) -> Result:
    return Result(
        key, grade.outcome.value, grade.score, grade.reason, grade.read, list(grade.errors), dict(grade.usage)
    )


def unanswered(key: str, answer: Answer) -> Result:
    return Result(key, Outcome.UNGRADABLE.value, 0.0, answer.fault, errors=[answer.code])


def status_of(results: Sequence[Result]) -> str:
    """A row passes where every criterion does. What could not be graded has not failed."""
    outcomes = {result.outcome for result in results}
    if Outcome.UNGRADABLE in outcomes:
        return ERROR
    return FAIL if Outcome.INCORRECT in outcomes else PASS


class Tally(msgspec.Struct):
    """The sums over rows, in plain numbers: those of a chunk are added to those of the run."""

    statuses: Counter[str]
    by_criterion: dict[str, dict[str, int]]
    usage: dict[str, dict[str, int]]

    def add(self, status: str, results: Sequence[Result], answer: Answer, model: str) -> None:
        self.statuses[status] += 1
        for result in results:
            counts = self.by_criterion.setdefault(result.key, {"passed": 0, "failed": 0, "errored": 0})
            counts[_COUNTED[result.outcome]] += 1
            self._judged(result.usage)
        if model and (answer.prompt_tokens or answer.completion_tokens):
            self._spent(model, answer.prompt_tokens, answer.completion_tokens)

    def _judged(self, usage: Mapping[str, int]) -> None:
        for model in {name.rpartition("/")[0] for name in usage}:
            self._spent(model, usage.get(f"{model}/prompt_tokens", 0), usage.get(f"{model}/completion_tokens", 0))

    def _spent(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        sums = self.usage.setdefault(model, {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0})
        sums["calls"] += 1
        sums["prompt_tokens"] += prompt_tokens
        sums["completion_tokens"] += completion_tokens


_COUNTED = {Outcome.CORRECT.value: "passed", Outcome.INCORRECT.value: "failed", Outcome.UNGRADABLE.value: "errored"}


def tally_from(by_criterion: Mapping[str, Any], usage: Mapping[str, Any]) -> Tally:
    """That of the chunks before; the statuses begin at nothing."""
    copied = {key: dict(counts) for key, counts in by_criterion.items()}
    return Tally(Counter(), copied, {model: dict(sums) for model, sums in usage.items()})


def no_messages(fault: AuthorFault) -> Answer:
    return Answer(code=fault.flag, fault=fault.reason)
