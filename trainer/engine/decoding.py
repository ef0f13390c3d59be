"""Drawing tokens from a causal LM in batches that shrink: a row that has ended is dropped, not carried on as padding.

Completions of one batch differ much in length, and `generate` computes every row until the longest one ends. The noise
of a row belongs to the row and the position (inverse transform sampling, one uniform number for each token), so that
what a row becomes depends neither on the rows beside it nor on when those end: two models asked with one seed are
paired, and a resumed run draws again what it drew.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, TopPLogitsWarper

SHRINK_BELOW = 0.75  # share of rows still going: selecting from the cache costs a copy of it
ONE_THREAD_BELOW = 20_000_000  # parameters: starting threads for matrices so small costs more than they save


@dataclass(frozen=True, slots=True)
class Completion:
    tokens: list[int]  # with the end token where the model set one
    logprobs: list[float]  # of each token under the distribution that it was drawn from, nats
    truncated: bool  # not ended within the limit


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are drawn. `temperature` 0 takes the likeliest one."""

    answers: int  # to each prompt
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    ends: frozenset[int]
    pad: int


@torch.inference_mode()
def decode(model: PreTrainedModel, prompts: Sequence[Sequence[int]], how: Decoding) -> list[Completion]:
    """`how.answers` completions of each prompt, in the order of the prompts. The global random state is not touched."""
    with _threads(model):
        return _decode(model, prompts, how)


def _decode(model: PreTrainedModel, prompts: Sequence[Sequence[int]], how: Decoding) -> list[Completion]:
    state = _Prefilled(model, prompts, how)
    total = len(prompts) * how.answers
    noise = torch.Generator(device="cpu").manual_seed(how.seed)
    tokens_b_t = torch.full((total, how.max_tokens), how.pad, device=model.device)
    logprobs_b_t = torch.zeros(total, how.max_tokens, device=model.device)
    lengths_b = torch.full((total,), how.max_tokens, device=model.device)
    ends = torch.tensor(sorted(how.ends), device=model.device)
    for at in range(how.max_tokens):
        uniform_b = torch.rand(total, generator=noise).to(model.device)
        token_b, logprob_b = _choose(state.logits_b_v, uniform_b[state.rows], how)
        tokens_b_t[state.rows, at], logprobs_b_t[state.rows, at] = token_b, logprob_b
        ended_b = state.going_b & torch.isin(token_b, ends)
        lengths_b[state.rows[ended_b]] = at + 1
        state.going_b = state.going_b & ~ended_b
        if at + 1 == how.max_tokens or not state.go_on(token_b):
            break
    return _completions(tokens_b_t, logprobs_b_t, lengths_b, how)


class _Prefilled:
    """The rows still computed, with their cache; `going_b` tells which of them have not ended yet.

    Each prompt is read once, whatever the number of its answers.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], how: Decoding) -> None:
        self._model = model
        width = max(map(len, prompts))
        ids = [[how.pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        mask_b_t = torch.tensor(mask, device=model.device)
        positions_b_t = (mask_b_t.cumsum(-1) - 1).clamp(min=0)
        read = model(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=mask_b_t,
            position_ids=positions_b_t,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = read.past_key_values
        if how.answers > 1:
            self._cache.batch_repeat_interleave(how.answers)
        self.logits_b_v = read.logits[:, -1].repeat_interleave(how.answers, 0)
        self._mask_b_t = mask_b_t.repeat_interleave(how.answers, 0)
        self._position_b = positions_b_t[:, -1].repeat_interleave(how.answers, 0)
        self.rows = torch.arange(len(prompts) * how.answers, device=model.device)
        self.going_b = torch.ones_like(self.rows, dtype=torch.bool)

    def go_on(self, token_b: torch.Tensor) -> bool:
        """Read the tokens just drawn; False when no row goes on. Rows that ended leave once they are many."""
        left = int(self.going_b.sum())
        if not left:
            return False
        if left < SHRINK_BELOW * len(self.going_b):
            token_b = self._keep(self.going_b.nonzero().squeeze(1), token_b)
        self._mask_b_t = torch.cat([self._mask_b_t, self._mask_b_t.new_ones(len(self.rows), 1)], 1)
        self._position_b = self._position_b + 1
        read = self._model(
            input_ids=token_b.unsqueeze(1),
            attention_mask=self._mask_b_t,
            position_ids=self._position_b.unsqueeze(1),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache, self.logits_b_v = read.past_key_values, read.logits[:, -1]
        return True

    def _keep(self, kept: torch.Tensor, token_b: torch.Tensor) -> torch.Tensor:
        self._cache.batch_select_indices(kept)
        self.rows, self.going_b = self.rows[kept], self.going_b[kept]
        self._mask_b_t, self._position_b = self._mask_b_t[kept], self._position_b[kept]
        return token_b[kept]


def _choose(logits_b_v: torch.Tensor, uniform_b: torch.Tensor, how: Decoding) -> tuple[torch.Tensor, torch.Tensor]:
    """The next token of each row, and its log probability."""
    if how.temperature == 0:
        logprob_b, token_b = logits_b_v.float().log_softmax(-1).max(-1)
        return token_b, logprob_b
    scaled_b_v = logits_b_v.float() / how.temperature
    if how.top_p < 1:
        scaled_b_v = TopPLogitsWarper(how.top_p)(None, scaled_b_v)
    logp_b_v = scaled_b_v.log_softmax(-1)
    cumulative_b_v = logp_b_v.exp().cumsum(-1)
    # `right`: a token of probability 0 covers no interval and can never be drawn. The product may round up to the
    # total, past the last interval; the number below it is in the last one that covers anything.
    total_b = cumulative_b_v[:, -1]
    threshold_b = torch.minimum(uniform_b * total_b, total_b.nextafter(torch.zeros_like(total_b)))
    token_b = torch.searchsorted(cumulative_b_v, threshold_b.unsqueeze(1), right=True).squeeze(1)
    token_b = token_b.clamp(max=logp_b_v.size(1) - 1)  # of a policy that is not finite, which the guard will see
    return token_b, logp_b_v.gather(1, token_b.unsqueeze(1)).squeeze(1)


def _completions(
    tokens_b_t: torch.Tensor, logprobs_b_t: torch.Tensor, lengths_b: torch.Tensor, how: Decoding
) -> list[Completion]:
    rows = zip(tokens_b_t.tolist(), logprobs_b_t.tolist(), lengths_b.tolist(), strict=True)
    return [
        Completion(tokens[:length], logprobs[:length], truncated=tokens[length - 1] not in how.ends)
        for tokens, logprobs, length in rows
    ]


@contextmanager
def _threads(model: PreTrainedModel) -> Iterator[None]:
    """One thread for a tiny model on CPU. The number is the same on every attempt, so that sums round alike."""
    before = torch.get_num_threads()
    tiny = model.device.type == "cpu" and model.num_parameters() < ONE_THREAD_BELOW
    if tiny:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if tiny:
            torch.set_num_threads(before)
