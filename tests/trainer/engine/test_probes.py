import math

import pytest
import torch

from trainer.contract import ChatMessage, Sampling
from trainer.engine import loading, probes, sampling

DRAWN = Sampling(max_completion_tokens=6, seed=3)


@pytest.fixture
def policy(tiny):
    return loading.load(tiny)


@pytest.fixture
def prompts(policy):
    return sampling.encode(policy[1], [[ChatMessage("user", f"Say {n}")] for n in range(200)])


def _moved(model, size):
    torch.manual_seed(0)
    for weight in model.parameters():
        weight.data += size * torch.randn_like(weight)
    return model


def test_a_policy_that_has_not_moved_is_at_distance_zero(policy, prompts, tiny):
    initial, _ = loading.load(tiny)

    probe = probes.measure(policy[0], probes.logits_of(initial), policy[1], prompts, DRAWN)

    assert probe.kl.mean == 0


def test_a_policy_that_has_moved_is_at_a_positive_distance(policy, prompts, tiny):
    initial, _ = loading.load(tiny)

    kl = probes.measure(_moved(policy[0], 0.02), probes.logits_of(initial), policy[1], prompts, DRAWN).kl

    assert kl.mean > 3 * kl.standard_error > 0


def test_the_exact_divergence_agrees_with_the_log_ratio_of_what_was_drawn(policy, prompts, tiny):
    """E[log p − log q] over the policy's own samples is the same number; it only needs more of them."""
    initial, _ = loading.load(tiny)
    model = _moved(policy[0], 0.02)
    exact = probes.measure(model, probes.logits_of(initial), policy[1], prompts, DRAWN).kl

    ratios = []
    for prompt, answers in zip(
        prompts, sampling.draw(model, policy[1], prompts, Sampling(8, max_completion_tokens=6, seed=4)), strict=True
    ):
        ratios += [_log_ratio(model, initial, prompt, answer.tokens) for answer in answers]
    naive = probes.estimate(ratios)

    assert abs(exact.mean - naive.mean) < 4 * math.hypot(exact.standard_error, naive.standard_error)


def _log_ratio(policy, initial, prompt, completion):
    ids = torch.tensor([[*prompt, *completion]])
    total = 0.0
    with torch.no_grad():
        for model, sign in ((policy, 1), (initial, -1)):
            logs = model(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
            total += sign * logs.gather(1, torch.tensor(completion)[:, None]).sum().item()
    return total


def test_entropy_lies_between_zero_and_the_whole_vocabulary(policy, prompts):
    probe = probes.measure(policy[0], probes.logits_of(policy[0]), policy[1], prompts, DRAWN)

    assert 0 < probe.entropy < math.log(len(policy[1]))


def test_the_standard_error_is_that_of_a_mean():
    estimate = probes.estimate([1.0, 2.0, 3.0, 4.0])

    assert estimate.standard_error == pytest.approx(math.sqrt(5 / 3) / 2)


def test_one_sequence_tells_no_error():
    assert probes.estimate([2.5]).standard_error == 0
