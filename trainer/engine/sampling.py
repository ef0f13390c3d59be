"""Drawing answers from a model: seeded, batched, the same for validation, probes and evaluation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer import constraint
from trainer.constraint import Constraint
from trainer.contract import ChatMessage, Sampling
from trainer.engine.decoding import Decoding, decode
from trainer.engine.faults import Fault
from trainer.engine.loading import context_tokens

Begin = Callable[[], Constraint]  # the state of an answer that is held to a format


ROWS_AT_ONCE = 512  # a step's completions on a real model: what its memory holds while training, it holds here too


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    tokens: tuple[int, ...]  # with the end token where the model set one
    logprobs: tuple[float, ...]  # of each token, nats: under the distribution that it was drawn from, before any format
    truncated: bool  # the model had not finished at the token limit
    drawn_logprobs: tuple[float, ...] = ()  # after the format's mask, where the answer was held to one

    @property
    def surprises(self) -> list[float]:
        """Of each token when it was drawn, nats: what a format forces is no surprise."""
        return [-logprob for logprob in self.drawn_logprobs or self.logprobs]


def conversation(messages: Sequence[ChatMessage]) -> list[dict[str, str]]:
    """As chat templates read it. `developer` is OpenAI's newer word for `system`, which templates know."""
    return [{"role": "system" if m.role == "developer" else m.role, "content": m.content} for m in messages]


def encode(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[ChatMessage]]) -> list[list[int]]:
    """Token ids of every prompt, up to where the assistant begins to speak."""
    rendered = tokenizer.apply_chat_template(
        [conversation(messages) for messages in prompts], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return list(rendered["input_ids"])


def require_room(model: PreTrainedModel, prompts: Sequence[Sequence[int]], max_completion_tokens: int) -> None:
    longest, room = max(map(len, prompts)), context_tokens(model)
    if longest + max_completion_tokens > room:
        raise Fault(
            "data",
            "prompt_too_long",
            f"The longest prompt has {longest} tokens; with {max_completion_tokens} for the answer it exceeds the "
            f"model's {room}: shorten the prompt or the answer.",
        )


def draw(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    held_to: Begin | None = None,
) -> list[list[Answer]]:
    """`answers_per_item` answers to every prompt, in one pass. The global random state stays as it was.

    The same seed draws with the same noise, row for row and token for token. Two models asked with one seed are thereby
    paired: what they would do equally they do equally, which narrows the interval of their difference and biases none.
    """
    k = sampling.answers_per_item
    greedy = sampling.temperature == 0  # every answer would be the same
    how = Decoding(
        answers=1 if greedy else k,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_completion_tokens,
        seed=sampling.seed,
        ends=end_tokens(model, tokenizer),
        pad=tokenizer.pad_token_id,
        begin=held_to,
    )
    try:
        with evaluating(model):
            drawn = decode(model, prompts, how)
    except constraint.Unusable as error:
        raise Fault("model", "format_not_writable", str(error)) from error
    texts = tokenizer.batch_decode([completion.tokens for completion in drawn], skip_special_tokens=True)
    answers = [
        Answer(
            text,
            tuple(completion.tokens),
            tuple(completion.logprobs),
            completion.truncated,
            tuple(completion.drawn_logprobs) if held_to else (),
        )
        for text, completion in zip(texts, drawn, strict=True)
    ]
    if greedy:
        return [[answer] * k for answer in answers]
    return [answers[at : at + k] for at in range(0, len(answers), k)]


def draw_in_turns(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    held_to: Begin | None = None,
    *,
    rows: int = ROWS_AT_ONCE,
) -> list[list[Answer]]:
    """As `draw`, with at most about `rows` answers in memory at once. Each turn has noise of its own."""
    each = max(1, rows // sampling.answers_per_item)
    drawn: list[list[Answer]] = []
    for turn, at in enumerate(range(0, len(prompts), each)):
        how = msgspec.structs.replace(sampling, seed=sampling.seed + turn)
        drawn += draw(model, tokenizer, prompts[at : at + each], how, held_to)
    return drawn


def held_to(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, response_format: Mapping[str, Any] | None
) -> Begin | None:
    """How an answer of this model begins that is held to the format; None: any text. Raises Fault."""
    try:
        if (grammar := constraint.grammar(response_format)) is None:
            return None
        width = model.config.get_text_config().vocab_size
        described = tokenizer.backend_tokenizer.to_str()
        vocabulary = constraint.Vocabulary(described, width, end_tokens(model, tokenizer))
        vocabulary.begin(grammar)  # compiled now: a schema that cannot be used ends the run before its first step
    except constraint.Unusable as error:
        raise Fault("spec", "unusable_response_format", str(error)) from error
    return partial(vocabulary.begin, grammar)


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    declared = model.generation_config.eos_token_id
    several = declared if isinstance(declared, list) else [declared]
    return frozenset(token for token in (*several, tokenizer.eos_token_id) if token is not None)
