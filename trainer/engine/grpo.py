"""Reinforcement learning with verifiable rewards: TRL's GRPOTrainer, our order, graders, guard and checkpoints.

Read from top to bottom: `train` opens what the run needs and goes on from the newest sound checkpoint; TRL asks
`drawing.GroupSource` for groups of graded completions and `updating.GroupTrainer` learns from them; `watching.Watch`
measures after every step and decides; a run that goes back starts again from its last healthy checkpoint at half the
learning rate; in the end the best weights by validation are published and `inspecting` asks whether the reward could be
hacked.

The recipe (sources: DAPO, Dr. GRPO, TRL's documentation): token-level loss over the whole batch, no division by a
group's standard deviation, asymmetric clip, no KL penalty by default (KL is measured, exactly, instead), constant
learning rate, truncated completions count, groups without spread replaced.
"""

import gc
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from tasks.crash import crash_point
from trainer.contract import Ending, Estimate, Manifest, TrainSpec
from trainer.engine import checkpoints, inspecting, loading, ranks
from trainer.engine.faults import Fault, Stopped
from trainer.engine.history import Checkpoint, History
from trainer.engine.progress import Progress
from trainer.engine.run import Run, State
from trainer.engine.updating import GroupTrainer, trainer_of
from trainer.engine.watching import Watch, early_stopping, probed


@dataclass(frozen=True, slots=True)
class Trained:
    model: Manifest
    step: int  # how far the run went
    kept_step: int  # whose weights these are
    tokens: int
    kl: Estimate | None
    ending: Ending
    learning_rate: float


def train(spec: TrainSpec, directory: Path, progress: Progress) -> Trained:
    """Run the recipe from the start or from the newest sound checkpoint, and publish DIR/model.

    Raises Stopped for a run that is to go on later, Fault for one that cannot.
    """
    run, history = Run(spec, directory, progress), History(directory / "checkpoints")
    if spec.recipe.steps == 0:
        progress.enter("saving")
        ending = Ending("completed", "A run of no steps returns the weights that it starts from.")
        model = loading.publish(run.policy, run.tokenizer, directory / "model")
        return Trained(model, 0, 0, 0, None, ending, run.learning_rate)
    here = next(iter(history.standing()), None)
    _restore(run, history, here)
    while True:
        trainer = _course(run, history, here)
        if run.decision is None or run.decision.action != "go_back":
            break
        here = history.go_back(progress.step, run.decision.kind, run.state)
        crash_point("rollback.after_record")
        del trainer
        gc.collect()  # two copies of the moments would not fit
        run.fresh_policy()
        _restore(run, history, here)
    run.require_gradable(final=True)
    if run.decision is not None and run.decision.action == "pause":
        raise Stopped(run.decision.ending)
    return _publish(run, history, trainer)


def _restore(run: Run, history: History, here: Checkpoint | None) -> None:
    """The state at `here`, on the branch that the run is on by now; what was spent past it stays spent."""
    rollbacks = history.rollbacks()
    state = deepcopy(here.state) if here else State()
    if state.rollbacks < len(rollbacks):
        state.tokens, state.seconds = rollbacks[-1].tokens, rollbacks[-1].seconds
    state.rollbacks = len(rollbacks)
    run.restore(state)
    run.progress.step = here.step if here else 0


def _course(run: Run, history: History, here: Checkpoint | None) -> GroupTrainer:
    """Train from `here` until the run ends or something is decided."""
    trainer = trainer_of(run, history)
    trainer.add_callback(Watch(run, trainer))
    run.progress.enter("training", total_steps=run.recipe.steps)
    run.decision = early_stopping(run) if here else None  # killed after it had ended
    if run.decision is None:
        trainer.train(resume_from_checkpoint=str(here.directory) if here else None)
    return trainer


def _publish(run: Run, history: History, trainer: GroupTrainer) -> Trained:
    """The best checkpoint by validation; without validation the last healthy one, which a run to its end ends with."""
    run.progress.enter("saving")
    decision = run.decision
    chosen = history.best(latest=run.recipe.prefer_latest) or history.last_healthy()
    if chosen is None and decision is None:
        chosen = next(iter(history.standing()), None)  # too short a run for its alarms to say more than a warning
    if chosen is None:
        sentence = decision.ending.sentence if decision and decision.ending else "No step was healthy."
        raise Fault("training", decision.kind if decision else "no_healthy_step", sentence)
    if chosen.step != run.step_of(trainer.state.global_step):
        trainer._load_from_checkpoint(str(chosen.directory))
    kl = chosen.state.kl or (probe.kl if (probe := probed(run, trainer)) else None)
    policy: PreTrainedModel = trainer.accelerator.unwrap_model(trainer.model)
    if run.recipe.lora_rank:
        policy = policy.merge_and_unload()
    if ranks.first():
        loading.publish(policy, run.tokenizer, run.directory / "model", step=chosen.step)
    trainer.accelerator.wait_for_everyone()
    if ranks.first():
        history.prune(run.recipe.keep_best, latest=run.recipe.prefer_latest)  # a kill came between the last save and it
        inspecting.inspect(run, policy, chosen.step)  # behind the last meeting: nobody waits for it
    model = checkpoints.read_manifest(run.directory / "model")
    at = run.progress.step
    return Trained(model, at, chosen.step, run.state.tokens, kl, _ending(run, at), run.learning_rate)


def _ending(run: Run, step: int) -> Ending:
    if run.decision is not None and run.decision.ending is not None:
        return run.decision.ending
    return Ending("completed", f"All {step:,} steps were made.")
