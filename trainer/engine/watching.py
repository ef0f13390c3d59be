"""After every step: measure, report, look for alarms, and decide whether to save, go back, pause or end."""

import time
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import msgspec
from transformers import TrainerCallback, TrainerControl, TrainerState

from trainer import alarms, rewards
from trainer.alarms import Sighting
from trainer.contract import Alarm, Ending, Estimate, Grading, PromptItem, Sampling, StepMetrics
from trainer.engine import drawing, probes, ranks, sampling, validating
from trainer.engine.run import Decision, Run
from trainer.engine.updating import GroupTrainer
from trainer.runspec import RunSpec

FAR_BELOW = 99.0  # standard errors: JSON has no infinity


class Watch(TrainerCallback):
    def __init__(self, run: Run, trainer: GroupTrainer) -> None:
        self._run, self._trainer = run, trainer
        self._began = time.monotonic() - run.state.seconds
        self._step_began = time.perf_counter()
        self._seconds_measuring = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        self._set_learning_rate()
        if state.global_step == 0:
            metrics = StepMetrics(
                step=0, total_steps=self._run.recipe.steps, at=time.time(), learning_rate=self._run.learning_rate
            )
            self._see(metrics, measured=True)
        self._step_began = time.perf_counter()

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **others: Any
    ) -> None:
        """transformers logs after the last update of a step, and asks afterwards whether to save and to stop."""
        if "loss" not in logs:
            return  # the summary at the end
        run, recipe = self._run, self._run.recipe
        step = run.step_of(state.global_step)
        run.progress.step = step
        run.state.seconds = time.monotonic() - self._began
        drawn = self._trainer.groups.last
        assert drawn is not None
        run.state.tokens += drawn.tokens
        measured = step % recipe.measure_every == 0 or step == recipe.steps
        self._see(self._metrics(step, drawn, logs), measured=measured)
        self._decide(step)
        run.decision = ranks.told_by_first(run.decision)
        self._obey(control, step, measured=measured)
        self._step_began = time.perf_counter()

    def _metrics(self, step: int, drawn: drawing.Drawn, logs: Mapping[str, Any]) -> StepMetrics:
        run, tally = self._run, self._trainer.tally.over_processes()
        seconds = time.perf_counter() - self._step_began
        earned = [value for group in drawn.groups for value in group.rewards]
        graded = [value for value in earned if value is not None]
        answers = [answer for group in drawn.groups for answer in group.answers]
        flat = sum(not group.spread for group in drawn.groups)
        first = drawn.groups[: drawn.first_round]
        return StepMetrics(
            step=step,
            total_steps=run.recipe.steps,
            at=time.time(),
            reward_mean=sum(graded) / len(graded) if graded else None,
            reward_by_domain=drawing.by_key(drawn.groups, lambda row: run.items[row].domain),
            reward_by_grader=drawing.by_key(drawn.groups, lambda row: run.grader_of(run.items[row])),
            loss=float(logs["loss"]),
            entropy=_entropy(first),
            gradient_norm=float(logs["grad_norm"]),
            clip_share=tally.clipped / max(tally.ratios, 1),
            sampler_gap=tally.gap / max(tally.tokens, 1),
            zero_spread_share=sum(not group.spread for group in first) / len(first),
            groups_drawn=len(drawn.groups),
            groups_without_spread=flat,
            groups_learned=len(drawn.learned),
            prompts_passed_over=drawn.passed_over,
            prompts_resting=run.curriculum.resting(step),
            truncated_share=sum(answer.truncated for answer in answers) / len(answers),
            completion_tokens_mean=sum(len(answer.tokens) for answer in answers) / len(answers),
            learning_rate=self._learning_rate(),
            tokens_seen=run.state.tokens,
            tokens_per_second=(drawn.tokens + tally.learned_tokens) / seconds,
            grader_error_share=1 - len(graded) / len(earned),
            seconds_step=seconds,
            seconds_sampling=drawn.seconds_sampling,
            seconds_grading=drawn.seconds_grading,
            grading=rewards.graded([grade for group in drawn.groups for grade in group.grades]),
        )

    def _see(self, metrics: StepMetrics, *, measured: bool) -> None:
        """Report the step, and what is alarming about it."""
        run = self._run
        metrics = msgspec.structs.replace(metrics, attempt=run.progress.attempt)
        best: Estimate | None = None
        run.state.validation, run.state.behind, run.state.kl = None, 0.0, None
        if measured and _finite(metrics):
            metrics, best = self._measured(metrics)
        sightings = alarms.look(run.state.memory, metrics, change_from_best=best)
        if alarms.asks_for_validation(sightings) and run.validation and metrics.validation_reward is None:
            metrics, best = self._measured(metrics)
            sightings += alarms.fallen(run.state.memory, metrics, best)
        self._judge(metrics.step, sightings)
        if self._trainer.is_world_process_zero():
            run.progress.report(_tellable(metrics))
            run.progress.alarm([self._alarm(metrics.step, sighting) for sighting in sightings])

    def _judge(self, step: int, sightings: Sequence[Sighting]) -> None:
        """Healthy is a step without a stop and without anything that may become one which a lower rate helps."""
        run = self._run
        stops = [sighting for sighting in sightings if sighting.level == "stop"]
        run.state.healthy = not run.recipe.guard or not (stops or alarms.troubled(run.state.memory))
        if not stops or (not run.recipe.guard and stops[0].kind != "not_finite"):
            return
        first = min(stops, key=lambda sighting: not sighting.goes_back)  # what going back may cure comes first
        back = first.goes_back and run.state.rollbacks < run.recipe.rollbacks
        ending = None if back else Ending("alarm", _why(run, step, first))
        run.decision = Decision("go_back" if back else "end", ending, first.kind)

    def _alarm(self, step: int, sighting: Sighting) -> Alarm:
        decision = self._run.decision
        action = "none"
        if sighting.level == "stop" and decision is not None and decision.kind == sighting.kind:
            action = "rolled_back" if decision.action == "go_back" else "stopped"
        return Alarm(
            step=step,
            at=time.time(),
            kind=sighting.kind,
            level=sighting.level,
            value=sighting.value,
            threshold=sighting.threshold,
            action=action,  # type: ignore[arg-type]
            sentence=sighting.sentence,
            attempt=self._run.progress.attempt,
        )

    def _decide(self, step: int) -> None:
        """What ends or pauses a run that no alarm has stopped."""
        run, recipe = self._run, self._run.recipe
        if run.decision is not None or step >= recipe.steps:
            return
        if run.progress.stop:
            run.decision = Decision("pause")
        elif tired := early_stopping(run):
            run.decision = tired
        elif spent := _spent(recipe, step, run.state.seconds, run.state.tokens):
            run.decision = Decision("pause", spent)

    def _obey(self, control: TrainerControl, step: int, *, measured: bool) -> None:
        run, recipe = self._run, self._run.recipe
        broken = run.decision is not None and run.decision.kind != ""
        control.should_training_stop = control.should_training_stop or run.decision is not None
        run.state.scheduled = measured or step % recipe.save_every == 0 or step == recipe.steps
        due = run.state.scheduled or run.decision is not None
        control.should_save = due and not broken  # what an alarm has stopped at is never kept

    def _measured(self, metrics: StepMetrics) -> tuple[StepMetrics, Estimate | None]:
        """With KL on the probe set and rewards on the validation set; and how these differ from the best so far."""
        began = time.perf_counter()
        self._run.progress.enter("sampling")
        answers = self._answers()
        changes = self._probed(answers) | (validated := self._validated(answers))
        self._run.progress.enter("training")
        self._seconds_measuring = time.perf_counter() - began
        best = validated.pop("change_from_best", None)
        changes.pop("change_from_best", None)
        return msgspec.structs.replace(metrics, seconds_measuring=self._seconds_measuring, **changes), best

    def _answers(self) -> dict[str, list[sampling.Answer]]:
        """To each validation prompt, by its key."""
        run = self._run
        if not run.validation:
            return {}
        prompts, how = run.encoded(run.validation), _measuring(run.recipe)
        drawn = sampling.draw_in_turns(self._policy(), run.tokenizer, prompts, how, run.held_to)
        return {item.key: several for item, several in zip(run.validation, drawn, strict=True)}

    def _probed(self, answers: Mapping[str, Sequence[sampling.Answer]]) -> dict[str, Any]:
        probe = probed(self._run, self._trainer, answers)
        if probe is None:
            return {}
        self._run.state.kl = probe.kl
        return {"kl": probe.kl, "probe_entropy": probe.entropy}

    def _validated(self, answers: Mapping[str, Sequence[sampling.Answer]]) -> dict[str, Any]:
        """Mean over prompts of the mean reward of their answers; a prompt without a graded answer is left out."""
        run = self._run
        means, grading = _means(run, answers)
        if not means:
            return {}
        first = not run.state.start_means
        if first:
            run.state.start_means = means
        found = {
            "validation_reward": probes.estimate(list(means.values())),
            "validation_change": paired(means, run.state.start_means),
            "validation_by_domain": _by_domain(run.validation, means),
            "validation_grading": grading,
        }
        if not first:
            found["change_from_best"] = self._compared_with_best(means)
        return found

    def _compared_with_best(self, means: Mapping[str, float]) -> Estimate | None:
        """Also books this measurement as the best where it is."""
        state, mean = self._run.state, _mean(means)
        state.validation = mean
        change = paired(means, state.best_means) if state.best_means else None
        state.behind = errors_below(change) if change is not None else 0.0
        if not state.best_means or mean > _mean(state.best_means):
            state.best_means, state.best_step, state.since_best = dict(means), self._run.progress.step, 0
        else:
            state.since_best += 1
        return change

    def _policy(self) -> Any:
        return self._trainer.accelerator.unwrap_model(self._trainer.model)

    def _learning_rate(self) -> float:
        return float(self._trainer.optimizer.param_groups[0]["lr"])

    def _set_learning_rate(self) -> None:
        """A checkpoint brings the rate that it was trained with; after a rollback the run has another one."""
        rate = self._run.learning_rate
        for group in self._trainer.optimizer.param_groups:
            group["initial_lr"] = rate
        schedule: Any = self._trainer.lr_scheduler
        schedule = getattr(schedule, "scheduler", schedule)  # accelerate wraps it
        schedule.base_lrs = [rate for _ in schedule.base_lrs]
        factor = schedule.lr_lambdas[0](schedule.last_epoch)
        for group in self._trainer.optimizer.param_groups:
            group["lr"] = rate * factor


def early_stopping(run: Run) -> Decision | None:
    """The end of a run whose patience is at its end."""
    patience = run.recipe.patience
    if not patience or run.state.since_best < patience:
        return None
    sentence = f"Validation has not improved in {patience} measurements; the best was step {run.state.best_step}."
    return Decision("end", Ending("early_stopping", sentence))


def probed(
    run: Run, trainer: GroupTrainer, answers: Mapping[str, Sequence[sampling.Answer]] | None = None
) -> probes.Probe | None:
    """How far the trainer's policy is from the one that the run started from; None without a probe set.

    Prompts that validation has just answered are not answered again: the first answer is a completion of this policy.
    """
    if not run.probe:
        return None
    policy: Any = trainer.accelerator.unwrap_model(trainer.model)
    prompts = run.encoded(run.probe)
    known = [answers[item.key][0].tokens if answers and item.key in answers else None for item in run.probe]
    how = _measuring(run.recipe)
    return probes.measure(
        policy, trainer.initial_logits(), run.tokenizer, prompts, how, known=known, held_to=run.held_to
    )


def _why(run: Run, step: int, sighting: Sighting) -> str:
    """What stopped the run, with what had been tried."""
    rates = [f"{run.recipe.learning_rate * 0.5**times:g}" for times in range(run.state.rollbacks + 1)]
    tried = f" Learning rates tried: {', '.join(rates)}." if sighting.goes_back else ""
    return f"Step {step}: {sighting.sentence}{tried}"


def paired(means: Mapping[str, float], others: Mapping[str, float]) -> Estimate | None:
    """Mean difference over the prompts that both have; positive: `means` is better."""
    differences = [mean - others[key] for key, mean in means.items() if key in others]
    return probes.estimate(differences) if differences else None


def errors_below(change: Estimate) -> float:
    """0 where it is not below; a fall without any spread counts as far below."""
    if change.mean >= 0:
        return 0.0
    return min(-change.mean / change.standard_error, FAR_BELOW) if change.standard_error else FAR_BELOW


def _means(run: Run, answers: Mapping[str, Sequence[sampling.Answer]]) -> tuple[dict[str, float], Grading]:
    """By prompt: the mean reward of its graded answers. And what the graders made of all of them."""
    items = [item for item in run.validation for _ in answers[item.key]]
    grades = run.grade(items, [answer.text for item in run.validation for answer in answers[item.key]])
    if ranks.first():
        drawn = [answer for item in run.validation for answer in answers[item.key]]
        validating.write(run.directory, run.progress.step, items, drawn, grades)
    earned = [rewards.reward(grade) for grade in grades]
    return rewards.mean_by_domain(earned, [item.key for item in items]), rewards.graded(grades)


def _by_domain(items: Sequence[PromptItem], means: Mapping[str, float]) -> dict[str, float]:
    known = [(means[item.key], item.domain) for item in items if item.key in means]
    return rewards.mean_by_domain([mean for mean, _ in known], [domain for _, domain in known])


def _mean(means: Mapping[str, float]) -> float:
    return sum(means.values()) / len(means)


def _entropy(groups: Sequence[drawing.Group]) -> float:
    """Nats a token: the mean surprise of what was drawn is an unbiased estimate of the entropy that it was drawn with.

    Over all groups of the first round: those that an update is made of are the undecided ones.
    """
    surprises = [surprise for group in groups for answer in group.answers for surprise in answer.surprises]
    return sum(surprises) / max(len(surprises), 1)


def _finite(metrics: StepMetrics) -> bool:
    """A policy that is not finite cannot be measured."""
    values = (metrics.loss, metrics.gradient_norm)
    return all(value is None or isfinite(value) for value in values)


def _tellable(metrics: StepMetrics) -> StepMetrics:
    """JSON has no NaN: a null inside a measurement would make its whole line unreadable."""
    if metrics.kl is None or isfinite(metrics.kl.mean):
        return metrics
    return msgspec.structs.replace(metrics, kl=None, probe_entropy=None)


def _spent(recipe: RunSpec, step: int, seconds: float, tokens: int) -> Ending | None:
    """The budget that is used up, in a sentence."""
    if 0 < recipe.max_steps <= step:
        return Ending("budget_steps", f"The budget of {recipe.max_steps:,} steps is spent at step {step:,}.")
    if 0 < recipe.max_minutes <= seconds / 60:
        return Ending("budget_minutes", f"The budget of {recipe.max_minutes:g} minutes is spent at step {step:,}.")
    if 0 < recipe.max_tokens <= tokens:
        return Ending("budget_tokens", f"The budget of {recipe.max_tokens:,} tokens is spent at step {step:,}.")
    return None


def _measuring(recipe: RunSpec) -> Sampling:
    """The same noise at every measurement, so that two of them differ by the policy alone; always at temperature 1."""
    return Sampling(
        answers_per_item=recipe.validation_answers,
        temperature=1.0,
        max_completion_tokens=recipe.max_completion_tokens,
        seed=recipe.seed,
    )
