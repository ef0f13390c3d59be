"""Drawing tokens: each row by its own settings, whoever shares the batch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import Lfm2Config, Lfm2ForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedModel

from tests.fakes.tiny_model import make_model
from trainer.server import sampling
from trainer.server.sampling import Batch, Told, choose

LOGITS = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]]))


class Written:
    """A row that writes down its tokens."""

    def __init__(self, prompt: list[int], length: int, temperature: float = 0.0) -> None:
        self.prompt, self.length, self.temperature, self.top_p = prompt, length, temperature, 1.0
        self.top_logprobs: int | None = None
        self.mask: np.ndarray | None = None
        self.tokens: list[int] = []
        self.told: list[Told | None] = []

        self.left = False

    @property
    def ended(self) -> bool:
        return self.left or len(self.tokens) >= self.length

    def draw(self) -> float:
        return 0.5

    def allowed(self) -> np.ndarray | None:
        return self.mask

    def accept(self, token: int, told: Told | None) -> None:
        self.tokens.append(token)
        self.told.append(told)


def write(*rows: Written, model: PreTrainedModel | None = None) -> None:
    batch = Batch(model or make_model(90, seed=1), rows)
    while not all(row.ended for row in rows):
        batch.step()


def make_sliding_model() -> MistralForCausalLM:
    torch.manual_seed(1)
    config = MistralConfig(
        vocab_size=90, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, sliding_window=7, initializer_range=0.4,
    )  # fmt: skip
    return MistralForCausalLM(config).eval()


def make_conv_model() -> Lfm2ForCausalLM:
    torch.manual_seed(1)
    config = Lfm2Config(
        vocab_size=90, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, layer_types=["conv", "full_attention"],
        initializer_range=0.4,
    )  # fmt: skip
    return Lfm2ForCausalLM(config).eval()


def test_temperature_zero_takes_the_likeliest_token() -> None:
    assert choose(LOGITS, [0.0], [1.0], [0.0]) == [3]


@pytest.mark.parametrize(("draw", "token"), [(0.0, 0), (0.09, 0), (0.11, 1), (0.29, 1), (0.31, 2), (0.61, 3)])
def test_a_draw_picks_by_the_cumulative_share(draw: float, token: int) -> None:
    assert choose(LOGITS, [1.0], [1.0], [draw]) == [token]


def test_the_largest_draw_picks_a_token_that_is_possible() -> None:
    impossible_last = torch.tensor([[0.0, 0.0, -torch.inf]])

    assert choose(impossible_last, [1.0], [1.0], [1 - 2**-53]) == [1]


def test_a_low_temperature_sharpens() -> None:
    assert choose(LOGITS, [0.01], [1.0], [0.05]) == [3]


@pytest.mark.parametrize(("top_p", "possible"), [(0.3, {3}), (0.5, {2, 3}), (0.75, {1, 2, 3}), (1.0, {0, 1, 2, 3})])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float, possible: set[int]) -> None:
    draws = [number / 100 for number in range(100)]

    tokens = choose(LOGITS.expand(100, -1), [1.0] * 100, [top_p] * 100, draws)

    assert set(tokens) == possible


def test_a_row_draws_the_same_beside_other_settings() -> None:
    alone = choose(LOGITS, [1.0], [1.0], [0.55])

    beside = choose(LOGITS.expand(3, -1), [1.0, 0.0, 0.7], [1.0, 1.0, 0.4], [0.55, 0.0, 0.3])

    assert beside[0] == alone[0]


def test_drawn_tokens_follow_the_models_shares() -> None:
    draws = torch.rand(20_000, generator=torch.Generator().manual_seed(5)).tolist()

    tokens = choose(LOGITS.expand(20_000, -1), [1.0] * 20_000, [1.0] * 20_000, draws)

    shares = torch.bincount(torch.tensor(tokens), minlength=4) / 20_000
    assert shares.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.015)


def test_output_that_is_not_a_number_is_an_error() -> None:
    with pytest.raises(ArithmeticError):
        choose(torch.tensor([[float("nan"), 1.0]]), [0.0], [1.0], [0.0])


def test_the_cache_gives_what_generate_gives() -> None:
    model, prompt = make_model(90, seed=1), [5, 6, 7, 8]
    row = Written(prompt, 20)

    write(row)

    tokens = torch.tensor([prompt])
    expected = model.generate(tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=20)
    assert row.tokens == expected[0, 4:].tolist()


def test_rows_of_different_lengths_write_what_they_write_alone() -> None:
    prompts, lengths = [[5], [6, 7, 8, 9, 10, 11], [12, 13, 14]], [30, 3, 17]
    alone = [Written(prompt, length) for prompt, length in zip(prompts, lengths, strict=True)]
    for row in alone:
        write(row)

    together = [Written(prompt, length) for prompt, length in zip(prompts, lengths, strict=True)]
    write(*together)

    assert [row.tokens for row in together] == [row.tokens for row in alone]


MODELS = {"full": lambda: make_model(90, seed=1), "sliding": make_sliding_model}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("step_tokens", [1, 4, 12, 30])
def test_prompts_read_in_pieces_are_answered_as_if_read_at_once(
    monkeypatch: pytest.MonkeyPatch, model: str, step_tokens: int
) -> None:
    prompts, lengths = [[5], list(range(6, 46)), [12, 13, 14], list(range(20, 41))], [30, 3, 17, 25]
    at_once = [Written(prompt, length) for prompt, length in zip(prompts, lengths, strict=True)]
    write(*at_once, model=MODELS[model]())
    monkeypatch.setattr(sampling, "STEP_TOKENS", step_tokens)

    in_pieces = [Written(prompt, length) for prompt, length in zip(prompts, lengths, strict=True)]
    write(*in_pieces, model=MODELS[model]())

    assert [row.tokens for row in in_pieces] == [row.tokens for row in at_once]


@pytest.mark.parametrize("make", [*MODELS.values(), make_conv_model])
def test_a_row_goes_on_as_before_when_others_have_ended(make: Callable[[], PreTrainedModel]) -> None:
    model, prompts = make(), [[5, 6, 7], [8, 9, 10], [11, 12, 13]]
    alone, beside = Written(prompts[2], 12), [Written(prompt, 2 + 5 * at) for at, prompt in enumerate(prompts)]
    write(alone, model=model)

    write(*beside, model=model)

    assert beside[2].tokens == alone.tokens


def test_a_model_whose_layers_keep_a_state_reads_a_prompt_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "STEP_TOKENS", 2)
    row = Written(list(range(40)), 5)

    Batch(make_conv_model(), [row]).step()

    assert len(row.tokens) == 1


def test_a_step_reads_a_piece_of_the_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "STEP_TOKENS", 8)
    rows = [Written(list(range(9)), 5), Written([1], 5)]
    batch = Batch(make_model(90, seed=1), rows)

    written = []
    for _ in range(4):
        batch.step()
        written.append(len(rows[0].tokens))

    assert written == [0, 0, 1, 2]


def test_who_leaves_while_the_prompts_are_read_leaves_the_others_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Written([5, 6, 7], 20)
    write(alone)
    monkeypatch.setattr(sampling, "STEP_TOKENS", 8)
    stays, leaves = Written([5, 6, 7], 20), Written(list(range(40)), 20)
    batch = Batch(make_model(90, seed=1), [leaves, stays])

    batch.step()
    leaves.left = True
    while not stays.ended:
        batch.step()

    assert (leaves.tokens, stays.tokens, len(batch.rows)) == ([], alone.tokens, 0)
