"""What the parts of one training run share: inputs, policy, and what a resumed run must still know."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from tasks.types import Grade
from trainer import rewards
from trainer.alarms import Memory
from trainer.contract import Ending, Estimate, PromptItem, TrainSpec
from trainer.engine import loading, rows, sampling
from trainer.engine.curriculum import Curriculum, Position, Resting
from trainer.engine.faults import Fault
from trainer.engine.progress import Progress

STATE = "state.json"


class State(msgspec.Struct):
    """Kept in each checkpoint as state.json."""

    graded: int = 0
    errors: int = 0
    tokens: int = 0  # prompt and answer tokens drawn
    seconds: float = 0.0  # of training, through all attempts
    rollbacks: int = 0  # how often the run had gone back when this was written: the branch it belongs to
    healthy: bool = True
    scheduled: bool = True  # False: saved for a pause alone, so that a run without the pause does not have it
    validation: float | None = None  # measured at this very step
    behind: float = 0.0  # this measurement below the best one before it, in standard errors of their paired difference
    kl: Estimate | None = None  # measured at this very step
    position: Position = msgspec.field(default_factory=Position)
    memory: Memory = msgspec.field(default_factory=Memory)
    start_means: dict[str, float] = {}  # of each validation prompt, before the first step
    best_means: dict[str, float] = {}  # at the best measurement so far
    best_step: int = 0
    since_best: int = 0  # measurements


class Decision(msgspec.Struct, frozen=True):
    """What the run does after a step instead of going on."""

    action: Literal["pause", "go_back", "end"]
    ending: Ending | None = None  # None: somebody asked
    kind: str = ""  # of the alarm


class Run:
    def __init__(self, spec: TrainSpec, directory: Path, progress: Progress) -> None:
        self.spec, self.recipe, self.directory, self.progress = spec, spec.recipe, directory, progress
        if spec.response_format and self.recipe.vllm != "off":
            # TRL can pass a schema on to vLLM, but takes its log probabilities after the mask, where the update has
            # them before it: every forced token would be told as a gap to the sampler, and weighed down for it.
            sentence = "Answers are held to a response_format by the engine's own sampler only: set vllm to off."
            raise Fault("spec", "response_format_with_vllm", sentence)
        self.items = rows.read(directory / "train.jsonl", PromptItem)
        self.policy, self.tokenizer = loading.load(spec.model)
        self.held_to = sampling.held_to(self.policy, self.tokenizer, spec.response_format)
        self.initial = None if self.recipe.lora_rank else loading.load(spec.model)[0]
        self.validation = self._some("validation.jsonl", self.recipe.validation_prompts)
        self.probe = self._some("probe.jsonl", self.recipe.probe_prompts)
        for items in (self.items, self.validation, self.probe):
            if items:
                sampling.require_room(self.policy, self.encoded(items), self.recipe.max_completion_tokens)
        self.decision: Decision | None = None
        self.seen = self.broken = 0  # answers graded by this process, and those that the grader broke over
        self.last_fault = ""  # of the grading, in the grader's words
        self.restore(State())

    def restore(self, state: State) -> None:
        """Go on from `state`: of a checkpoint, or that of a fresh run."""
        self.state = state
        self.budget = rewards.ErrorBudget(state.graded, state.errors)
        recipe = self.recipe
        resting = Resting(recipe.rest_above, recipe.rest_steps, recipe.skip_floor)
        domains = [item.domain for item in self.items]
        self.curriculum = Curriculum(domains, recipe.seed, resting, state.position)
        self.decision = None

    def fresh_policy(self) -> None:
        """The weights that training starts from, for a run that goes back to its beginning."""
        self.policy, _ = loading.load(self.spec.model)

    def step_of(self, updates: int) -> int:
        """TRL counts optimiser updates, we count the batches that they learn from."""
        return updates // self.recipe.updates_per_step

    @property
    def learning_rate(self) -> float:
        return self.recipe.learning_rate * 0.5**self.state.rollbacks

    def encoded(self, items: Sequence[PromptItem]) -> list[list[int]]:
        return sampling.encode(self.tokenizer, [item.messages for item in items])

    def grade(self, items: Sequence[PromptItem], completions: Sequence[str]) -> list[Grade]:
        grades = rewards.grade_rollouts(
            completions,
            [item.item for item in items],
            [item.grader for item in items],
            replacement=self.spec.grader,
        )
        return self._without_faults(grades) if self.spec.faults_earn_nothing else grades

    def _without_faults(self, grades: Sequence[Grade]) -> list[Grade]:
        """A grader that breaks over nearly every answer would teach nothing, one zero after another: that is told."""
        found = [rewards.earning_nothing(grade) for grade in grades]
        broke = [new for old, new in zip(grades, found, strict=True) if new is not old]
        self.seen, self.broken = self.seen + len(grades), self.broken + len(broke)
        if self.seen >= rewards.BROKEN_FROM and self.broken > rewards.BROKEN_SHARE * self.seen:
            sentence = (
                f"The grader broke over {self.broken} of {self.seen} answers: repair it. The last: {broke[-1].reason}"
            )
            raise Fault("grading", "grader_broken", sentence)
        return found

    def grader_of(self, item: PromptItem) -> str:
        return str((self.spec.grader or item.grader).get("type", "unknown"))

    def count(self, item: PromptItem, grades: Sequence[Grade]) -> None:
        """Book what was graded, and remember the words of a fault."""
        earned = [rewards.reward(grade) for grade in grades]
        for grade, value in zip(grades, earned, strict=True):
            if value is None:
                self.last_fault = rewards.fault(self.spec.grader or item.grader, grade)
        self.budget.count(earned)
        self.state.graded, self.state.errors = self.budget.graded, self.budget.errors

    def require_gradable(self, *, final: bool = False) -> None:
        if self.budget.exceeded or (final and self.budget.share > rewards.ERROR_BUDGET):
            raise Fault(
                "grading",
                "too_many_grading_errors",
                f"{self.budget.errors} of {self.budget.graded} rollouts could not be graded, over "
                f"{rewards.ERROR_BUDGET:.0%}: repair the grader or its references. The last: {self.last_fault}",
            )

    def _some(self, name: str, count: int) -> list[PromptItem]:
        path = self.directory / name
        return rows.read(path, PromptItem)[:count] if count and path.is_file() and path.stat().st_size else []
