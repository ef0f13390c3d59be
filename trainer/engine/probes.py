"""How far a policy has moved: the exact KL(policy ‖ initial policy) a sequence, on a fixed set of prompts.

By the chain rule the divergence of two distributions over sequences is the expectation, over prefixes drawn from the
policy, of the sum of the divergences of their next-token distributions. Each of these is summed over the whole
vocabulary, so that only the choice of prefixes is sampled: one completion of the policy for each probe prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.contract import Estimate, Sampling
from trainer.engine import sampling

ROWS_AT_ONCE = 32  # few, and of like length: logits of a whole vocabulary are the largest thing that a probe holds


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Prompts padded on the left, completions on the right, so that the completions stand below each other."""

    ids_b_t: torch.Tensor
    mask_b_t: torch.Tensor
    completion: int  # how many of the last positions are the completions'


Logits = Callable[[Prefixes], torch.Tensor]  # → logits_b_c_v that the completions' tokens were drawn from


@dataclass(frozen=True, slots=True)
class Probe:
    kl: Estimate  # nats a sequence, KL(policy ‖ initial policy), prefixes drawn from the policy
    entropy: float  # nats a token, of the policy


def measure(
    policy: PreTrainedModel,
    initial: Logits,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    drawn_as: Sampling,
    *,
    known: Sequence[Sequence[int] | None] = (),
    held_to: sampling.Begin | None = None,
) -> Probe:
    """One completion a prompt, drawn at `drawn_as`; both models are compared on every prefix of it.

    `known` may hold completions that were drawn from this policy at this temperature already: they are not drawn again.
    A format that answers are held to chooses the prefixes with the policy; the divergence at each is the policies' own.
    """
    drawn = _one_each(policy, tokenizer, prompts, drawn_as, known or [None] * len(prompts), held_to)
    order = sorted(range(len(prompts)), key=lambda at: len(drawn[at]))
    kls, entropies = [0.0] * len(prompts), [0.0] * len(prompts)
    for begin in range(0, len(order), ROWS_AT_ONCE):
        places = order[begin : begin + ROWS_AT_ONCE]
        some = [(prompts[at], drawn[at]) for at in places]
        found = _compare(policy, initial, some, tokenizer.pad_token_id, drawn_as.temperature)
        for at, kl, entropy in zip(places, *found, strict=True):
            kls[at], entropies[at] = kl, entropy
    return Probe(estimate(kls), sum(entropies) / sum(map(len, drawn)))


def _one_each(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    drawn_as: Sampling,
    known: Sequence[Sequence[int] | None],
    held_to: sampling.Begin | None,
) -> list[Sequence[int]]:
    missing = [at for at, completion in enumerate(known) if completion is None]
    drawn: list[Sequence[int]] = [completion or () for completion in known]
    if missing:
        once = Sampling(1, drawn_as.temperature, 1.0, drawn_as.max_completion_tokens, drawn_as.seed)
        answers = sampling.draw(policy, tokenizer, [prompts[at] for at in missing], once, held_to)
        for at, (answer,) in zip(missing, answers, strict=True):
            drawn[at] = answer.tokens
    return drawn


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and its standard error over independent units; one unit alone tells no error and gets 0."""
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return Estimate(mean=fmean(values), standard_error=error, n=len(values))


def logits_of(model: PreTrainedModel) -> Logits:
    def logits(prefixes: Prefixes) -> torch.Tensor:
        read = model(
            input_ids=prefixes.ids_b_t,
            attention_mask=prefixes.mask_b_t,
            position_ids=(prefixes.mask_b_t.cumsum(-1) - 1).clamp(min=0),
            logits_to_keep=prefixes.completion + 1,
            use_cache=False,
        )
        # the distribution at position t is the one that token t + 1 was drawn from
        return read.logits[:, :-1]

    return logits


def _compare(
    policy: PreTrainedModel,
    initial: Logits,
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    pad: int,
    temperature: float,
) -> tuple[list[float], list[float]]:
    """Per pair of prompt and completion: the summed divergence and the summed entropy of the completion's tokens."""
    prefixes, counted_b_c = _prefixes(rows, pad, policy.device)
    with torch.inference_mode(), sampling.evaluating(policy):
        log_p = (logits_of(policy)(prefixes).float() / temperature).log_softmax(-1)
        log_q = (initial(prefixes).float() / temperature).log_softmax(-1)
        p = log_p.exp()
        kl_b = ((p * (log_p - log_q)).sum(-1) * counted_b_c).sum(-1)
        entropy_b = ((-p * log_p).sum(-1) * counted_b_c).sum(-1)
    return kl_b.tolist(), entropy_b.tolist()


def _prefixes(
    rows: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int, on: torch.device
) -> tuple[Prefixes, torch.Tensor]:
    """The rows as tensors, and which places of the completions are tokens rather than padding."""
    before, after = (max(len(row[side]) for row in rows) for side in (0, 1))
    ids, mask = [], []
    for prompt, completion in rows:
        left, right = before - len(prompt), after - len(completion)
        ids.append([pad] * left + [*prompt, *completion] + [pad] * right)
        mask.append([0] * left + [1] * (len(prompt) + len(completion)) + [0] * right)
    mask_b_t = torch.tensor(mask, device=on)
    return Prefixes(torch.tensor(ids, device=on), mask_b_t, after), mask_b_t[:, before:]
