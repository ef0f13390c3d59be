"""Frozen values that travel between the stages of the data side. No rows, no requests, no clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

_NOTHING: Mapping[str, float] = MappingProxyType({})
_NO_TOKENS: Mapping[str, int] = MappingProxyType({})


class Outcome(StrEnum):
    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNGRADABLE = "ungradable"  # our fault or the grader author's, never the model's


class Grade(msgspec.Struct, frozen=True, gc=False):
    """What a grader says about one completion. The same type proves, rewards and evaluates.

    A Struct: a frozen dataclass takes eight times as long to make, and a proof makes fourteen a row.
    """

    outcome: Outcome
    score: float  # in [0, 1]
    read: str | None  # what we read out of the completion
    reason: str  # shown to the contributor as it stands
    sub_scores: Mapping[str, float] = _NOTHING  # per field, each in [0, 1]
    errors: tuple[str, ...] = ()  # flags, e.g. "sample_parse_error", "invalid_variable_error"
    seconds: float = 0.0
    usage: Mapping[str, int] = _NO_TOKENS  # tokens by judge model, prompt and completion

    @property
    def correct(self) -> bool:
        return self.outcome is Outcome.CORRECT


@dataclass(frozen=True, slots=True)
class Issue:
    """What is wrong with one row: a value, not an exception."""

    line: int  # 1-based line of the uploaded file; 0 when the file as a whole is meant
    field: str  # dotted path into the row, "" for the row itself
    code: str  # stable, documented; e.g. "prompt_missing"
    sentence: str  # what is wrong
    remedy: str  # what to do about it
    value: str = ""  # excerpt of the offending value, at most 200 characters
    evidence: Mapping[str, Any] | None = None  # what a check decided by, as JSON: the suite, the share, the shared text


class Message(msgspec.Struct, frozen=True, gc=False):
    role: str  # system | developer | user | assistant; the last one is the user's
    content: str


class Row(msgspec.Struct, frozen=True):
    """One parsed and validated row of an upload, before it becomes a Task."""

    line: int
    messages: tuple[Message, ...]
    item: Mapping[str, Any]  # what the grader reads
    gold: str | None
    grader: Mapping[str, Any] | None  # None: the dataset's default grader
    domain: str  # "" : the dataset's
    metadata: Mapping[str, Any]
