"""multi: several graders over the same reply, and a formula that makes one score of theirs.

OpenAI's grader of the same name. Every child is graded, side by side where they wait for a judge or a sandbox. What one
of them cannot grade the whole cannot, unless the formula does not read that child.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tasks.errors import Invalid
from tasks.graders import formula, judges, registry
from tasks.graders.formula import Formula, FormulaError
from tasks.graders.outcome import CheckMany, scored, ungradable
from tasks.text import excerpt
from tasks.types import Grade, Outcome

EXAMPLE: Mapping[str, Any] = {
    "grader": {
        "type": "multi",
        "graders": {
            "value": {"type": "number", "reference": "{{ item.reference }}"},
            "bare": {
                "type": "string_check",
                "input": "{{ sample.output_text }}",
                "reference": "{{ item.reference }}",
                "operation": "eq",
            },
        },
        "calculate_output": "0.8 * value + 0.2 * bare",
    },
    "item": {"reference": 42},
    "completion": "42",
}

MAX_GRADERS = 26
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
Answers = Sequence[tuple[str, Mapping[str, Any]]]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="multi", tag_field="type"):
    graders: Annotated[dict[str, Any], Meta(min_length=1, max_length=MAX_GRADERS)]  # key -> its parsed configuration
    calculate_output: str
    score_units: Literal["share", "range"] = "share"  # what the formula reads of a score_model: 0 to 1, or its number
    name: str = ""
    pass_threshold: float = 1.0

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "graders", {key: _child(key, given) for key, given in self.graders.items()})
        try:
            names = formula.parse(self.calculate_output, list(self.graders)).names
        except FormulaError as fault:
            raise Invalid("bad_grader", f"The multi grader's formula: {fault}.", "grader.calculate_output") from None
        if not names:
            sentence = "The multi grader's formula reads no grader, so every reply would earn the same."
            raise Invalid("bad_grader", sentence, "grader.calculate_output")


def _child(key: str, given: Any) -> registry.Config:
    field = f"grader.graders.{key[:64]}"
    if not _KEY.fullmatch(key) or key in formula.FUNCTIONS:
        sentence = (
            f"'{key[:64]}' cannot stand in a formula: name a grader with letters, digits and _, not like a function."
        )
        raise Invalid("bad_grader", sentence, field)
    if isinstance(given, Mapping) and given.get("type") == "multi":
        raise Invalid("bad_grader", "A multi grader holds no other multi: write one formula over all of them.", field)
    try:
        return registry.parse(given)
    except Invalid as fault:
        param = field + (fault.param or "").removeprefix("grader")
        raise Invalid(fault.code, f"In the multi grader's '{key}': {fault.sentence}", param) from None


def canonical(config: Config, fields: dict[str, Any]) -> dict[str, Any]:
    """The children's names decide nothing either."""
    children = {key: msgspec.json.decode(registry.canonical(child)) for key, child in config.graders.items()}
    units = fields.pop("score_units")  # of digests that were taken before there was a choice
    return {**fields, "graders": children, **({} if units == "share" else {"score_units": units})}


def in_range(child: registry.Config, score: float) -> float:
    """A judge's score in the units of its range, every other grader's as it is. Ten digits: 1 + 9 · ⅓ is 4."""
    low, high = getattr(child, "range", (0.0, 1.0))
    return float(f"{low + (high - low) * score:.10g}")


def _value(config: Config, parsed: Formula, scores: Mapping[str, float]) -> float:
    """What the formula makes of the scores; raises FormulaError."""
    if config.score_units == "range":
        scores = {key: in_range(config.graders[key], score) for key, score in scores.items()}
    return round(parsed.value(scores), 12)  # 0.1 + 0.2 + 0.7 is 1


def compile_many(config: Config) -> CheckMany:
    parsed = formula.parse(config.calculate_output, list(config.graders))

    def check_many(answers: Answers) -> Sequence[Grade]:
        by_key = _graded(config, answers)
        return [
            _together(config, parsed, {key: grades[position] for key, grades in by_key.items()})
            for position in range(len(answers))
        ]

    return check_many


def _graded(config: Config, answers: Answers) -> dict[str, list[Grade]]:
    """Every child's grades. Those that wait for somebody else do so at the same time."""
    waiting = {key: child for key, child in config.graders.items() if _waits(child)}
    models = [child.model for child in waiting.values() if hasattr(child, "model")]
    with judges.settled(models), ThreadPoolExecutor(max(1, len(waiting)), thread_name_prefix="multi") as pool:
        under_way = {
            key: pool.submit(copy_context().run, registry.grade_many, child, answers) for key, child in waiting.items()
        }
        return {
            key: under_way[key].result() if key in under_way else registry.grade_many(child, answers)
            for key, child in config.graders.items()
        }


def _waits(config: registry.Config) -> bool:
    return hasattr(registry.module_of(config), "compile_many")


def _together(config: Config, parsed: Formula, grades: Mapping[str, Grade]) -> Grade:
    counted = {key: grade for key, grade in grades.items() if key in parsed.names or grade.outcome in _GRADED}
    scores = {key: grade.score for key, grade in counted.items() if grade.outcome in _GRADED}
    found = _combined(config, parsed, counted, scores)
    flags = dict.fromkeys(flag for grade in counted.values() for flag in grade.errors)
    usage = Counter[str]()
    for grade in grades.values():
        usage.update(grade.usage)
    return msgspec.structs.replace(found, sub_scores=scores, errors=(*flags, *found.errors), usage=dict(usage))


_GRADED = (Outcome.CORRECT, Outcome.INCORRECT)


def _combined(config: Config, parsed: Formula, grades: Mapping[str, Grade], scores: Mapping[str, float]) -> Grade:
    if stuck := sorted(parsed.names - scores.keys()):
        return ungradable(f"'{stuck[0]}' cannot grade this: {grades[stuck[0]].reason}")
    try:
        value = _value(config, parsed, scores)
    except FormulaError as fault:
        return ungradable(f"The formula has no value here: {fault}.", "formula_parse_error")
    if not 0 <= value <= 1:
        return ungradable(f"The formula gives {value:g}, which is no score from 0 to 1: correct it.", "other_error")
    parts = "; ".join(f"{key} {score:g} ({excerpt(grades[key].reason, 120)})" for key, score in scores.items())
    return scored(value, config.pass_threshold, None, f"{config.calculate_output} = {value:g}: {parts}")


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    """A child's gold that every other child which answers at once also gives full score, if the formula then does.

    Judges and programs are taken to agree: proof asks them with what is found here. Where the formula has no value from
    0 to 1 for a candidate, or a child without a gold cannot grade it, that candidate is the gold all the same, so that
    proof shows it.
    """
    parsed = formula.parse(config.calculate_output, list(config.graders))
    golds = {key: found for key, child in config.graders.items() if (found := registry.gold(child, item)) is not None}
    at_once = {key: child for key, child in config.graders.items() if key in golds or not _waits(child)}
    worthless: str | None = None
    for candidate in dict.fromkeys(golds.values()):
        grades = {key: registry.grade(child, candidate, item) for key, child in at_once.items()}
        scores = {key: grade.score for key, grade in grades.items() if key in golds or grade.outcome in _GRADED}
        try:
            value = _value(config, parsed, dict.fromkeys(config.graders, 1.0) | scores)
        except FormulaError:
            value = -1.0
        if value == 1:
            return candidate
        if not 0 <= value <= 1:
            worthless = candidate
    return worthless


def coincides(config: Config, item: Mapping[str, Any], completion: str) -> bool | None:
    """A decoy that passes states the right answer if it does so for every child; the usual rule decides for those
    that have none of their own."""
    usual = False
    for child in config.graders.values():
        special = getattr(registry.module_of(child), "coincides", None)
        told = special(child, item, completion) if special else None
        if told is False:
            return False
        usual = usual or told is None
    return None if usual else True


def every_candidate(config: Config, item: Mapping[str, Any], others: Sequence[str]) -> str | None:
    """The first list that a child can make."""
    for child in config.graders.values():
        if hasattr(module := registry.module_of(child), "every_candidate"):
            listed: str | None = module.every_candidate(child, item, others)
            if listed is not None:
                return listed
    return None


def reference_problem(config: Config, item: Mapping[str, Any]) -> str | None:
    return _first(config, lambda child: registry.reference_problem(child, item))


def unavailable(config: Config) -> str | None:
    return _first(config, registry.unavailable)


def trial_problem(config: Config) -> str | None:
    return _first(config, registry.trial_problem)


def _first(config: Config, ask: Callable[[registry.Config], str | None]) -> str | None:
    """The first child's problem, under its key."""
    for key, child in config.graders.items():
        if problem := ask(child):
            return f"'{key}': {problem}"
    return None


def template_sources(config: Config) -> Sequence[str]:
    return [source for child in config.graders.values() for source in registry.template_sources(child)]


def ASKS_A_MODEL(config: Config) -> bool:  # noqa: N802  (the registry's name for it)
    return any(registry.asks_a_model(child) for child in config.graders.values())
