import msgspec
import pytest
import torch

from trainer.contract import ChatMessage, Sampling
from trainer.engine import loading, sampling
from trainer.engine.faults import Fault

DRAWN = Sampling(answers_per_item=3, max_completion_tokens=5, seed=7)


@pytest.fixture(scope="module")
def opened(tiny):
    return loading.load(tiny)


@pytest.fixture(scope="module")
def prompts(opened):
    return sampling.encode(opened[1], [[ChatMessage("user", text)] for text in ("Say 1", "Say something longer", "x")])


def test_every_prompt_gets_its_answers(opened, prompts):
    assert [len(answers) for answers in sampling.draw(*opened, prompts, DRAWN)] == [3, 3, 3]


def test_the_same_seed_draws_the_same_answers(opened, prompts):
    assert sampling.draw(*opened, prompts, DRAWN) == sampling.draw(*opened, prompts, DRAWN)


def test_another_seed_draws_others(opened, prompts):
    other = msgspec.structs.replace(DRAWN, seed=8)

    assert sampling.draw(*opened, prompts, DRAWN) != sampling.draw(*opened, prompts, other)


def test_many_answers_are_drawn_in_turns_that_hold_few(opened, prompts, monkeypatch):
    held, draw = [], sampling.draw

    def counted(model, tokenizer, some, how, held_to=None):
        held.append((len(some) * how.answers_per_item, how.seed))
        return draw(model, tokenizer, some, how, held_to)

    monkeypatch.setattr(sampling, "draw", counted)

    answers = sampling.draw_in_turns(*opened, prompts, DRAWN, rows=7)

    assert held == [(6, 7), (3, 8)]
    assert [len(several) for several in answers] == [3, 3, 3]


def test_few_answers_are_drawn_as_ever(opened, prompts):
    assert sampling.draw_in_turns(*opened, prompts, DRAWN) == sampling.draw(*opened, prompts, DRAWN)


def test_drawing_leaves_the_random_state_of_the_run_alone(opened, prompts):
    before = torch.get_rng_state()

    sampling.draw(*opened, prompts, DRAWN)

    assert torch.equal(torch.get_rng_state(), before)


def test_drawing_leaves_a_training_model_training(opened, prompts):
    model, tokenizer = opened
    model.train()

    sampling.draw(model, tokenizer, prompts, DRAWN)

    assert model.training


def test_temperature_zero_repeats_the_greedy_answer(opened, prompts):
    greedy = msgspec.structs.replace(DRAWN, temperature=0.0)

    assert all(len(set(answers)) == 1 for answers in sampling.draw(*opened, prompts, greedy))


def test_an_answer_without_an_end_is_truncated(opened, prompts):
    answers = [a for several in sampling.draw(*opened, prompts, DRAWN) for a in several]

    assert all(a.truncated == (opened[1].eos_token_id not in a.tokens) for a in answers)


def test_no_answer_goes_past_its_limit(opened, prompts):
    assert all(len(a.tokens) <= 5 for several in sampling.draw(*opened, prompts, DRAWN) for a in several)


def test_a_prompt_that_leaves_no_room_is_refused_with_its_length(opened):
    with pytest.raises(Fault, match="600 tokens"):
        sampling.require_room(opened[0], [[1] * 600], 48)


def test_a_developer_speaks_as_the_system():
    assert sampling.conversation([ChatMessage("developer", "Be brief.")]) == [
        {"role": "system", "content": "Be brief."}
    ]
