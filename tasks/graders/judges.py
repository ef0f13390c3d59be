"""Who judges here: which server on the OpenAI wire speaks for which model.

That is an operator's decision and never the grader's: a configuration names a model, `JUDGES` and `JUDGE_URL` say where
it is asked. The platform's own served models are found through a resolver, and an engine reads all of it from an open
descriptor, so that no key stands in a specification or in an environment.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import msgspec

# Number of the open descriptor from which an engine reads its judges, once; for several processes a path.
DESCRIPTOR = "JUDGES_FD"


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One server. `model` is what it calls the model, "" for the name that the grader uses."""

    url: str  # as in https://judge.example/v1
    api_key: str = ""
    model: str = ""

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, model={self.model!r})"  # the key stays out of logs


class Judges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who judges here: pattern of model names (`gpt-*`) → server. The first pattern that matches decides."""

    endpoints: dict[str, Endpoint] = {}
    seconds: float = 120.0  # for one verdict, repetitions included
    at_once: int = 8  # requests under way in this process
    pause_seconds: float = 0.5  # before the first repetition; doubles

    def find(self, model: str) -> Endpoint | None:
        return next((found for pattern, found in self.endpoints.items() if fnmatchcase(model, pattern)), None)


def of_environment(environment: Mapping[str, str]) -> Judges:
    """JUDGES first, JUDGE_URL for every other model. Raises ValueError with a sentence on nonsense."""
    endpoints = {pattern: _entry(pattern, value, environment) for pattern, value in _table(environment).items()}
    if url := environment.get("JUDGE_URL", ""):
        endpoints.setdefault("*", Endpoint(_address("JUDGE_URL", url), environment.get("JUDGE_API_KEY", "")))
    return Judges(
        endpoints,
        seconds=_number(environment, "JUDGE_SECONDS", 120, low=1, high=3600),
        at_once=_number(environment, "JUDGE_CONCURRENCY", 8, low=1, high=256),
    )


def _table(environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        table = json.loads(environment.get("JUDGES") or "{}")
    except ValueError:
        table = None
    if not isinstance(table, dict):
        raise ValueError('JUDGES must be a JSON object: {"model or pattern": {"url": "https://…/v1"}}.')
    return table


def _entry(pattern: str, value: Any, environment: Mapping[str, str]) -> Endpoint:
    known = {"url", "api_key_env", "model"}
    if not isinstance(value, dict) or not value.keys() <= known or not all(isinstance(v, str) for v in value.values()):
        raise ValueError(f"JUDGES must give '{pattern}' an object with url, and api_key_env and model where needed.")
    variable = value.get("api_key_env", "")
    if variable and not environment.get(variable):
        raise ValueError(
            f"JUDGES names {variable} for '{pattern}', which is not set: set it, or leave api_key_env out."
        )
    key = environment[variable] if variable else ""
    return Endpoint(_address(f"JUDGES for '{pattern}'", value.get("url", "")), key, value.get("model", ""))


def _address(name: str, url: str) -> str:
    if not url.startswith(("https://", "http://")) or len(url) < 9 or any(sign.isspace() for sign in url):
        raise ValueError(f"{name} must be the base address of a server, as in https://judge.example/v1, not {url!r}.")
    return url


def _number(environment: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    value = environment.get(name) or str(default)
    if not value.isdecimal() or not low <= int(value) <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}.")
    return int(value)


@cache
def of_this_process() -> Judges:
    """From the descriptor that the launcher left open for an engine, else from the environment."""
    if descriptor := os.environ.pop(DESCRIPTOR, ""):
        with open(int(descriptor) if descriptor.isdecimal() else descriptor, "rb") as file:
            return msgspec.json.decode(file.read(), type=Judges)
    return of_environment(os.environ)


# Names that only the platform can resolve: (model, team or None) -> its server. Installed by the process that can.
Resolver = Callable[[str, int | None], Endpoint | None]
_resolvers: list[Resolver] = []
_team: ContextVar[int | None] = ContextVar("judging_team", default=None)
_judges: ContextVar[Judges | None] = ContextVar("judging_judges", default=None)
_known: ContextVar[dict[str, Endpoint | str] | None] = ContextVar("judging_known", default=None)


def resolve_with(resolver: Resolver) -> None:
    """Ask this function for models that no pattern knows: the platform's own served models."""
    _resolvers[:] = [resolver]


@contextmanager
def for_team(team: int | None) -> Iterator[None]:
    """Grade on behalf of a team: its own served models may judge too. Without one only what everybody may ask.

    What a name means is looked up once in such a block.
    """
    with _set(_team, team), _set(_known, {}):
        yield


@contextmanager
def using(judges: Judges) -> Iterator[None]:
    """Grade with these judges instead of the process's."""
    with _set(_judges, judges), _set(_known, None):
        yield


@contextmanager
def settled(models: Sequence[str]) -> Iterator[None]:
    """Look the models up now: a resolver that reads a database must not be called in a thread of its own."""
    known = _known.get()
    with _set(_known, {} if known is None else known):
        for model in models:
            look_up(model)
        yield


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def current() -> Judges:
    return _judges.get() or of_this_process()


def look_up(model: str) -> Endpoint | str:
    """The server that speaks for the model, or in a sentence why nobody can be asked. Asks nobody."""
    known = _known.get()
    if known is None:
        return _found_or_not(model)
    if model not in known:
        known[model] = _found_or_not(model)
    return known[model]


def _found_or_not(model: str) -> Endpoint | str:
    try:
        found = _find(model)
    except ValueError as fault:
        return str(fault)
    nobody = f"No judge is known for the model '{model[:80]}'"
    return found or f"{nobody}: set JUDGE_URL, add it to JUDGES, or name a served model."


def _find(model: str) -> Endpoint | None:
    """An operator's pattern other than `*`, a served model, then `*`."""
    judges = current()
    if found := Judges({pattern: found for pattern, found in judges.endpoints.items() if pattern != "*"}).find(model):
        return found
    served = next((found for resolver in _resolvers if (found := resolver(model, _team.get()))), None)
    return served or judges.endpoints.get("*")


def unavailable(model: str) -> str | None:
    found = look_up(model)
    return found if isinstance(found, str) else None
