"""Drawing answers from a model: seeded, batched, the same for validation, probes and evaluation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from trainer.contract import ChatMessage, Sampling
from trainer.engine.faults import Fault
from trainer.engine.loading import context_tokens


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    tokens: tuple[int, ...]  # with the end token where the model set one
    truncated: bool  # the model had not finished at the token limit


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
) -> list[list[Answer]]:
    """`answers_per_item` answers to every prompt, in one pass. The global random state stays as it was.

    The same seed draws with the same noise, row for row and token for token. Two models asked with one seed are thereby
    paired: what they would do equally they do equally, which narrows the interval of their difference and biases none.
    """
    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    with torch.inference_mode(), evaluating(model), seeded(sampling.seed, model.device):
        drawn = model.generate(
            ids, attention_mask=mask, generation_config=_generation_config(model, tokenizer, sampling)
        )
    answers = [_answer(tokenizer, row, _end_tokens(model, tokenizer)) for row in drawn[:, width:].tolist()]
    k = sampling.answers_per_item
    if sampling.temperature == 0:
        return [[answer] * k for answer in answers]  # greedy: every answer would be the same
    return [answers[at : at + k] for at in range(0, len(answers), k)]


@contextmanager
def seeded(seed: int, on: torch.device) -> Iterator[None]:
    """Draw from a random state of one's own, so that measuring a run does not change it."""
    with torch.random.fork_rng(devices=[on] if on.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _generation_config(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: Sampling
) -> GenerationConfig:
    greedy = sampling.temperature == 0
    choice = {} if greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    return GenerationConfig(
        do_sample=not greedy,
        num_return_sequences=1 if greedy else sampling.answers_per_item,
        max_new_tokens=sampling.max_completion_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=sorted(_end_tokens(model, tokenizer)),
        **choice,
    )


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    declared = model.generation_config.eos_token_id
    several = declared if isinstance(declared, list) else [declared]
    return frozenset(token for token in (*several, tokenizer.eos_token_id) if token is not None)


def _answer(tokenizer: PreTrainedTokenizerBase, row: list[int], ends: frozenset[int]) -> Answer:
    end = next((at for at, token in enumerate(row) if token in ends), None)
    tokens = row if end is None else row[: end + 1]
    return Answer(tokenizer.decode(tokens, skip_special_tokens=True), tuple(tokens), truncated=end is None)
