"""The whole catalogue: every module of this package that has a `Config` is a grader. Adding one is adding a file.

A grader module offers
    Config    msgspec.Struct, frozen, forbid_unknown_fields, tag_field="type"; has name and pass_threshold;
              __post_init__ raises ValueError with a sentence on values that cannot be right
    EXAMPLE   {"grader", "item", "completion"}: a documented row that earns full score
    compile   (Config) -> Check; a Check raises ModelFault and AuthorFault freely, they become Grades here
    gold      (Config, item) -> a completion that must earn full score, or None
Instead of `compile`, where grading one by one would waste processes or waiting time, it offers
    compile_many (Config) -> CheckMany: a Grade for each (completion without its reasoning, item), in order; it may fill
              in each Grade's seconds, and answers for faults itself (outcome.of_fault)
It may offer what proof needs to know of its kind
    coincides       (Config, item, completion) -> whether a passing decoy states the right answer by accident; None for
              the usual rule, by which it is the gold or ends in it
    every_candidate (Config, item, others) -> the reply that lists every candidate
    reference_problem (Config, item) -> a sentence, where the row's reference cannot be used; must be cheap; an
              AuthorFault that it raises is such a sentence, a ModelFault is none
and what its users need to know before they rely on it
    unavailable     (Config) -> a sentence, where this machine or installation cannot grade with it at all; cheap
    trial_problem   (Config) -> a sentence, where only running it shows that it cannot work; may take seconds
    template_sources (Config) -> the strings that hold templates, where not every string of the configuration may
    canonical       (Config, its fields) -> the fields that decide, where more than the name decides nothing
    ASKS_A_MODEL    True, or (Config) -> bool, where every grade costs tokens: proof takes a sample
"""

import hashlib
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from time import perf_counter
from types import ModuleType
from typing import Any

import msgspec

from tasks import graders
from tasks.errors import Invalid
from tasks.graders import templates
from tasks.graders.outcome import AuthorFault, Check, CheckMany, ModelFault, of_fault, ungradable
from tasks.graders.reasoning import without_reasoning
from tasks.graders.remembered import remembered
from tasks.types import Grade

Config = msgspec.Struct
Grader = Callable[[str, Mapping[str, Any]], Grade]
Answer = tuple[str, Mapping[str, Any]]  # completion, item
ReferenceProblem = Callable[[Mapping[str, Any]], str | None]  # of an item

MAX_CONFIG_BYTES = 256_000
_encode = msgspec.json.Encoder(order="sorted").encode


@cache
def modules() -> Mapping[str, ModuleType]:
    """type -> module, by name."""
    found: dict[str, ModuleType] = {}
    for entry in pkgutil.iter_modules(graders.__path__):
        if entry.name == "registry":
            continue
        module = import_module(f"{graders.__name__}.{entry.name}")
        if isinstance(config := getattr(module, "Config", None), type) and issubclass(config, msgspec.Struct):
            found[str(config.__struct_config__.tag)] = module
    return dict(sorted(found.items()))


def types() -> tuple[str, ...]:
    return tuple(modules())


def describe() -> tuple[dict[str, Any], ...]:
    """For the documentation: type, summary and an example row of every grader."""
    return tuple(
        {"type": kind, "summary": (module.__doc__ or "").partition("\n")[0].partition(": ")[2], **module.EXAMPLE}
        for kind, module in modules().items()
    )


def parse(config: Mapping[str, Any] | Config) -> Config:
    """The typed configuration; raises Invalid with code unknown_grader or bad_grader."""
    return config if isinstance(config, msgspec.Struct) else _parse(_bytes(config))


def _bytes(config: Mapping[str, Any] | Config) -> bytes:
    try:
        raw = _encode(config)
    except (TypeError, ValueError, RecursionError, UnicodeError):
        raise Invalid(
            "bad_grader", "The grader is not a JSON object: give its type and its fields.", "grader"
        ) from None
    if len(raw) > MAX_CONFIG_BYTES:
        raise Invalid("bad_grader", f"The grader is larger than {MAX_CONFIG_BYTES:,} bytes: shorten it.", "grader")
    return raw


@remembered
def _parse(raw: bytes) -> Config:
    known = f"Known types: {', '.join(types())}."
    given = _decode(raw)
    if not isinstance(given, dict):
        raise Invalid("bad_grader", f"The grader is not a JSON object: give its type and its fields. {known}", "grader")
    kind = given.get("type")
    if not isinstance(kind, str):
        raise Invalid("unknown_grader", f"The grader has no `type`. {known}", "grader.type")
    if kind not in modules():
        raise Invalid("unknown_grader", f"There is no grader of type '{kind[:60]}'. {known}", "grader.type")
    try:
        config: Config = msgspec.json.decode(raw, type=modules()[kind].Config)
    except msgspec.ValidationError as fault:
        sentence, _, path = str(fault).partition(" - at `$")
        field = f"grader{path.rstrip('`')}{_field_meant(sentence)}"
        raise Invalid("bad_grader", f"The {kind} grader is not right at `{field}`: {sentence}.", field) from None
    _check_shared(kind, config)
    return config


_MEANT = re.compile(r"(?:Object (?:missing required|contains unknown) field )?`(\w+)`")


def _field_meant(sentence: str) -> str:
    """The field below the place of a fault that its sentence begins with: one that is missing, unknown or no good."""
    meant = _MEANT.match(sentence)
    return f".{meant[1]}" if meant else ""


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        raise Invalid("bad_grader", "The grader is not readable JSON: it nests too deep.", "grader") from None


def _check_shared(kind: str, config: Config) -> None:
    """What holds for every grader: a threshold a score can reach, templates that mean something, a build that works."""
    low, high = getattr(config, "range", (0, 1))  # a judge's threshold is in the units of its range
    if not low <= getattr(config, "pass_threshold", high) <= high:
        sentence = f"The {kind} grader's `pass_threshold` must lie between {low:g} and {high:g}."
        raise Invalid("bad_grader", sentence, "grader.pass_threshold")
    for source in template_sources(config):
        _check_template(kind, config, source)
    try:
        module = modules()[kind]
        (module.compile_many if hasattr(module, "compile_many") else module.compile)(config)
    except ValueError as fault:
        raise Invalid("bad_grader", f"The {kind} grader is not right: {fault}.", "grader") from None
    except (AuthorFault, ModelFault) as fault:
        raise Invalid("bad_grader", f"The {kind} grader is not right: {fault.reason}", "grader") from None


def _check_template(kind: str, config: Config, source: str) -> None:
    try:
        templates.parse(source)
    except ValueError as fault:
        fields = msgspec.to_builtins(config)
        field = next((f".{name}" for name, value in fields.items() if source in templates.strings(value)), "")
        raise Invalid("bad_grader", f"The {kind} grader is not right: {fault}.", f"grader{field}") from None


def canonical(config: Mapping[str, Any] | Config) -> bytes:
    """Sorted JSON with every default filled in and without the name, which decides nothing."""
    fields = msgspec.to_builtins(parsed := parse(config))
    fields.pop("name", None)
    special = getattr(module_of(parsed), "canonical", None)
    return _encode(special(parsed, fields) if special else fields)


def digest(config: Mapping[str, Any] | Config) -> str:
    """SHA-256, hex, of the canonical configuration. Proofs are kept under it."""
    return hashlib.sha256(canonical(config)).hexdigest()


def compile(config: Mapping[str, Any] | Config) -> Grader:
    """The grader as one function, for loops. Raises Invalid; what it returns never raises for anybody's fault."""
    return _compile(_bytes(config))


@remembered
def _compile(raw: bytes) -> Grader:
    config = _parse(raw)
    module = module_of(config)
    if hasattr(module, "compile_many"):
        graded_many = _compile_many(raw)
        return lambda completion, item: graded_many([(completion, item)])[0]
    check: Check = module.compile(config)

    def graded(completion: str, item: Mapping[str, Any]) -> Grade:
        started = perf_counter()
        try:
            grade = check(without_reasoning(completion), item)
        except (ModelFault, AuthorFault) as fault:
            grade = of_fault(fault)
        return _timed(grade, perf_counter() - started)

    return graded


def _timed(grade: Grade, seconds: float) -> Grade:
    """dataclasses.replace takes four times as long, a sixth of what a number takes to be graded."""
    return Grade(
        grade.outcome, grade.score, grade.read, grade.reason, grade.sub_scores, grade.errors, seconds, grade.usage
    )


@remembered
def _compile_many(raw: bytes) -> Callable[[Sequence[Answer]], list[Grade]]:
    config = _parse(raw)
    module = module_of(config)
    if not hasattr(module, "compile_many"):
        graded = _compile(raw)
        return lambda answers: [graded(completion, item) for completion, item in answers]
    check_many: CheckMany = module.compile_many(config)

    def graded_many(answers: Sequence[Answer]) -> list[Grade]:
        if not answers:
            return []
        started = perf_counter()
        grades = check_many([(without_reasoning(completion), item) for completion, item in answers])
        share = (perf_counter() - started) / len(answers)
        return [grade if grade.seconds else _timed(grade, share) for grade in grades]

    return graded_many


def grade(config: Mapping[str, Any] | Config, completion: str, item: Mapping[str, Any]) -> Grade:
    """Grade one completion. An unusable configuration is its author's fault: ungradable, with its code as a flag."""
    return grade_many(config, [(completion, item)])[0]


def grade_many(config: Mapping[str, Any] | Config, answers: Sequence[Answer]) -> list[Grade]:
    """Grade several completions with one grader, in order; graders that run elsewhere take them as a batch."""
    try:
        graded_many = _compile_many(_bytes(config))
    except Invalid as fault:
        return [ungradable(fault.sentence, fault.code)] * len(answers)
    return graded_many(answers)


def grade_each(requests: Sequence[tuple[Mapping[str, Any] | Config, str, Mapping[str, Any]]]) -> list[Grade]:
    """Grade (grader, completion, item) triples, in order, the ones with the same grader together."""
    together: dict[bytes | Invalid, list[int]] = {}
    for position, (config, _, _) in enumerate(requests):
        together.setdefault(_key(config), []).append(position)
    grades: dict[int, Grade] = {}
    for positions in together.values():
        answers = [requests[position][1:] for position in positions]
        grades.update(zip(positions, grade_many(requests[positions[0]][0], answers), strict=True))
    return [grades[position] for position in range(len(requests))]


def _key(config: Mapping[str, Any] | Config) -> bytes | Invalid:
    try:
        return _bytes(config)
    except Invalid as fault:
        return fault


def gold(config: Mapping[str, Any] | Config, item: Mapping[str, Any]) -> str | None:
    """A completion that must earn full score, where the grader can derive one from its reference."""
    parsed = parse(config)
    derived: str | None = module_of(parsed).gold(parsed, item)
    return derived


def module_of(config: Config) -> ModuleType:
    return modules()[str(config.__struct_config__.tag)]


def item_variables(config: Mapping[str, Any] | Config) -> Sequence[templates.Variable]:
    """Every {{ item.… }} that the configuration reads, for checking a row before it is graded."""
    return _item_variables(_bytes(config))


@remembered
def _item_variables(raw: bytes) -> Sequence[templates.Variable]:
    found = (variable for source in template_sources(_parse(raw)) for variable in templates.parse(source).variables())
    return tuple(dict.fromkeys(variable for variable in found if variable.root == "item"))


def template_sources(config: Mapping[str, Any] | Config) -> Sequence[str]:
    """Every string of the configuration in which a template may stand."""
    parsed = parse(config)
    special = getattr(module_of(parsed), "template_sources", None)
    return tuple(special(parsed) if special else templates.strings(msgspec.to_builtins(parsed)))


def reference_problem(config: Mapping[str, Any] | Config, item: Mapping[str, Any]) -> str | None:
    """Why this item's reference cannot be used, as a sentence, where the grader can tell without grading."""
    return _asked("reference_problem", config, item)


def reference_check(config: Config) -> ReferenceProblem | None:
    """`reference_problem` for many items of one grader, or None where the grader never has one."""
    answer = getattr(module_of(config), "reference_problem", None)
    return partial(_sentence, answer, config) if answer else None


def unavailable(config: Mapping[str, Any] | Config) -> str | None:
    """Why nothing can be graded with this grader on this machine, as a sentence; None where it can."""
    return _asked("unavailable", config)


def trial_problem(config: Mapping[str, Any] | Config) -> str | None:
    """What only a trial shows (source that does not compile, say), as a sentence. May take seconds."""
    return unavailable(config) or _asked("trial_problem", config)


def asks_a_model(config: Mapping[str, Any] | Config) -> bool:
    """Whether every grade costs tokens."""
    asks = getattr(module_of(parsed := parse(config)), "ASKS_A_MODEL", False)
    return bool(asks(parsed) if callable(asks) else asks)


def _asked(question: str, config: Mapping[str, Any] | Config, *given: Any) -> str | None:
    parsed = parse(config)
    answer = getattr(module_of(parsed), question, None)
    return _sentence(answer, parsed, *given) if answer else None


def _sentence(answer: Callable[..., str | None], config: Config, *given: Any) -> str | None:
    try:
        return answer(config, *given)
    except AuthorFault as fault:
        return fault.reason
    except ModelFault:
        return None
