import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from transformers import TopPLogitsWarper

from trainer.contract import ChatMessage
from trainer.engine import decoding, loading, sampling
from trainer.engine.decoding import Decoding, decode

ANSWERS = 4


@pytest.fixture(scope="module")
def opened(tiny):
    return loading.load(tiny)


@pytest.fixture(scope="module")
def model(opened):
    return opened[0]


@pytest.fixture(scope="module")
def prompts(opened):
    texts = ("Say 1", "Say something longer than that", "x", "Say 7")
    return sampling.encode(opened[1], [[ChatMessage("user", text)] for text in texts])


@pytest.fixture(scope="module")
def how(opened):
    """Every seventh token ends an answer: so small a model seldom sets its own end token."""
    model, tokenizer = opened
    ends = sampling.end_tokens(model, tokenizer) | set(range(0, model.config.vocab_size, 7))
    return Decoding(ANSWERS, 1.0, 1.0, 12, 7, ends, tokenizer.pad_token_id)


@torch.inference_mode()
def _logprobs(model, prompt, tokens, temperature=1.0, top_p=1.0):
    """Of each token, by one forward pass over the whole text."""
    logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1].float() / temperature
    if top_p < 1:
        logits = TopPLogitsWarper(top_p)(None, logits)
    return logits.log_softmax(-1).gather(1, torch.tensor(tokens).unsqueeze(1)).squeeze(1)


@torch.inference_mode()
def _next_token(model, prompt, temperature=1.0, top_p=1.0):
    """The exact distribution of the first token."""
    logits = model(torch.tensor([prompt])).logits[:, -1].float() / temperature
    if top_p < 1:
        logits = TopPLogitsWarper(top_p)(None, logits)
    return logits.softmax(-1)[0]


def test_the_same_seed_draws_the_same_tokens(model, prompts, how):
    assert decode(model, prompts, how) == decode(model, prompts, how)


def test_another_seed_draws_others(model, prompts, how):
    assert decode(model, prompts, how) != decode(model, prompts, replace(how, seed=8))


def test_a_row_is_the_same_whatever_comes_after_it(model, prompts, how):
    """The noise is the row's own: its place in the batch and the position decide it."""
    alone = decode(model, prompts[:1], replace(how, answers=1, max_tokens=1))
    beside = decode(model, [prompts[0], prompts[0], prompts[3]], replace(how, answers=1, max_tokens=1))

    assert beside[0].tokens == alone[0].tokens


@pytest.mark.parametrize("shrink_below", [0.0, 1.0])
def test_rows_that_leave_the_batch_change_nothing_for_those_that_go_on(model, prompts, how, monkeypatch, shrink_below):
    usual = [row.tokens for row in decode(model, prompts, how)]
    monkeypatch.setattr(decoding, "SHRINK_BELOW", shrink_below)

    assert [row.tokens for row in decode(model, prompts, how)] == usual


def test_rows_end_at_different_lengths_in_these_tests(model, prompts, how):
    assert len({len(row.tokens) for row in decode(model, prompts, how)}) > 2


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.8)])
def test_tokens_are_drawn_from_the_models_own_distribution(model, prompts, how, temperature, top_p):
    """Pearson's chi-square over the first token; the limit is its mean plus five standard deviations."""
    draws = 4000
    drawn = decode(model, prompts[:1], replace(how, answers=draws, max_tokens=1, temperature=temperature, top_p=top_p))
    expected = _next_token(model, prompts[0], temperature, top_p) * draws
    counts = torch.zeros_like(expected)
    for token, times in Counter(row.tokens[0] for row in drawn).items():
        counts[token] = times

    common = expected >= 5
    cells = [*zip(counts[common], expected[common], strict=True), (counts[~common].sum(), expected[~common].sum())]
    statistic = sum(float((seen - wanted) ** 2 / wanted) for seen, wanted in cells if wanted > 0)
    freedom = len(cells) - 1

    assert statistic < freedom + 5 * (2 * freedom) ** 0.5


def test_a_token_outside_of_top_p_is_never_drawn(model, prompts, how):
    drawn = decode(model, prompts[:1], replace(how, answers=2000, max_tokens=1, top_p=0.3))
    possible = _next_token(model, prompts[0], top_p=0.3).nonzero().flatten().tolist()

    assert {row.tokens[0] for row in drawn} <= set(possible)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_the_ends_of_the_noise_draw_no_impossible_token(how, uniform):
    """One in 16 million numbers is so near to 1 that its product with a total above 1 rounds up to that total."""
    logits = torch.full((300, 50), float("-inf"))
    logits[:, 5:25] = torch.randn(300, 20, generator=torch.Generator().manual_seed(0))

    _, logprobs, _ = decoding._choose(logits, torch.full((300,), uniform), how)

    assert torch.isfinite(logprobs).all()


def test_greedy_tokens_are_those_of_generate(opened, prompts, how):
    model, tokenizer = opened
    ours = decode(model, prompts, replace(how, answers=1, temperature=0.0))

    for prompt, row in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        told = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=how.max_tokens,
            eos_token_id=sorted(how.ends),
            pad_token_id=tokenizer.pad_token_id,
        )
        assert row.tokens == told[0, len(prompt) :].tolist()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.8)])
def test_log_probabilities_are_those_of_a_forward_pass(model, prompts, how, temperature, top_p):
    rows = decode(model, prompts, replace(how, temperature=temperature, top_p=top_p))

    for at, row in enumerate(rows):
        expected = _logprobs(model, prompts[at // ANSWERS], row.tokens, temperature, top_p)
        assert torch.tensor(row.logprobs) == pytest.approx(expected, abs=1e-4)


def test_greedy_log_probabilities_are_those_of_the_untouched_distribution(model, prompts, how):
    (row,) = decode(model, prompts[:1], replace(how, answers=1, temperature=0.0))

    assert torch.tensor(row.logprobs) == pytest.approx(_logprobs(model, prompts[0], row.tokens), abs=1e-4)


def test_the_random_state_of_the_run_is_left_alone(model, prompts, how):
    before = torch.get_rng_state()

    decode(model, prompts, how)

    assert torch.equal(torch.get_rng_state(), before)


def test_the_number_of_threads_is_left_alone(model, prompts, how):
    before = torch.get_num_threads()

    decode(model, prompts, how)

    assert torch.get_num_threads() == before


def test_a_row_is_truncated_unless_it_ends_with_an_end_token(model, prompts, how):
    rows = decode(model, prompts, how)

    assert {row.truncated for row in rows} == {True, False}
    assert all(row.truncated == (row.tokens[-1] not in how.ends) for row in rows)


def test_a_truncated_row_has_all_the_tokens_that_it_may_have(model, prompts, how):
    rows = decode(model, prompts, how)

    assert {len(row.tokens) for row in rows if row.truncated} == {how.max_tokens}


def test_an_end_token_at_the_very_limit_is_an_end(model, prompts, how):
    anything = frozenset(range(model.config.vocab_size))

    rows = decode(model, prompts, replace(how, ends=anything, max_tokens=1))

    assert not any(row.truncated for row in rows)


@pytest.mark.parametrize("shrink_below", [0.0, 0.75, 1.0])
def test_any_of_several_end_tokens_ends_a_row_once_and_for_all(model, prompts, how, monkeypatch, shrink_below):
    monkeypatch.setattr(decoding, "SHRINK_BELOW", shrink_below)

    rows = decode(model, prompts, replace(how, max_tokens=60))

    assert not [row for row in rows if any(token in how.ends for token in row.tokens[:-1])]
    assert len({row.tokens[-1] for row in rows} & how.ends) > 1


def test_answers_come_in_the_order_of_the_prompts(model, prompts, how):
    greedy = replace(how, answers=1, temperature=0.0)

    together = [row.tokens for row in decode(model, prompts, greedy)]

    assert together == [decode(model, [prompt], greedy)[0].tokens for prompt in prompts]


ANSWER = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": ANSWER}}


@pytest.fixture(scope="module")
def held(opened, how):
    model, tokenizer = opened
    begin = sampling.held_to(model, tokenizer, FORMAT)
    return replace(how, max_tokens=96, ends=sampling.end_tokens(model, tokenizer), begin=begin)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_answers_that_are_held_to_a_format_are_all_of_it(opened, prompts, held, temperature):
    rows = decode(opened[0], prompts, replace(held, temperature=temperature))

    written = [json.loads(opened[1].decode(row.tokens, skip_special_tokens=True)) for row in rows]
    assert all(answer["n"] in (1, 2) for answer in written)
    assert not any(row.truncated for row in rows)


def test_what_a_format_forces_is_told_as_the_policy_would_have_had_it(model, prompts, held):
    """Not under the mask: the update computes without one."""
    row = decode(model, prompts, held)[0]

    assert row.logprobs == pytest.approx(_logprobs(model, prompts[0], row.tokens).tolist(), abs=1e-4)


def test_under_the_mask_every_token_is_at_least_as_likely(model, prompts, held):
    row = decode(model, prompts, held)[0]

    assert all(drawn >= own - 1e-5 for own, drawn in zip(row.logprobs, row.drawn_logprobs, strict=True))


def test_a_row_in_a_format_does_not_depend_on_the_rows_beside_it(model, prompts, held):
    alone = decode(model, prompts[:1], replace(held, answers=1))[0]

    beside = decode(model, [prompts[0], prompts[0]], replace(held, answers=1))

    assert len(beside) == 2
    assert alone.tokens[0] == beside[0].tokens[0]
