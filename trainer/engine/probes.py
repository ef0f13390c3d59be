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

Logits = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (ids_b_t, mask_b_t) -> logits_b_t_v
PROMPTS_AT_ONCE = 128


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
) -> Probe:
    """Draw one completion a prompt at `drawn_as`, then compare both models on every prefix of it."""
    one_each = Sampling(1, drawn_as.temperature, 1.0, drawn_as.max_completion_tokens, drawn_as.seed)
    kls: list[float] = []
    entropies: list[float] = []
    tokens = 0
    for at in range(0, len(prompts), PROMPTS_AT_ONCE):
        some = prompts[at : at + PROMPTS_AT_ONCE]
        completions = [answers[0].tokens for answers in sampling.draw(policy, tokenizer, some, one_each)]
        kl_b, entropy_b = _compare(policy, initial, some, completions, tokenizer.pad_token_id, drawn_as.temperature)
        kls += kl_b
        entropies += entropy_b
        tokens += sum(map(len, completions))
    return Probe(estimate(kls), sum(entropies) / tokens)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and its standard error over independent units; one unit alone tells no error and gets 0."""
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return Estimate(mean=fmean(values), standard_error=error, n=len(values))


def logits_of(model: PreTrainedModel) -> Logits:
    return lambda ids_b_t, mask_b_t: model(input_ids=ids_b_t, attention_mask=mask_b_t, use_cache=False).logits


def _compare(
    policy: PreTrainedModel,
    initial: Logits,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    pad: int,
    temperature: float,
) -> tuple[list[float], list[float]]:
    """Per sequence: the summed divergence and the summed entropy of its completion's tokens."""
    rows = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
    width = max(map(len, rows))
    ids_b_t = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=policy.device)
    mask_b_t = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=policy.device)
    counted_b_t = torch.tensor(
        [
            # the distribution at position t is the one token t + 1 was drawn from
            [len(prompt) - 1 <= at < len(row) - 1 for at in range(width)]
            for prompt, row in zip(prompts, rows, strict=True)
        ],
        device=policy.device,
    )
    with torch.inference_mode(), sampling.evaluating(policy):
        log_p = (logits_of(policy)(ids_b_t, mask_b_t).float() / temperature).log_softmax(-1)
        log_q = (initial(ids_b_t, mask_b_t).float() / temperature).log_softmax(-1)
    p = log_p.exp()
    kl_b = ((p * (log_p - log_q)).sum(-1) * counted_b_t).sum(-1)
    entropy_b = ((-p * log_p).sum(-1) * counted_b_t).sum(-1)
    return kl_b.tolist(), entropy_b.tolist()
