"""Drawing tokens from a causal LM in batches that shrink: a row that has ended is dropped, not carried on as padding.

Completions of one batch differ much in length, and `generate` computes every row until the longest one ends. The noise
of a row belongs to the row and the position (inverse transform sampling, one uniform number for each token), so that
what a row becomes depends neither on the rows beside it nor on when those end: two models asked with one seed are
paired, and a resumed run draws again what it drew.

Answers may be held to a format: each row then has a state of its own, which says what its next token may be.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel, TopPLogitsWarper

from trainer.constraint import Constraint, Unusable

SHRINK_BELOW = 0.75  # share of rows still going: selecting from the cache costs a copy of it
ONE_THREAD_BELOW = 20_000_000  # parameters: starting threads for matrices so small costs more than they save


@dataclass(frozen=True, slots=True)
class Completion:
    tokens: list[int]  # with the end token where the model set one
    logprobs: list[float]  # of each token, nats: under the distribution that it was drawn from, before any format
    truncated: bool  # not ended within the limit
    drawn_logprobs: list[float]  # the same after the format's mask; without a format these are the same numbers


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
    begin: Callable[[], Constraint] | None = None  # the state of an answer that is held to a format


@torch.inference_mode()
def decode(model: PreTrainedModel, prompts: Sequence[Sequence[int]], how: Decoding) -> list[Completion]:
    """`how.answers` completions of each prompt, in the order of the prompts. The global random state is not touched."""
    with _threads(model):
        return _decode(model, prompts, how)


def _decode(model: PreTrainedModel, prompts: Sequence[Sequence[int]], how: Decoding) -> list[Completion]:
    state = _Prefilled(model, prompts, how)
    total = len(prompts) * how.answers
    held = _Held([how.begin() for _ in range(total)]) if how.begin else None
    noise = torch.Generator(device="cpu").manual_seed(how.seed)
    written = _Written(total, how, model.device)
    ends = torch.tensor(sorted(how.ends), device=model.device)
    for at in range(how.max_tokens):
        uniform_b = torch.rand(total, generator=noise).to(model.device)
        shut_b_v = held.shut(state.rows, state.going_b) if held else None
        token_b, logprob_b, drawn_b = _choose(state.logits_b_v, uniform_b[state.rows], how, shut_b_v)
        written.add(at, state.rows, token_b, logprob_b, drawn_b)
        ended_b = state.going_b & torch.isin(token_b, ends)
        if held:
            held.accept(state.rows[state.going_b], token_b[state.going_b])
        written.end(at, state.rows[ended_b])
        state.going_b = state.going_b & ~ended_b
        if at + 1 == how.max_tokens or not state.go_on(token_b):
            break
    return written.completions()


class _Written:
    """What the rows are made of so far."""

    def __init__(self, total: int, how: Decoding, device: torch.device) -> None:
        self._tokens_b_t = torch.full((total, how.max_tokens), how.pad, device=device)
        self._logprobs_b_t = torch.zeros(total, how.max_tokens, device=device)
        self._drawn_b_t = self._logprobs_b_t if how.begin is None else torch.zeros_like(self._logprobs_b_t)
        self._lengths_b = torch.full((total,), how.max_tokens, device=device)
        self._whole_b = torch.zeros(total, dtype=torch.bool, device=device)

    def add(
        self, at: int, rows: torch.Tensor, token_b: torch.Tensor, logprob_b: torch.Tensor, drawn_b: torch.Tensor
    ) -> None:
        self._tokens_b_t[rows, at] = token_b
        self._logprobs_b_t[rows, at], self._drawn_b_t[rows, at] = logprob_b, drawn_b

    def end(self, at: int, rows: torch.Tensor) -> None:
        self._lengths_b[rows], self._whole_b[rows] = at + 1, True

    def completions(self) -> list[Completion]:
        columns = (self._tokens_b_t, self._logprobs_b_t, self._drawn_b_t, self._lengths_b, self._whole_b)
        return [
            Completion(tokens[:length], logprobs[:length], not whole, drawn[:length])
            for tokens, logprobs, drawn, length, whole in zip(*(each.tolist() for each in columns), strict=True)
        ]


class _Held:
    """The states of all rows, of which a step asks those that still go on."""

    def __init__(self, states: Sequence[Constraint]) -> None:
        self._states = states

    def shut(self, rows: torch.Tensor, going_b: torch.Tensor) -> torch.Tensor:
        """Which tokens may not follow, by row; none is shut to a row that has ended and is only carried along."""
        open_b_v = []
        for row, going in zip(rows.tolist(), going_b.tolist(), strict=True):
            mask = self._states[row].allowed()
            if going and not mask.any():
                raise Unusable(self._states[row].dead_end)
            open_b_v.append(mask if going else np.ones_like(mask))
        return ~torch.from_numpy(np.stack(open_b_v)).to(rows.device)

    def accept(self, rows: torch.Tensor, token_b: torch.Tensor) -> None:
        """Also where nothing but an end may follow, it is drawn like any token: the model learns to say it."""
        for row, token in zip(rows.tolist(), token_b.tolist(), strict=True):
            self._states[row].accept(token)


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
        self._cache.reorder_cache(kept)  # which layers with a state know too
        self.rows, self.going_b = self.rows[kept], self.going_b[kept]
        self._mask_b_t, self._position_b = self._mask_b_t[kept], self._position_b[kept]
        return token_b[kept]


def _choose(
    logits_b_v: torch.Tensor, uniform_b: torch.Tensor, how: Decoding, shut_b_v: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The next token of each row, its log probability before the format's mask and the one after it.

    The first is the policy's own: the update computes it without a mask, and the two must be the same number while the
    policy is (trainer/engine/updating.py).
    """
    own_b_v = logits_b_v.float() / (how.temperature or 1.0)
    open_b_v = own_b_v if shut_b_v is None else own_b_v.masked_fill(shut_b_v, -math.inf)
    if how.temperature and how.top_p < 1:
        open_b_v = TopPLogitsWarper(how.top_p)(None, open_b_v)
    logp_b_v = open_b_v.log_softmax(-1)
    token_b = logp_b_v.argmax(-1) if how.temperature == 0 else _drawn(logp_b_v, uniform_b)
    drawn_b = logp_b_v.gather(1, token_b.unsqueeze(1)).squeeze(1)
    if shut_b_v is None:
        return token_b, drawn_b, drawn_b
    return token_b, own_b_v.log_softmax(-1).gather(1, token_b.unsqueeze(1)).squeeze(1), drawn_b


def _drawn(logp_b_v: torch.Tensor, uniform_b: torch.Tensor) -> torch.Tensor:
    """Where the uniform number falls in the cumulative distribution."""
    cumulative_b_v = logp_b_v.exp().cumsum(-1)
    # `right`: a token of probability 0 covers no interval and can never be drawn. The product may round up to the
    # total, past the last interval; the number below it is in the last one that covers anything.
    total_b = cumulative_b_v[:, -1]
    threshold_b = torch.minimum(uniform_b * total_b, total_b.nextafter(torch.zeros_like(total_b)))
    token_b = torch.searchsorted(cumulative_b_v, threshold_b.unsqueeze(1), right=True).squeeze(1)
    return token_b.clamp(max=logp_b_v.size(1) - 1)  # of a policy that is not finite, which the guard will see


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
