"""News: what a team may be told of when it happens, which events it is made of, and how it is worded.

A closed vocabulary, because receivers are programs of others: events may be renamed, these types may not.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class News(StrEnum):
    RUN_SUCCEEDED = "run.succeeded"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    RUN_PAUSED = "run.paused"
    EVALUATION_FAILED = "evaluation.failed"
    GATE_DECIDED = "gate.decided"
    MODEL_PROMOTED = "model.promoted"
    MODEL_ROLLED_BACK = "model.rolled_back"
    TEST = "webhook.test"  # sent by hand only


CHOICES: Mapping[News, str] = {
    News.RUN_SUCCEEDED: "a run ended with a version, early stopping and stops by an alarm included",
    News.RUN_FAILED: "a run broke",
    News.RUN_CANCELLED: "somebody cancelled a run",
    News.RUN_PAUSED: "a run is paused: a budget is spent, or somebody asked for it",
    News.EVALUATION_FAILED: "an evaluation broke: there will be no verdict",
    News.GATE_DECIDED: "the gate decided: PROMOTE, HOLD, INCONCLUSIVE or INVALID",
    News.MODEL_PROMOTED: "a version became champion",
    News.MODEL_ROLLED_BACK: "an earlier champion is champion again",
}

_OF_EVENT: Mapping[str, News] = {
    "trainingrun.succeeded": News.RUN_SUCCEEDED,
    "trainingrun.failed": News.RUN_FAILED,
    "trainingrun.cancelled": News.RUN_CANCELLED,
    "trainingrun.paused": News.RUN_PAUSED,
    "evaluation.failed": News.EVALUATION_FAILED,
    "gate.promote": News.GATE_DECIDED,
    "gate.hold": News.GATE_DECIDED,
    "gate.inconclusive": News.GATE_DECIDED,
    "gate.invalid": News.GATE_DECIDED,
    "alias.champion": News.MODEL_PROMOTED,
}
EVENT_KINDS = frozenset(_OF_EVENT)


def of_event(kind: str, data: Mapping[str, Any]) -> News:
    """Of an event whose kind is among EVENT_KINDS. A champion that was there before came by a rollback."""
    news = _OF_EVENT[kind]
    return News.MODEL_ROLLED_BACK if news is News.MODEL_PROMOTED and data.get("back") else news


def body(news: News, at: str, data: Mapping[str, Any]) -> str:
    """The message as it is signed and sent, at every try the same."""
    return json.dumps({"type": news, "timestamp": at, "data": data}, separators=(",", ":"), ensure_ascii=False)


def headline(news: News, data: Mapping[str, Any]) -> str:
    """One line: the subject of an e-mail."""
    match news:
        case News.RUN_SUCCEEDED | News.RUN_FAILED | News.RUN_PAUSED:
            return f"Run {data['run']} of {data['line']} {_IS[news]}"
        case News.RUN_CANCELLED:
            return f"Run {data['run']} of {data['line']} was cancelled"
        case News.EVALUATION_FAILED:
            return f"The evaluation of {data['candidate']} failed"
        case News.GATE_DECIDED:
            return f"{data['verdict']}: {data['candidate']} against {data['champion']}"
        case News.MODEL_PROMOTED:
            return f"{data['version']} is champion of {data['line']}"
        case News.MODEL_ROLLED_BACK:
            return f"{data['version']} is champion of {data['line']} again"
        case News.TEST:
            return f"A test of {data['webhook']}"


_IS = {News.RUN_SUCCEEDED: "succeeded", News.RUN_FAILED: "failed", News.RUN_PAUSED: "is paused"}


def mail(message: str) -> tuple[str, str]:
    """Subject and text of a message by e-mail."""
    told = json.loads(message)
    data = told["data"]
    lines = [f"{name.replace('_', ' ')}: {_said(value)}" for name, value in data.items() if value not in (None, "")]
    return f"[Flywheel] {headline(News(told['type']), data)}", "\n".join([*lines, "", f"At {told['timestamp']}.", ""])


def _said(value: Any) -> str:
    return ", ".join(f"{name} {part}" for name, part in value.items()) if isinstance(value, dict) else str(value)
