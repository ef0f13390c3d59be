"""The update against TRL's own: the same batch, un-cut, through GRPOTrainer as it stands."""

import pytest
import torch
from trl import GRPOTrainer

from tests.trainer.engine.conftest import prepare_training, prompt_line, train_spec
from trainer.engine import updating
from trainer.engine.history import History
from trainer.engine.progress import Progress
from trainer.engine.run import Run
from trainer.engine.updating import GroupTrainer, micro_batches, trainer_of

LIKE = {
    "type": "text_similarity",
    "input": "{{ sample.output_text }}",
    "reference": "7",
    "evaluation_metric": "fuzzy_match",
}
SAME = {"type": "string_check", "input": "same", "reference": "same", "operation": "eq"}
ROWS = [prompt_line(number, grader=LIKE) for number in range(40)]


@pytest.fixture
def opened(tiny, tmp_path):
    """A trainer with its first batch drawn but nothing learned."""

    def opened(lines=ROWS, **recipe):
        spec = train_spec(tiny, **{"max_completion_tokens": 8, "group_size": 6, **recipe})
        directory = prepare_training(tmp_path, spec, lines)
        run = Run(spec, directory, Progress(directory, 1))
        trainer = trainer_of(run, History(directory / "checkpoints"))
        trainer.model.train()
        trainer.create_optimizer_and_scheduler(10)
        trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        return trainer

    return opened


def _asked(trainer):
    """What TRL's dataloader hands over; TRL writes the rewards into these rows."""
    rows = trainer.run.recipe.prompts_per_step * trainer.run.recipe.group_size
    return [dict(trainer.train_dataset[0]) for _ in range(rows)]


def _gradient(trainer, batches):
    """Of a step, micro-batch by micro-batch as the trainer walks through them."""
    trainer.model.zero_grad()
    for batch in batches:
        trainer.compute_loss(trainer.model, batch).backward()
    return torch.cat([weight.grad.flatten() for weight in trainer.model.parameters() if weight.grad is not None])


def _close(left, right, tolerance=1e-5):
    return float((left - right).norm() / right.norm()) < tolerance


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_gradient_is_that_of_the_batch_in_one_piece(opened, count):
    trainer = opened()
    batch = trainer._learnable(trainer._generate_and_score_completions(_asked(trainer)))

    whole, cut = _gradient(trainer, [batch]), _gradient(trainer, micro_batches(batch, count))

    assert _close(cut, whole)


def test_the_gradient_is_that_of_trls_own_batch(opened):
    """All groups have spread here, so that TRL learns from the same rows."""
    trainer = opened()
    theirs = trainer._generate_and_score_completions(_asked(trainer))
    assert all(trainer.groups.learned)

    ours = _gradient(trainer, micro_batches(trainer._learnable(theirs), 2))

    assert _close(ours, _gradient(trainer, [theirs]))


def _half_flat():
    return [prompt_line(number, grader=LIKE if number % 2 else SAME) for number in range(40)]


def test_rows_without_spread_change_nothing(opened):
    trainer = opened(_half_flat(), refill_rounds=0)
    batch = trainer._generate_and_score_completions(_asked(trainer))
    kept = torch.tensor(trainer.groups.learned)

    learnable = trainer._learnable(batch)

    assert 0 < int(kept.sum()) < len(kept)
    assert torch.equal(learnable["completion_ids"], batch["completion_ids"][kept])


def test_groups_that_were_not_found_count_as_zero_in_the_mean_gradient(opened):
    """A step that found one group of four moves the policy a quarter as far as a full one."""
    trainer = opened(_half_flat(), refill_rounds=0)
    batch = trainer._generate_and_score_completions(_asked(trainer))
    tokens = batch["completion_mask"][torch.tensor(trainer.groups.learned)].sum()

    learnable = trainer._learnable(batch)

    planned = trainer.run.recipe.prompts_per_step / len(trainer.groups.last.learned)
    assert planned > 1
    assert float(learnable["num_items_in_batch"]) == pytest.approx(float(tokens) * planned)


def test_equal_rewards_whose_mean_rounds_are_no_spread(opened):
    """In float32 the mean of eight times 0.3 is not 0.3."""
    trainer = opened(group_size=8)
    trainer._generate_and_score_completions(_asked(trainer))
    trainer.groups.learned = [False] * 32
    rounded = torch.full((32,), 0.3) - torch.full((32,), 0.3).view(-1, 8).mean(1).repeat_interleave(8)
    batch = {"advantages": rounded, "completion_mask": torch.ones(32, 4)}

    learnable = trainer._learnable(batch)

    assert rounded.abs().max() > 0
    assert learnable["advantages"].tolist() == [0.0]


def test_a_batch_without_any_spread_has_no_gradient(opened):
    trainer = opened([prompt_line(number, grader=SAME) for number in range(40)], refill_rounds=0)
    batch = trainer._learnable(trainer._generate_and_score_completions(_asked(trainer)))

    assert not _gradient(trainer, micro_batches(batch, 2)).any()


def test_advantages_below_zero_are_weighed(opened):
    trainer = opened(negative_weight=0.25)
    theirs = trainer._generate_and_score_completions(_asked(trainer))["advantages"]

    ours = trainer._learnable({"advantages": theirs, "completion_mask": torch.ones(len(theirs), 2)})["advantages"]

    assert torch.equal(ours, torch.where(theirs < 0, theirs * 0.25, theirs))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_what_the_sampler_tells_is_what_trl_would_compute(opened, temperature):
    trainer = opened(updates_per_step=2, temperature=temperature)
    batch = trainer._prepare_inputs(_asked(trainer)) and trainer._micro_batches[0]
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    width = batch["completion_ids"].size(1)

    with torch.no_grad():
        theirs, *_ = GRPOTrainer._get_per_token_logps_and_entropies(trainer, trainer.model, ids, mask, width)

    apart = (batch["old_per_token_logps"] - theirs).abs() * batch["completion_mask"]
    assert float(apart.max()) < 1e-4


def test_both_updates_of_a_step_learn_from_the_same_batch(opened):
    trainer = opened(updates_per_step=2)
    seen = []
    for _ in range(2 * trainer.args.steps_per_generation):
        seen.append(trainer._prepare_inputs(_asked(trainer)))
        trainer._step += 1

    half = trainer.args.steps_per_generation
    assert all(first is second for first, second in zip(seen[:half], seen[half:], strict=True))
    assert trainer._prepare_inputs(_asked(trainer)) is not seen[0]


def test_one_row_fills_all_micro_batches(opened):
    trainer = opened()
    batch = trainer._learnable(trainer._generate_and_score_completions(_asked(trainer)))
    one = {name: updating._rows(value, torch.tensor([0]), len(batch["advantages"])) for name, value in batch.items()}

    pieces = micro_batches(one, 3)

    assert [bool(piece["advantages"].any()) for piece in pieces[1:]] == [False, False]
    assert _close(_gradient(trainer, pieces), _gradient(trainer, [one]))


def test_micro_batches_are_no_wider_than_their_longest_row(opened):
    trainer = opened()
    batch = trainer._learnable(trainer._generate_and_score_completions(_asked(trainer)))

    for piece in micro_batches(batch, 3):
        assert piece["completion_ids"].size(1) == int(piece["completion_mask"].sum(1).max())
        assert piece["prompt_ids"].size(1) == int(piece["prompt_mask"].sum(1).max())


def test_a_low_rank_checkpoint_needs_room_for_the_adapter_only(opened):
    assert opened(lora_rank=2)._checkpoint_bytes() < opened()._checkpoint_bytes() / 2


def test_a_half_written_checkpoint_of_a_killed_attempt_is_removed(opened):
    trainer: GroupTrainer = opened()
    stale = trainer.run.directory / "checkpoints" / ".partial" / "checkpoint-7"
    stale.mkdir(parents=True)

    trainer.save()

    assert not stale.exists()
