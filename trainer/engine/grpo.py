"""Reinforcement learning with verifiable rewards: TRL's GRPOTrainer, our order, our graders, our checkpoints.

Read from top to bottom: `train` opens what the run needs, TRL samples groups of completions and updates the policy,
`_Rewards` grades them, `_Watch` measures, reports and decides when to save and when to leave.

The recipe (sources: DAPO, Dr. GRPO, TRL's documentation): token-level loss over the whole batch, no division by a
group's standard deviation, asymmetric clip, no KL penalty by default (KL is measured, exactly, instead), constant
learning rate, truncated completions count, one update for each batch of completions.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from trl import GRPOConfig, GRPOTrainer

from tasks.types import Grade
from trainer import rewards
from trainer.contract import Estimate, Manifest, PromptItem, Rollout, Sampling, StepMetrics, TrainSpec
from trainer.engine import checkpoints, loading, probes, rollouts, rows, sampling
from trainer.engine.faults import Fault, Stopped
from trainer.engine.ordering import training_order
from trainer.engine.progress import Progress
from trainer.runspec import RunSpec

SHOWN_ROLLOUTS = 4  # of every step, in samples.jsonl
ADAM_BYTES_A_WEIGHT = 16  # weight, gradient and two moments in float32: a generous size of one checkpoint
CHECKPOINTING_FROM = 100_000_000  # parameters: below, recomputing activations costs time and saves nothing that matters


@dataclass(slots=True)
class Trained:
    model: Manifest
    step: int
    tokens: int
    kl: Estimate | None


class Counters(msgspec.Struct):
    """What a resumed run must still know, kept in each checkpoint as counters.json."""

    graded: int = 0
    errors: int = 0
    seconds: float = 0.0


def train(spec: TrainSpec, directory: Path, progress: Progress) -> Trained:
    """Run the recipe from the start or from the newest sound checkpoint, and publish DIR/model."""
    recipe = spec.recipe
    run = _Run(spec, directory, progress)
    if recipe.steps == 0:
        progress.enter("saving")
        return Trained(loading.publish(run.policy, run.tokenizer, directory / "model"), 0, 0, None)
    resumed = checkpoints.newest_verified(directory / "checkpoints")
    if resumed:
        run.counters = msgspec.json.decode((resumed[0] / "counters.json").read_bytes(), type=Counters)
        run.budget = rewards.ErrorBudget(run.counters.graded, run.counters.errors)
    trainer = _trainer(run)
    progress.enter("training", total_steps=recipe.steps)
    trainer.train(resume_from_checkpoint=str(resumed[0]) if resumed else None)
    run.require_gradable(final=True)
    if progress.stop:
        raise Stopped
    progress.enter("saving")
    policy = trainer.accelerator.unwrap_model(trainer.model)
    if recipe.lora_rank:
        policy = policy.merge_and_unload()
    model = loading.publish(policy, run.tokenizer, directory / "model", step=trainer.state.global_step)
    return Trained(model, trainer.state.global_step, int(trainer.state.num_input_tokens_seen), run.kl)


class _Run:
    """What the parts of one training run share."""

    def __init__(self, spec: TrainSpec, directory: Path, progress: Progress) -> None:
        self.spec, self.recipe, self.directory, self.progress = spec, spec.recipe, directory, progress
        self.items = rows.read(directory / "train.jsonl", PromptItem)
        self.policy, self.tokenizer = loading.load(spec.model)
        self.initial = None if self.recipe.lora_rank else loading.load(spec.model)[0]
        self.validation = self._some("validation.jsonl", self.recipe.validation_prompts)
        self.probe = self._some("probe.jsonl", self.recipe.probe_prompts)
        for items in (self.items, self.validation, self.probe):
            if items:
                sampling.require_room(self.policy, self.encoded(items), self.recipe.max_completion_tokens)
        self.budget = rewards.ErrorBudget()
        self.counters = Counters()
        self.kl: Estimate | None = None
        self.last_fault = ""  # of the grading, in the grader's words

    def _some(self, name: str, count: int) -> list[PromptItem]:
        path = self.directory / name
        return rows.read(path, PromptItem)[:count] if count and path.is_file() and path.stat().st_size else []

    def encoded(self, items: Sequence[PromptItem]) -> list[list[int]]:
        return sampling.encode(self.tokenizer, [item.messages for item in items])

    def grade(self, items: Sequence[PromptItem], completions: Sequence[str]) -> list[Grade]:
        return rewards.grade_rollouts(
            completions,
            [item.item for item in items],
            [item.grader for item in items],
            replacement=self.spec.grader,
        )

    def fault(self, item: PromptItem, grade: Grade) -> str:
        return rewards.fault(self.spec.grader or item.grader, grade)

    def require_gradable(self, *, final: bool = False) -> None:
        if self.budget.exceeded or (final and self.budget.share > rewards.ERROR_BUDGET):
            raise Fault(
                "grading",
                "too_many_grading_errors",
                f"{self.budget.errors} of {self.budget.graded} rollouts could not be graded, over "
                f"{rewards.ERROR_BUDGET:.0%}: repair the grader or its references. The last: {self.last_fault}",
            )


def _trainer(run: _Run) -> "_OrderedTrainer":
    recipe = run.recipe
    order = training_order(len(run.items), recipe.steps * recipe.prompts_per_step, recipe.seed)
    dataset = Dataset.from_dict(
        {"prompt": [sampling.conversation(run.items[row].messages) for row in order], "row": order}
    )
    grading = _Rewards(run)
    trainer = _OrderedTrainer(
        run=run,
        model=run.policy,
        reward_funcs=[grading],
        args=_configuration(recipe, run),
        train_dataset=dataset,
        processing_class=run.tokenizer,
        peft_config=_adapter(recipe),
    )
    trainer.add_callback(_Watch(run, grading, trainer))
    return trainer


def _configuration(recipe: RunSpec, run: _Run) -> GRPOConfig:
    completions = recipe.prompts_per_step * recipe.group_size
    on_cpu = loading.device().type == "cpu"
    return GRPOConfig(
        output_dir=str(run.directory / "checkpoints" / ".partial"),
        max_steps=recipe.steps,
        # One update for each batch of completions: every step is then a safe place to save, because no half-used
        # batch is lost with it, and the sampling policy is the trained policy.
        per_device_train_batch_size=completions,
        gradient_accumulation_steps=1,
        num_iterations=1,
        num_generations=recipe.group_size,
        shuffle_dataset=False,
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
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        gradient_checkpointing=loading.parameters(run.policy) >= CHECKPOINTING_FROM,
        seed=recipe.seed,
        use_cpu=on_cpu,
        bf16=not on_cpu,
        fp16=False,
        use_vllm=False,
        dataloader_pin_memory=not on_cpu,
        logging_steps=1,
        logging_nan_inf_filter=False,  # a NaN loss must be seen
        save_strategy="no",  # _Watch decides
        report_to="none",
        disable_tqdm=True,
        trust_remote_code=False,
    )


def _adapter(recipe: RunSpec) -> LoraConfig | None:
    """LoRA on all linear layers but the head; alpha = 2 r keeps the update's size as the rank changes."""
    if not recipe.lora_rank:
        return None
    return LoraConfig(
        r=recipe.lora_rank, lora_alpha=2 * recipe.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )


class _OrderedTrainer(GRPOTrainer):
    """GRPOTrainer that times its sampling and publishes its checkpoints."""

    def __init__(self, *, run: _Run, **settings: Any) -> None:
        super().__init__(**settings)
        self.run = run
        self.seconds_sampling = 0.0

    def _generate(self, *arguments: Any, **settings: Any) -> Any:
        began = time.perf_counter()
        try:
            return super()._generate(*arguments, **settings)
        finally:
            self.seconds_sampling = time.perf_counter() - began

    def _save_checkpoint(self, model: PreTrainedModel, trial: Any) -> None:
        """transformers writes the state, we publish it. TRL's own method would add a model card to every checkpoint."""
        run, step = self.run, self.state.global_step
        run.progress.require_own_attempt()
        partial = Path(self._get_output_dir(trial)) / f"checkpoint-{step}"
        checkpoints.clear(partial)
        root = run.directory / "checkpoints"
        checkpoints.require_space(root, loading.parameters(run.policy) * ADAM_BYTES_A_WEIGHT)
        Trainer._save_checkpoint(self, model, trial)
        (partial / "counters.json").write_bytes(msgspec.json.encode(run.counters))
        run.progress.require_own_attempt()
        checkpoints.publish(partial, root / f"step-{step}", step=step)
        checkpoints.prune(root)

    def initial_logits(self) -> probes.Logits:
        """The policy that training started from: a second copy, or with LoRA the same weights without the adapter."""
        if self.run.initial is not None:
            return probes.logits_of(self.run.initial)
        policy = self.accelerator.unwrap_model(self.model)

        def without_adapter(ids_b_t: torch.Tensor, mask_b_t: torch.Tensor) -> torch.Tensor:
            with policy.disable_adapter():
                return probes.logits_of(policy)(ids_b_t, mask_b_t)

        return without_adapter


@dataclass(slots=True)
class _Step:
    """What the last batch of completions earned."""

    by_domain: Mapping[str, float] = field(default_factory=dict)
    error_share: float = 0.0


class _Rewards:
    """TRL's reward function: a score for every completion, None where none could be given."""

    __name__ = "grader"  # TRL names its metrics after it

    def __init__(self, run: _Run) -> None:
        self._run = run
        self.last = _Step()

    def __call__(
        self, *, completions: Sequence[Sequence[Mapping[str, str]]], row: Sequence[int], **others: Any
    ) -> list[float | None]:
        run = self._run
        items = [run.items[index] for index in row]
        texts = [completion[0]["content"] for completion in completions]
        grades = run.grade(items, texts)
        earned = [rewards.reward(grade) for grade in grades]
        faults = (run.fault(item, grade) for item, grade in zip(items, grades, strict=True) if not _is_graded(grade))
        run.last_fault = next(faults, run.last_fault)
        run.budget.count(earned)
        run.require_gradable()
        self.last = _Step(
            rewards.mean_by_domain(earned, [item.domain for item in items]),
            sum(value is None for value in earned) / len(earned),
        )
        step = others["trainer_state"].global_step + 1
        lines = _rollouts(step, items, texts, grades, earned, run.recipe.group_size)
        run.progress.require_own_attempt()
        rollouts.write(run.directory / "rollouts", step, lines)
        run.progress.show(lines[:: max(1, len(lines) // SHOWN_ROLLOUTS)][:SHOWN_ROLLOUTS])
        return earned


def _is_graded(grade: Grade) -> bool:
    return rewards.reward(grade) is not None


def _rollouts(
    step: int,
    items: Sequence[PromptItem],
    texts: Sequence[str],
    grades: Sequence[Grade],
    earned: Sequence[float | None],
    group_size: int,
) -> list[Rollout]:
    advantages = [
        advantage
        for at in range(0, len(earned), group_size)
        for advantage in rewards.advantages(earned[at : at + group_size])
    ]
    return [
        Rollout(
            step=step,
            key=item.key,
            domain=item.domain,
            prompt=item.messages[-1].content,
            completion=text,
            reward=grade.score,
            advantage=advantage,
            reason=grade.reason,
        )
        for item, text, grade, advantage in zip(items, texts, grades, advantages, strict=True)
    ]


class _Watch(TrainerCallback):
    """Measures and reports after every step, and decides when to save and when to leave."""

    def __init__(self, run: _Run, grading: _Rewards, trainer: _OrderedTrainer) -> None:
        self._run, self._grading, self._trainer = run, grading, trainer
        self._began = time.monotonic() - run.counters.seconds

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        if state.global_step == 0:
            self._report(StepMetrics(step=0, total_steps=self._run.recipe.steps, at=time.time()), measured=True)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        run, step = self._run, state.global_step
        run.progress.step = step
        run.counters = Counters(run.budget.graded, run.budget.errors, time.monotonic() - self._began)
        spent = 0 < run.recipe.max_minutes <= run.counters.seconds / 60
        leaving = bool(run.progress.stop) or spent
        control.should_training_stop = control.should_training_stop or leaving
        control.should_save = leaving or step % run.recipe.save_every == 0 or step == run.recipe.steps

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **others: Any
    ) -> None:
        if "loss" not in logs:
            return  # the summary at the end
        require_finite(state.global_step, logs)
        step, recipe = state.global_step, self._run.recipe
        self._report(
            StepMetrics(
                step=step,
                total_steps=recipe.steps,
                at=time.time(),
                reward_mean=logs["reward"],
                reward_by_domain=dict(self._grading.last.by_domain),
                loss=logs["loss"],
                entropy=logs["entropy"],
                gradient_norm=float(logs["grad_norm"]),
                clip_share=logs["clip_ratio/region_mean"],
                zero_spread_share=logs["frac_reward_zero_std"],
                truncated_share=logs["completions/clipped_ratio"],
                completion_tokens_mean=logs["completions/mean_length"],
                learning_rate=logs["learning_rate"],
                tokens_seen=int(logs["num_tokens"]),
                grader_error_share=self._grading.last.error_share,
                seconds_step=logs["step_time"],
                seconds_sampling=self._trainer.seconds_sampling,
            ),
            measured=step % recipe.measure_every == 0 or step == recipe.steps,
        )

    def _report(self, metrics: StepMetrics, *, measured: bool) -> None:
        """Metrics of step N: rewards of what was sampled for it, KL and validation of the weights after it."""
        progress = self._run.progress
        changes: dict[str, Any] = {"attempt": progress.attempt}
        if measured:
            progress.enter("sampling")
            changes |= {"kl": self._kl(), "validation_reward": self._validation_reward()}
            progress.enter("training")
        progress.report(msgspec.structs.replace(metrics, **changes))

    def _kl(self) -> Estimate | None:
        run = self._run
        if not run.probe:
            return None
        policy = self._trainer.accelerator.unwrap_model(self._trainer.model)
        drawn_as = _measuring(run.recipe)
        run.kl = probes.measure(
            policy, self._trainer.initial_logits(), run.tokenizer, run.encoded(run.probe), drawn_as
        ).kl
        return run.kl

    def _validation_reward(self) -> Estimate | None:
        """Mean over prompts of the mean reward of their answers; a prompt without a graded answer is left out."""
        run = self._run
        if not run.validation:
            return None
        policy = self._trainer.accelerator.unwrap_model(self._trainer.model)
        answers = sampling.draw(policy, run.tokenizer, run.encoded(run.validation), _measuring(run.recipe))
        means: list[float] = []
        for item, several in zip(run.validation, answers, strict=True):
            graded = run.grade([item] * len(several), [answer.text for answer in several])
            earned = [value for value in map(rewards.reward, graded) if value is not None]
            if earned:
                means.append(sum(earned) / len(earned))
        return probes.estimate(means) if means else None


def _measuring(recipe: RunSpec) -> Sampling:
    """The same noise at every measurement, so that two of them differ by the policy alone."""
    return Sampling(
        answers_per_item=recipe.validation_answers,
        temperature=recipe.temperature,
        max_completion_tokens=recipe.max_completion_tokens,
        seed=recipe.seed,
    )


def require_finite(step: int, logs: Mapping[str, Any]) -> None:
    """Before the step's checkpoint is written: a poisoned policy is never kept."""
    for name in ("loss", "grad_norm"):
        if not math.isfinite(float(logs[name])):
            raise Fault(
                "training",
                "loss_not_finite",
                f"{name} became {logs[name]} in step {step}: lower the learning rate and start again.",
            )
