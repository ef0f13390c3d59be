"""The update: TRL's GRPOTrainer with our groups, micro-batches of like length, exact tallies and our checkpoints.

Only groups with spread reach the loss; rows are sorted by length before they are cut into micro-batches, so that little
padding is computed. Token-level DAPO loss over the whole batch is the same sum however it is cut.

Of answers that are held to a response_format, the log probabilities before the format's mask are learned from, in the
sampler as in the loss. The ratio of new to old policy is then 1 before the first update and moves by what the policy
learned, not by what the mask forced; what is published answers without a mask too, and learns to need it less. Masked
on both sides, the loss would have to keep a mask of the whole vocabulary for every token, and nothing would ever move
the policy towards the format. The price: a forced token counts as if the policy had chosen it. Its advantage is that of
its group, which is zero on average.
"""

import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, PrinterCallback, Trainer
from trl import GRPOConfig, GRPOTrainer

from tasks.crash import crash_point
from trainer.engine import checkpoints, drawing, hardware, loading, probes, ranks
from trainer.engine.faults import Fault
from trainer.engine.history import History
from trainer.engine.run import STATE, Run
from trainer.runspec import RunSpec

ADAM_BYTES_A_WEIGHT = 16  # weight, gradient and two moments in float32: a generous size of one checkpoint
ROW_TENSORS = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages")
VLLM_CAP = 2.0  # importance ratios between vLLM and the trainer, truncated by token

Batch = dict[str, Any]


def trainer_of(run: Run, history: History) -> "GroupTrainer":
    recipe = run.recipe
    groups = drawing.GroupSource(run)
    # What TRL reads from its dataset is thrown away: the curriculum says what comes next.
    places = Dataset.from_dict({"prompt": [[{"role": "user", "content": ""}]] * recipe.prompts_per_step})
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func: its interface is pinned with TRL's version
    return GroupTrainer(
        run=run,
        history=history,
        groups=groups,
        model=run.policy,
        reward_funcs=[drawing.earned],
        rollout_func=groups,
        args=_configuration(run),
        train_dataset=places,
        processing_class=run.tokenizer,
        peft_config=_adapter(recipe),
    )


def _configuration(run: Run) -> GRPOConfig:
    recipe = run.recipe
    processes = ranks.processes()
    if recipe.prompts_per_step % processes:
        raise Fault(
            "spec",
            "groups_do_not_divide",
            f"prompts_per_step = {recipe.prompts_per_step} must be a multiple of the {processes} processes.",
        )
    passes = hardware.passes(recipe, run.policy, processes)
    on_cpu = loading.device().type == "cpu"
    return GRPOConfig(
        output_dir=str(run.directory / "checkpoints" / ".partial"),
        max_steps=recipe.steps * recipe.updates_per_step,
        # One batch of completions, learned from updates_per_step times. A save after the last of these is safe: no
        # half-used batch is lost with it.
        per_device_train_batch_size=recipe.prompts_per_step * recipe.group_size // processes // passes,
        gradient_accumulation_steps=passes,
        steps_per_generation=passes,
        num_iterations=recipe.updates_per_step,
        num_generations=recipe.group_size,
        shuffle_dataset=False,
        ignore_data_skip=True,
        max_completion_length=recipe.max_completion_tokens,
        temperature=recipe.temperature,
        top_p=1.0,
        top_k=0,
        loss_type="dapo",
        scale_rewards="none",
        epsilon=recipe.epsilon_low,
        epsilon_high=recipe.epsilon_high,
        beta=recipe.beta,
        mask_truncated_completions=False,
        learning_rate=run.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=recipe.warmup_steps * recipe.updates_per_step,
        weight_decay=0.0,
        max_grad_norm=1.0,
        activation_checkpointing=hardware.checkpoints_gradients(recipe, run.policy),
        seed=recipe.seed,
        use_cpu=on_cpu,
        bf16=hardware.precision(recipe) == "bfloat16",
        fp16=False,
        **_vllm(recipe),
        dataloader_pin_memory=not on_cpu,
        logging_steps=recipe.updates_per_step,
        logging_nan_inf_filter=False,  # a NaN loss must be seen
        save_strategy="no",  # watching.Watch decides
        report_to="none",
        disable_tqdm=True,
        trust_remote_code=False,
    )


def _vllm(recipe: RunSpec) -> dict[str, Any]:
    """Who draws. Ratios between vLLM and the trainer are truncated by token, as in TRL's recommendation for drift."""
    if recipe.vllm == "off":
        return {"use_vllm": False}
    if find_spec("vllm") is None:
        sentence = f"vllm = {recipe.vllm} needs the package vllm where the engine runs: install it, or set vllm to off."
        raise Fault("spec", "vllm_missing", sentence)
    server = {"vllm_server_base_url": _vllm_server()} if recipe.vllm == "server" else {}
    return {
        "use_vllm": True,
        "vllm_mode": recipe.vllm,
        "vllm_importance_sampling_correction": True,
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_max": VLLM_CAP,
        **server,
    }


def _vllm_server() -> str:
    if url := os.environ.get("ENGINE_VLLM_SERVER"):
        return url
    raise Fault("spec", "vllm_server_missing", "vllm = server needs a server: set ENGINE_VLLM_SERVER to its address.")


def _adapter(recipe: RunSpec) -> LoraConfig | None:
    """LoRA on all linear layers but the head; alpha = 2 r keeps the update's size as the rank changes."""
    if not recipe.lora_rank:
        return None
    return LoraConfig(
        r=recipe.lora_rank, lora_alpha=2 * recipe.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )


@dataclass(slots=True)
class Tally:
    """Sums over the tokens of a step's micro-batches. The gap is of the first update: by the policy that drew."""

    tokens: int = 0
    gap: float = 0.0
    learned_tokens: int = 0  # through all updates, prompts included
    ratios: int = 0
    clipped: int = 0

    def over_processes(self) -> "Tally":
        """The sums of all processes."""
        told = gather_object([astuple(self)])
        return Tally(*(sum(values) for values in zip(*told, strict=True)))


class GroupTrainer(GRPOTrainer):
    def __init__(self, *, run: Run, history: History, groups: drawing.GroupSource, **settings: Any) -> None:
        super().__init__(**settings)
        self.remove_callback(PrinterCallback)  # the metrics go to metrics.jsonl
        self.run, self.history, self.groups = run, history, groups
        self.tally = Tally()
        self._micro_batches: list[Batch] | None = None
        self._scored_b_t: torch.Tensor | None = None  # log probabilities of the last micro-batch
        self._asks_for_old = False

    def _prepare_inputs(self, generation_batch: Any) -> Batch:
        """TRL's own, with our cut: it would shuffle the rows and pad every micro-batch to the longest of all."""
        every = self.args.steps_per_generation * self.num_iterations
        if self._step % every == 0 or self._micro_batches is None:
            self.tally = Tally()
            self._asks_for_old = self.num_iterations > 1 and not self.use_vllm
            batch = self._learnable(self._generate_and_score_completions(generation_batch))
            self._micro_batches = micro_batches(batch, self.args.steps_per_generation)
        return self._micro_batches[self._step % self.args.steps_per_generation]

    def _learnable(self, batch: Batch) -> Batch:
        """Only rows of groups with spread, with asymmetric advantages; one row without advantage where none has."""
        keep_b = torch.tensor(self.groups.learned, device=batch["advantages"].device)
        if not keep_b.any():
            keep_b[0] = True
            batch["advantages"] = torch.zeros_like(batch["advantages"])  # of equal rewards only nearly 0: they round
        rows = len(keep_b)
        batch = {name: _rows(value, keep_b, rows) for name, value in batch.items()}
        advantages_b = batch["advantages"]
        weight = self.run.recipe.negative_weight
        batch["advantages"] = torch.where(advantages_b < 0, advantages_b * weight, advantages_b)
        batch["num_items_in_batch"] = self.accelerator.gather(batch["completion_mask"].sum()).sum() * self._shortfall()
        return batch

    def _shortfall(self) -> float:
        """Planned groups for each learned one. Those that were not found count as zero in the mean gradient: Adam would
        else make a full-sized step of a single group."""
        drawn = self.groups.last
        learned = len(drawn.learned) if drawn else 0
        return self.run.recipe.prompts_per_step / learned if learned else 1.0

    def _get_per_token_logps_and_entropies(self, model: Any, input_ids: Any, *others: Any, **settings: Any) -> Any:
        """The sampler has already told the log probabilities under the policy that drew: no second pass for them."""
        if self._asks_for_old and not torch.is_grad_enabled():
            self._asks_for_old = False  # TRL's next call without gradient is for the reference policy
            return _padded(self.groups.logprobs, input_ids), None, None
        scored = super()._get_per_token_logps_and_entropies(model, input_ids, *others, **settings)
        if torch.is_grad_enabled():
            self._scored_b_t = scored[0].detach()
        return scored

    def _compute_loss(self, model: Any, inputs: Batch) -> torch.Tensor:
        loss = super()._compute_loss(model, inputs)
        if self.model.training and self._scored_b_t is not None:
            self._count(inputs, self._scored_b_t)
        return loss

    def _count(self, inputs: Batch, logps_b_t: torch.Tensor) -> None:
        mask_b_t = inputs["completion_mask"].bool()
        drawn_b_t = inputs.get("sampling_per_token_logps")
        tokens = int(mask_b_t.sum())
        self.tally.learned_tokens += tokens + int(inputs["prompt_mask"].sum())
        if self._step % (self.args.steps_per_generation * self.num_iterations) < self.args.steps_per_generation:
            self.tally.tokens += tokens
            if drawn_b_t is not None:
                self.tally.gap += float(((logps_b_t - drawn_b_t).abs() * mask_b_t).nansum())
        old_b_t = inputs.get("old_per_token_logps", logps_b_t)
        ratio_b_t, advantages_b_1 = (logps_b_t - old_b_t).exp(), inputs["advantages"].unsqueeze(1)
        low = (ratio_b_t < 1 - self.epsilon_low) & (advantages_b_1 < 0)
        high = (ratio_b_t > 1 + self.epsilon_high) & (advantages_b_1 > 0)
        self.tally.ratios += tokens
        self.tally.clipped += int(((low | high) & mask_b_t).sum())

    def save(self) -> None:
        """Publish a checkpoint of this step, now."""
        self._save_checkpoint(self.model, None)

    def _save_checkpoint(self, model: PreTrainedModel, trial: Any) -> None:
        """transformers writes the state, we publish it. TRL's own method would add a model card to every checkpoint."""
        run, updates = self.run, self.state.global_step
        step = run.step_of(updates)
        run.progress.require_own_attempt()
        partial = Path(self._get_output_dir(trial)) / f"checkpoint-{updates}"
        root = run.directory / "checkpoints"
        if self.is_world_process_zero():
            checkpoints.clear(partial.parent)  # a killed attempt may have left another step half-written there
            checkpoints.require_space(root, self._checkpoint_bytes())
        self.accelerator.wait_for_everyone()
        Trainer._save_checkpoint(self, model, trial)
        crash_point("checkpoint.half_written")
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            (partial / STATE).write_bytes(msgspec.json.encode(run.state))
            run.progress.require_own_attempt()
            final = root / f"step-{step}"
            checkpoints.publish(partial, final, step=step)
            self.history.written(final, run.state)
            self.history.prune(run.recipe.keep_best, latest=run.recipe.prefer_latest)
        self.accelerator.wait_for_everyone()

    def _checkpoint_bytes(self) -> int:
        """Of what is trained: with LoRA the adapter alone is saved."""
        trained = sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad)
        return trained * ADAM_BYTES_A_WEIGHT

    def initial_logits(self) -> probes.Logits:
        """The policy that training started from: a second copy, or with LoRA the same weights without the adapter."""
        if self.run.initial is not None:
            return probes.logits_of(self.run.initial)
        policy = self.accelerator.unwrap_model(self.model)

        def without_adapter(prefixes: probes.Prefixes) -> torch.Tensor:
            with policy.disable_adapter():
                return probes.logits_of(policy)(prefixes)

        return without_adapter


def micro_batches(batch: Batch, count: int) -> list[Batch]:
    """Cut the rows by length of completion into `count` micro-batches, each only as wide as its longest row.

    Where there are fewer rows than micro-batches, the last ones are a row whose advantage is 0.
    """
    lengths_b = batch["completion_mask"].sum(1)
    order_b = torch.argsort(lengths_b, stable=True)
    rows = len(order_b)
    cuts = _cuts([int(lengths_b[row]) for row in order_b], min(count, rows))
    pieces = [_trimmed({n: _rows(v, order_b[a:b], rows) for n, v in batch.items()}) for a, b in cuts]
    while len(pieces) < count:
        idle = _trimmed({name: _rows(value, order_b[:1], rows) for name, value in batch.items()})
        pieces.append(idle | {"advantages": torch.zeros_like(idle["advantages"])})
    return pieces


def _cuts(lengths: Sequence[int], count: int) -> list[tuple[int, int]]:
    """Bounds of `count` runs of the ascending lengths; for two, those that compute the least padding."""
    rows = len(lengths)
    if count == 2:
        best = min(range(1, rows), key=lambda cut: cut * lengths[cut - 1] + (rows - cut) * lengths[-1])
        return [(0, best), (best, rows)]
    bounds = [rows * piece // count for piece in range(count + 1)]
    return list(pairwise(bounds))


def _rows(value: Any, chosen: torch.Tensor, rows: int) -> Any:
    return value[chosen] if isinstance(value, torch.Tensor) and value.dim() and len(value) == rows else value


def _trimmed(batch: Batch) -> Batch:
    """Without columns that are padding in every row: prompts are padded on the left, completions on the right."""
    prompt, completion = int(batch["prompt_mask"].sum(1).max()), int(batch["completion_mask"].sum(1).max())
    width = batch["completion_ids"].size(1)
    trimmed = dict(batch)
    for name in ("prompt_ids", "prompt_mask"):
        trimmed[name] = batch[name][:, batch[name].size(1) - prompt :]
    for name, value in batch.items():
        by_token = isinstance(value, torch.Tensor) and value.dim() == 2 and value.size(1) == width
        if by_token and not name.startswith("prompt_"):
            trimmed[name] = value[:, :completion]
    return trimmed


def _padded(logprobs: Sequence[Sequence[float]], input_ids: torch.Tensor) -> torch.Tensor:
    width = max(map(len, logprobs))
    rows = [[*row, *[0.0] * (width - len(row))] for row in logprobs]
    return torch.tensor(rows, device=input_ids.device)
