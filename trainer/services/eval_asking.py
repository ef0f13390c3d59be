"""The model of a run, asked about items: a few at a time, because the model server answers those together."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from tasks.errors import FlywheelError, NotFound
from tasks.graders.outcome import AuthorFault
from trainer.evaluation import eval_items, prompting
from trainer.evaluation.eval_items import Answer
from trainer.evaluation.prompting import Prompt
from trainer.models import EvalRun
from trainer.services import serving
from trainer.services.serving import ModelServerDown, ModelServerRefused, Served

AT_ONCE = 8
TRIES = 3
PAUSE_SECONDS = 0.5  # before the second try; doubles
_BUSY = (408, 409, 425, 429)
_OF_THE_ITEM = frozenset({"timeout", "generation_failed"})  # the next item may well be answered
_A_FEW = 3  # items: where none of more is answered it is the server


class Unavailable(Exception):
    """The model server does not answer. What was asked is asked again later."""

    def __init__(self, fault: FlywheelError) -> None:
        super().__init__(fault.sentence)
        self.fault = fault


class NeverAnswered(Exception):
    """Each of several requests was refused for the same parameter: no other item will fare better."""

    def __init__(self, fault: ModelServerRefused) -> None:
        super().__init__(fault.sentence)
        self.fault = fault


def ask_all(run: EvalRun, items: Sequence[Mapping[str, Any]], *, first: bool) -> list[Answer]:
    """Answers in order. Nothing is read from the database here: threads would each open a connection of their own.

    `first`: nobody has answered anything of this run yet, so that a refused parameter is no matter of the item.
    """
    served = run.served
    if served is None:
        raise NotFound("model_not_found", f"The model {run.model} is not there any more: begin a run of another one.")
    prompt = msgspec.convert(run.prompt, Prompt)
    refused: list[ModelServerRefused] = []

    def ask(item: Mapping[str, Any]) -> Answer:
        try:
            messages = prompting.messages_for(prompt, item)
        except AuthorFault as fault:
            return eval_items.no_messages(fault)
        try:
            return _answer(messages, _asked(served, {**run.sampling, "messages": messages}))
        except ModelServerRefused as fault:
            refused.append(fault)
            return Answer(messages=messages, code=fault.code, fault=fault.sentence)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="eval") as pool:
        answers = list(pool.map(ask, items))
    if len(items) > _A_FEW and len(refused) == len(items) and all(fault.code in _OF_THE_ITEM for fault in refused):
        raise Unavailable(refused[0])
    if first and refused and len(refused) == len(items) and refused[0].param in run.sampling:
        raise NeverAnswered(refused[0])
    return answers


def _asked(served: Served, body: dict[str, Any]) -> dict[str, Any]:
    for attempt in range(TRIES):
        try:
            reply: dict[str, Any] = serving.chat(served, body)
            return reply
        except (ModelServerDown, ModelServerRefused) as fault:
            if isinstance(fault, ModelServerRefused) and _is_final(fault):
                raise
            if attempt + 1 == TRIES:
                raise Unavailable(fault) from fault
            time.sleep(PAUSE_SECONDS * 2**attempt)
    raise AssertionError  # pragma: no cover


def _is_final(fault: ModelServerRefused) -> bool:
    """Whether the same item would be refused again."""
    return fault.code in _OF_THE_ITEM or (fault.status < 500 and fault.status not in _BUSY)


def _answer(messages: list[dict[str, str]], reply: Mapping[str, Any]) -> Answer:
    try:
        choice = reply["choices"][0]
        text, ending = choice["message"]["content"] or "", choice.get("finish_reason") or "stop"
        usage = reply.get("usage") or {}
        return Answer(
            str(text), messages, str(ending), int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
        )
    except (LookupError, TypeError, AttributeError, ValueError):
        return Answer(messages=messages, code="unreadable", fault="The model server's reply is no chat completion.")
