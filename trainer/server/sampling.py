"""A batch of answers, drawn token by token with a key-value cache.

Not `generate`: there a batch shares one seed and one temperature. Here each row has its own, so requests of different
callers can share a batch and a seed still gives the same answer. (As everywhere, a batch's shape moves logits in their
last bits; on CPU weights are float32, where that does not decide a draw in practice.)
"""

import inspect
import math
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from trainer.constraint import Mask

# Of prompts, read in one step, padding included. As long as that takes (half a billion weights on two cores: some 15
# seconds), other batches wait and nobody notices that the caller has left. Steps of 512 read half as fast.
STEP_TOKENS = 2048

Told = tuple[float, list[tuple[int, float]]]  # log probability of the token, and the likeliest tokens with theirs


class Row(Protocol):
    """One answer being written."""

    prompt: Sequence[int]
    temperature: float
    top_p: float
    top_logprobs: int | None  # None: the row does not ask for log probabilities

    @property
    def ended(self) -> bool: ...

    def draw(self) -> float:
        """The row's next random number in [0, 1)."""
        ...

    def allowed(self) -> Mask | None:
        """The tokens that may come next; None: any."""
        ...

    def accept(self, token: int, told: Told | None) -> None:
        """Take the next token; `ended` is true after the last."""
        ...


R = TypeVar("R", bound=Row)


class Batch(Generic[R]):
    def __init__(self, model: PreTrainedModel, rows: Sequence[R]) -> None:
        self._model, self.rows = model, list(rows)
        self._cache = DynamicCache(config=model.config)
        # Others (linear attention) may lose their state where a prompt goes on: they read it at once.
        self._in_pieces = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in self._cache.layers)
        self._known = frozenset(inspect.signature(model.forward).parameters)
        longest = max(len(row.prompt) for row in self.rows)
        # Left padding: every row's newest token stands in the last column. Token 0 is masked, any would do.
        tokens_bt = [[0] * (longest - len(row.prompt)) + list(row.prompt) for row in self.rows]
        mask_bt = [[0] * (longest - len(row.prompt)) + [1] * len(row.prompt) for row in self.rows]
        self._next_bt = torch.tensor(tokens_bt, device=model.device)
        self._mask_bt = torch.tensor(mask_bt, device=model.device)

    @property
    def columns(self) -> int:
        """Tokens a row, padding included, that are read or about to be."""
        return self._mask_bt.shape[1]

    @torch.inference_mode()
    def step(self) -> None:
        """One more piece of the prompts; with the last one, and from then on, one more token for every row."""
        width = max(1, STEP_TOKENS // len(self.rows)) if self._in_pieces else self._next_bt.shape[1]
        piece_bt, self._next_bt = self._next_bt[:, :width], self._next_bt[:, width:]
        logits_bv = self._forward(piece_bt)
        if not self._next_bt.shape[1]:
            self._draw(logits_bv)
        self._drop_ended()

    def _draw(self, logits_bv: torch.Tensor) -> None:
        open_bv = self._masked(logits_bv)
        live = [row for row in self.rows if not row.ended]
        draws = {id(row): row.draw() for row in live if row.temperature > 0}
        tokens = choose(
            open_bv,
            [0.0 if row.ended else row.temperature for row in self.rows],
            [row.top_p for row in self.rows],
            [draws.get(id(row), 0.0) for row in self.rows],
        )
        told = self._told(logits_bv, tokens)
        for at, (row, token) in enumerate(zip(self.rows, tokens, strict=True)):
            if not row.ended:
                row.accept(token, told.get(at))
        self._next_bt = torch.tensor(tokens, device=self._mask_bt.device)[:, None]
        self._mask_bt = torch.cat([self._mask_bt, torch.ones_like(self._next_bt)], dim=1)

    def _masked(self, logits_bv: torch.Tensor) -> torch.Tensor:
        """Without the tokens that a row's format rules out. A row that asks for no format is left as it is."""
        masks = {at: mask for at, row in enumerate(self.rows) if not row.ended and (mask := row.allowed()) is not None}
        masks = {at: mask for at, mask in masks.items() if not self.rows[at].ended}  # at a dead end: nothing is allowed
        if not masks:
            return logits_bv
        at = torch.tensor(list(masks), device=logits_bv.device)
        shut_nv = ~torch.from_numpy(np.stack(list(masks.values()))).to(logits_bv.device)
        return logits_bv.index_copy(0, at, logits_bv[at].masked_fill(shut_nv, -math.inf))

    def _told(self, logits_bv: torch.Tensor, tokens: Sequence[int]) -> dict[int, Told]:
        """By row, for those that ask: what the model itself thought of the token and which were the likeliest.

        Of its own distribution, at temperature 1, before nucleus and mask: how sure it was does not depend on how it
        was asked to draw.
        """
        asking = {at: row.top_logprobs for at, row in enumerate(self.rows) if row.top_logprobs is not None}
        if not asking:
            return {}
        logps_nv = logits_bv[list(asking)].float().log_softmax(-1)
        values_nk, tokens_nk = logps_nv.topk(min(max(asking.values()), logps_nv.shape[-1]))
        told = {}
        for place, (at, count) in enumerate(asking.items()):
            top = list(zip(tokens_nk[place].tolist(), values_nk[place].tolist(), strict=True))[:count]
            told[at] = (float(logps_nv[place, tokens[at]]), top)
        return told

    def _forward(self, piece_bt: torch.Tensor) -> torch.Tensor:
        read_bt = self._mask_bt[:, : self.columns - self._next_bt.shape[1]]
        positions_bt = (read_bt.cumsum(1) - 1).clamp(min=0)[:, -piece_bt.shape[1] :]
        optional = {"position_ids": positions_bt, "logits_to_keep": 1}
        output = self._model(
            input_ids=piece_bt,
            attention_mask=read_bt,
            past_key_values=self._cache,
            use_cache=True,
            **{name: value for name, value in optional.items() if name in self._known},
        )
        logits_bv: torch.Tensor = output.logits[:, -1, :]
        return logits_bv

    def _drop_ended(self) -> None:
        """Free what ended rows hold, once they are half of the batch: a few idle rows cost less than a copy."""
        live = [index for index, row in enumerate(self.rows) if not row.ended]
        if len(live) > len(self.rows) // 2:
            return
        self.rows = [self.rows[index] for index in live]
        if live:
            indices = torch.tensor(live, device=self._mask_bt.device)
            self._cache.reorder_cache(indices)  # which layers with a state know too
            self._next_bt, self._mask_bt = self._next_bt[indices], self._mask_bt[indices]


def choose(
    logits_bv: torch.Tensor, temperatures: Sequence[float], top_ps: Sequence[float], draws: Sequence[float]
) -> list[int]:
    """One token a row: the likeliest at temperature 0, else the inverse of the cumulative distribution at the draw.

    A row's token depends on its own logits and settings only, whoever else is in the batch.
    """
    if torch.isnan(logits_bv).any():
        raise ArithmeticError("The model's output is not a number.")
    likeliest_b = logits_bv.argmax(dim=-1)
    if not any(temperatures):
        return [int(token) for token in likeliest_b]
    heat_b = torch.tensor([heat or 1.0 for heat in temperatures], dtype=torch.float64, device=logits_bv.device)
    shares_bv = torch.softmax(logits_bv.double() / heat_b[:, None], dim=-1)
    if any(top_p < 1 for top_p in top_ps):
        shares_bv = _nucleus(shares_bv, torch.tensor(top_ps, dtype=torch.float64, device=logits_bv.device))
    cumulative_bv = shares_bv.cumsum(dim=-1)
    total_b = cumulative_bv[:, -1]
    at_b = torch.tensor(draws, dtype=torch.float64, device=logits_bv.device) * total_b
    at_b = torch.minimum(at_b, total_b.nextafter(torch.zeros_like(total_b)))  # the product may round up to the total
    drawn_b = torch.searchsorted(cumulative_bv, at_b[:, None], right=True)[:, 0].clamp(max=logits_bv.shape[-1] - 1)
    return [
        int(drawn if heat else likeliest)
        for heat, drawn, likeliest in zip(temperatures, drawn_b, likeliest_b, strict=True)
    ]


def _nucleus(shares_bv: torch.Tensor, top_p_b: torch.Tensor) -> torch.Tensor:
    """Zero all but the smallest set of likeliest tokens whose shares reach top_p; the order of tokens stays."""
    sorted_bv, order_bv = shares_bv.sort(dim=-1, descending=True, stable=True)
    before_bv = sorted_bv.cumsum(dim=-1) - sorted_bv
    outside_bv = (before_bv >= top_p_b[:, None]) & (top_p_b[:, None] < 1)
    return torch.zeros_like(shares_bv).scatter(-1, order_bv, sorted_bv.masked_fill(outside_bv, 0.0))
