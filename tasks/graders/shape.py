"""JSON Schema for the shape of a reply: checked when the grader is made, applied without a network.

jsonschema would fetch a remote $ref, match patterns with a backtracking engine, compare every two items for
uniqueItems, and follow schemas that double with each $ref. Here every $ref points into the schema itself, patterns go
to RE2, unique items to a set, and a check ends after MAX_STEPS.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from threading import local
from typing import Any

from tasks.graders.outcome import ModelFault

MAX_NODES = 2000  # objects and lists in a schema
MAX_STEPS = 200_000  # keywords applied to one reply, large values counting more: a second or two
_VALUES_A_STEP = 16
_REFUSED = ("unevaluatedProperties", "unevaluatedItems")  # jsonschema matches patterns for them by itself
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

Check = Callable[[Any], None]


def compile(schema: Mapping[str, Any]) -> Check:
    """A function that raises ModelFault on a reply of another shape. Raises ValueError on a schema of no use."""
    from jsonschema import SchemaError

    _check(schema)
    validator_class = _validator_class()
    try:
        validator_class.check_schema(schema)
    except (SchemaError, RecursionError) as fault:
        raise ValueError(
            f"`schema` is not a JSON Schema: {getattr(fault, 'message', 'it nests too deep')[:200]}"
        ) from None
    _resolve_all(schema)
    validator = validator_class(schema, registry=_closed())
    try:
        _first_error(validator, {})
    except (RecursionError, _TooManySteps):
        raise ValueError("`schema` cannot be applied even to {}: it calls itself for ever, or doubles") from None

    def check(reply: Any) -> None:
        try:
            found = _first_error(validator, reply)
        except RecursionError:
            raise ModelFault(
                "schema_mismatch", "The reply cannot be checked against the schema: it nests too deep."
            ) from None
        except _TooManySteps:
            raise ModelFault(
                "too_long", f"Checking the reply against the schema takes more than {MAX_STEPS:,} steps."
            ) from None
        if found is not None:
            where = "".join(f".{step}" for step in found.absolute_path) or "the reply"
            raise ModelFault("schema_mismatch", f"{where.lstrip('.')}: {found.message[:200]}")

    return check


class _TooManySteps(Exception):
    pass


class _Steps(local):
    """Of the check that this thread is busy with."""

    left = 0
    weights: Mapping[int, int] = {}  # id of a list or an object of the reply -> what looking at it costs


_steps = _Steps()


def _first_error(validator: Any, reply: Any) -> Any:
    weights: dict[int, int] = {}
    _weigh(reply, weights)
    _steps.left, _steps.weights = MAX_STEPS, weights
    return next(validator.iter_errors(reply), None)


def _weigh(value: Any, weights: dict[int, int]) -> int:
    """How many values it holds, itself among them: a keyword that fails writes all of them into its message."""
    if isinstance(value, str):
        return 1 + len(value) // _VALUES_A_STEP
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    count = 1 + sum(_weigh(entry, weights) for entry in inside)
    weights[id(value)] = count // _VALUES_A_STEP
    return count


def _counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
    def applied(validator: Any, wanted: Any, instance: Any, schema: Any) -> Any:
        _steps.left -= 1 + _steps.weights.get(id(instance), 0)
        if _steps.left < 0:
            raise _TooManySteps
        return keyword(validator, wanted, instance, schema)

    return applied


def _check(schema: Mapping[str, Any]) -> None:
    for number, node in enumerate(_nodes(schema)):
        if number > MAX_NODES:
            raise ValueError(f"`schema` has more than {MAX_NODES:,} objects and lists: simplify it")
        if refused := next((name for name in _REFUSED if name in node), None):
            raise ValueError(f"`schema` has {refused}, which is not supported: list the properties instead")
        for name in _REFERENCES:
            target = node.get(name)
            if target is not None and not (isinstance(target, str) and target.startswith("#")):
                raise ValueError(
                    f"`schema` refers to '{str(target)[:80]}', which is not fetched: copy it into $defs, use #/$defs/…"
                )
        for pattern in (node.get("pattern"), *(node.get("patternProperties") or ())):
            if isinstance(pattern, str):
                _pattern(pattern)


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _resolve_all(schema: Mapping[str, Any]) -> None:
    """A reference that leads nowhere is found now, not in the middle of a run."""
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    resolver = _closed().with_resource("", DRAFT202012.create_resource(schema)).resolver()
    for target in {node.get(name) for node in _nodes(schema) for name in _REFERENCES} - {None}:
        try:
            resolver.lookup(target)
        except Unresolvable:
            raise ValueError(f"`schema` refers to '{str(target)[:80]}', which is not in it") from None


@lru_cache(maxsize=128)  # each holds up to some megabytes
def _pattern(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options=options)
    except re2.error as fault:
        raise ValueError(f"`schema` has the pattern '{pattern[:80]}', which RE2 refuses: {fault}") from None


@cache
def _closed() -> Any:
    """A registry that knows no other document and has no way to get one."""
    from referencing import Registry

    return Registry()


@cache
def _validator_class() -> Any:
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    def pattern(validator: Any, wanted: str, instance: Any, schema: Any) -> Iterator[Any]:
        if isinstance(instance, str) and not _pattern(wanted).search(instance):
            yield ValidationError(f"'{instance[:60]}' does not match '{wanted[:60]}'")

    def pattern_properties(validator: Any, wanted: Mapping[str, Any], instance: Any, schema: Any) -> Iterator[Any]:
        if isinstance(instance, dict):
            for expression, inner in wanted.items():
                for name, value in instance.items():
                    if _pattern(expression).search(name):
                        yield from validator.descend(value, inner, path=name, schema_path=expression)

    def additional_properties(validator: Any, wanted: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
        if not isinstance(instance, dict):
            return
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name, value in instance.items():
            if name in known or any(_pattern(expression).search(name) for expression in patterns):
                continue
            if wanted is False:
                yield ValidationError(f"'{name[:60]}' is not wanted")
            elif isinstance(wanted, dict):
                yield from validator.descend(value, wanted, path=name)

    def unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if wanted and isinstance(instance, list) and len(set(map(_hashable, instance))) < len(instance):
            yield ValidationError("it names an item twice")

    own = {
        "pattern": pattern,
        "patternProperties": pattern_properties,
        "additionalProperties": additional_properties,
        "uniqueItems": unique_items,
    }
    keywords = {**Draft202012Validator.VALIDATORS, **own}
    return extend(Draft202012Validator, {name: _counted(keyword) for name, keyword in keywords.items()})


def _hashable(value: Any) -> Any:
    """Equal for equal JSON values, and for no others: 1 is 1.0, and true is not 1."""
    if isinstance(value, Mapping):
        return ("object", frozenset((name, _hashable(entry)) for name, entry in value.items()))
    if isinstance(value, list):
        return ("array", tuple(map(_hashable, value)))
    return (isinstance(value, bool), value)
