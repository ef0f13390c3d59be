"""One row to a Row or to its Issues. Pure: the same row and default grader give the same answer, on one machine (what
a machine cannot run, such as untrusted code without a sandbox, is refused here).

Every code, with its sentence and remedy, is in tasks.formats.codes.CODES.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tasks.errors import Invalid
from tasks.formats import native
from tasks.formats.codes import CODES, issue
from tasks.formats.jsonl import kind_of
from tasks.graders import registry, templates
from tasks.text import refused_character
from tasks.types import Issue, Row

__all__ = ["CODES", "check_against", "validate"]

_ESCAPED_NUL = b"\\u0000"
_MOST_SEEN = 256


class _Asked(NamedTuple):
    """What a row is asked on behalf of a grader."""

    config: registry.Config
    variables: Sequence[templates.Variable]
    judged: bool
    reference_problem: registry.ReferenceProblem | None


_seen: dict[int, _Asked] = {}  # by the object's id; it is held, so that no other one gets that id


def validate(
    raw: Mapping[str, Any],
    *,
    line: int,
    default: Mapping[str, Any] | registry.Config | None = None,
    source: bytes | None = None,
) -> Row | list[Issue]:
    """Check one parsed row. `default` is the dataset's grader; with neither, the row is right and waits for one.

    `source` is the JSON that the row was decoded from. The decoder refuses halves of surrogate pairs, so an escaped
    NUL is the one character that is left to be found, and text without one needs no walk.
    """
    if (source is None or _ESCAPED_NUL in source) and (refused := next(_refused(raw, ""), None)):
        field, what = refused
        return [issue("nul" if "NUL" in what else "lone_surrogate", line=line, field=field)]
    read, issues = native.fields(raw, line)
    grader = read.grader if read.grader is not None else default
    if grader is not None:
        if isinstance(grader, Mapping | registry.Config):
            issues += check_against(grader, read.item, line)
        else:
            detail = f"`grader` is {kind_of(grader)}, not an object."
            issues.append(issue("bad_grader", line=line, field="grader", detail=detail))
    if issues:
        return issues
    return Row(line, read.messages, read.item, read.gold, read.grader, read.domain, read.metadata)


def check_against(grader: Mapping[str, Any] | registry.Config, item: Mapping[str, Any], line: int) -> list[Issue]:
    """Whether the grader is sound and the item gives it what it reads. Asked again when a dataset gets its grader."""
    try:
        config = registry.parse(grader)
    except Invalid as fault:
        return [issue(fault.code, line=line, field=fault.param or "grader", detail=fault.sentence)]
    # A judge that nobody knows is the author's to name rightly. A sandbox that is missing is ours to repair: the row is
    # taken, and its proof leaves it undecided until there is one.
    asked = _asked(config)
    if asked.judged and (sentence := registry.unavailable(config)):
        return [issue("grader_unavailable", line=line, field="grader", detail=sentence)]
    missing = [variable for variable in asked.variables if not _holds(item, variable)]
    if missing:
        return [_missing(variable, line) for variable in dict.fromkeys(missing)]
    if asked.reference_problem is not None and (problem := asked.reference_problem(item)):
        value = templates.as_text(item["reference"]) if "reference" in item else ""
        return [issue("reference_bad", line=line, field="reference", detail=problem, value=value)]
    return []


def _asked(config: registry.Config) -> _Asked:
    """Remembered by the object, which rows share: to look it up by its JSON would cost more than all else here."""
    known = _seen.get(id(config))
    if known is None or known.config is not config:
        if len(_seen) >= _MOST_SEEN:
            _seen.clear()
        variables, problem = registry.item_variables(config), registry.reference_check(config)
        known = _seen[id(config)] = _Asked(config, variables, registry.asks_a_model(config), problem)
    return known


def _holds(item: Mapping[str, Any], variable: templates.Variable) -> bool:
    if len(variable.steps) == 1:
        return variable.steps[0] in item
    try:
        templates.walk(item, variable.steps)
    except LookupError:
        return False
    return True


def _missing(variable: templates.Variable, line: int) -> Issue:
    if variable.steps == ("reference",):
        return issue("reference_missing", line=line, field="reference")
    return issue("variable_missing", line=line, field=variable.source, detail=variable.source)


def _refused(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """(field, character) wherever a text cannot be stored."""
    if isinstance(value, str):
        if what := refused_character(value):
            yield path, what
    elif isinstance(value, dict):
        for key, inner in value.items():
            if what := refused_character(key):
                yield path, what
            yield from _refused(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _refused(inner, f"{path}[{position}]")
