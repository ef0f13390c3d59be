"""Groups for a step: drawn, graded, and drawn again for those whose answers all earned the same (dynamic sampling).

TRL asks for completions by `rollout_func` and gets whole groups with spread, as far as the rounds of refilling find
them; a group without spread fills the batch where none was found and is left out of the update (`learned` is False).

Every process of a run walks through the same curriculum: the rows of a round are dealt out, the drawn groups gathered,
and each process takes its share of what is kept.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from accelerate.utils import gather_object
from trl import GRPOTrainer

from tasks.types import Grade
from trainer import rewards
from trainer.contract import PromptItem, Rollout, Sampling
from trainer.engine import rollouts, sampling
from trainer.engine.curriculum import Outcome
from trainer.engine.run import Run

SHOWN_ROLLOUTS = 4  # of every step, in samples.jsonl
ENOUGH_MISSING = 16  # a round is not worth its time for fewer than one in so many groups


@dataclass(frozen=True, slots=True)
class Group:
    """The answers to one prompt, with what they earned. `rewards` holds None where nothing could be graded."""

    row: int
    prompt: list[int]
    answers: list[sampling.Answer]
    grades: list[Grade]
    rewards: list[float | None]

    @property
    def spread(self) -> bool:
        graded = [value for value in self.rewards if value is not None]
        return bool(graded) and max(graded) > min(graded)

    @property
    def outcome(self) -> Outcome:
        graded = [value for value in self.rewards if value is not None]
        return Outcome(self.row, sum(graded) / len(graded) if graded else None, self.spread)

    @property
    def tokens(self) -> int:
        return sum(len(self.prompt) + len(answer.tokens) for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a step drew, whole, on every process."""

    groups: list[Group]  # in the order of drawing
    first_round: int  # of them, before any refill
    learned: frozenset[int]  # places in `groups`
    passed_over: int
    seconds_sampling: float
    seconds_grading: float

    @property
    def tokens(self) -> int:
        return sum(group.tokens for group in self.groups)


class GroupSource:
    """The run's `rollout_func`. `last` is what the last step drew."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._encoded = run.encoded(run.items)
        self._seconds_grading = 0.0
        self.last: Drawn | None = None
        self.logprobs: list[list[float]] = []  # of this process's completions, as handed to TRL
        self.learned: list[bool] = []  # of the same: whether an update is made of it

    def __call__(self, prompts: Sequence[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        """The prompts that TRL offers carry nothing: what comes next is the curriculum's to say."""
        drawn = self._draw(trainer, self._run.step_of(trainer.state.global_step) + 1)
        self.last = drawn
        self._record(drawn, trainer)
        return self._batch(drawn, trainer)

    def _draw(self, trainer: GRPOTrainer, step: int) -> Drawn:
        run, recipe = self._run, self._run.recipe
        began, self._seconds_grading = time.perf_counter(), 0.0
        before = run.curriculum.state.passed_over
        groups: list[Group] = []
        first = 0
        for turn in range(1 + recipe.refill_rounds):
            missing = recipe.prompts_per_step - sum(group.spread for group in groups)
            if turn and missing <= recipe.prompts_per_step // ENOUGH_MISSING:
                break
            found = self._round(trainer, step, turn, _rounded_up(missing, trainer.accelerator.num_processes))
            groups += found
            first = first or len(found)
            run.curriculum.learn([group.outcome for group in found], step)
        return Drawn(
            groups=groups,
            first_round=first,
            learned=_learned(groups, recipe.prompts_per_step),
            passed_over=run.curriculum.state.passed_over - before,
            seconds_sampling=time.perf_counter() - began - self._seconds_grading,
            seconds_grading=self._seconds_grading,
        )

    def _round(self, trainer: GRPOTrainer, step: int, turn: int, count: int) -> list[Group]:
        """`count` more groups, a share of them drawn by each process, all of them known to every process."""
        accelerator = trainer.accelerator
        rows = self._run.curriculum.next(count, step)
        share = len(rows) // accelerator.num_processes
        mine = rows[accelerator.process_index * share :][:share]
        seed = _seed(self._run.recipe.seed, self._run.state.rollbacks, step, turn, accelerator.process_index)
        answers = self._answers(trainer, [self._encoded[row] for row in mine], seed)
        return list(gather_object(self._graded(mine, answers, seed)))

    def _answers(
        self, trainer: GRPOTrainer, prompts: list[list[int]], seed: int
    ) -> Sequence[Sequence[sampling.Answer]]:
        recipe = self._run.recipe
        if trainer.use_vllm:
            return _by_vllm(trainer, prompts, recipe.group_size)
        policy = trainer.accelerator.unwrap_model(trainer.model)
        how = Sampling(recipe.group_size, recipe.temperature, 1.0, recipe.max_completion_tokens, seed)
        return sampling.draw(policy, self._run.tokenizer, prompts, how, self._run.held_to)

    def _graded(self, rows: Sequence[int], answers: Sequence[Sequence[sampling.Answer]], seed: int) -> list[Group]:
        began = time.perf_counter()
        items = [self._run.items[row] for row in rows for _ in range(self._run.recipe.group_size)]
        grades = self._run.grade(items, [answer.text for several in answers for answer in several])
        self._seconds_grading += time.perf_counter() - began
        groups = []
        paid = [rewards.reward(grade) for grade in grades]
        if self._run.recipe.random_rewards:
            grades, paid = [_by_coin(grade) for grade in grades], rewards.coins(seed, len(grades))
        for at, (row, several) in enumerate(zip(rows, answers, strict=True)):
            own = slice(at * len(several), (at + 1) * len(several))
            groups.append(Group(row, self._encoded[row], list(several), grades[own], paid[own]))
        return groups

    def _record(self, drawn: Drawn, trainer: GRPOTrainer) -> None:
        """Count the faults of the grader, keep every rollout, show a few."""
        run = self._run
        for group in drawn.groups:
            run.count(run.items[group.row], group.grades)
        run.require_gradable()
        if not trainer.accelerator.is_main_process:
            return
        step = run.step_of(trainer.state.global_step) + 1
        lines = _lines(drawn, run.items, step)
        run.progress.require_own_attempt()
        rollouts.write(run.directory / "rollouts", step, lines)
        run.progress.show(lines[:: max(1, len(lines) // SHOWN_ROLLOUTS)][:SHOWN_ROLLOUTS])

    def _batch(self, drawn: Drawn, trainer: GRPOTrainer) -> dict[str, Any]:
        """This process's share, in the shape that TRL's `rollout_func` returns: a list entry for each completion."""
        count = self._run.recipe.prompts_per_step
        places = sorted(drawn.learned) + [at for at in range(len(drawn.groups)) if at not in drawn.learned]
        share = count // trainer.accelerator.num_processes
        mine = places[:count][trainer.accelerator.process_index * share :][:share]
        rows = [(drawn.groups[at], at in drawn.learned, k) for at in mine for k in range(self._run.recipe.group_size)]
        self.logprobs = [list(group.answers[k].logprobs) for group, _, k in rows]
        self.learned = [learned for _, learned, _ in rows]
        return {
            "prompt_ids": [group.prompt for group, _, _ in rows],
            "completion_ids": [list(group.answers[k].tokens) for group, _, k in rows],
            "logprobs": self.logprobs,
            "earned": [group.rewards[k] for group, _, k in rows],
        }


def earned(*, completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """TRL's reward function: the groups were graded when they were drawn."""
    return list(columns["earned"])


def _by_coin(grade: Grade) -> Grade:
    return msgspec.structs.replace(grade, reason=f"A coin decided; the grader says: {grade.reason}")


def _learned(groups: Sequence[Group], most: int) -> frozenset[int]:
    return frozenset([at for at, group in enumerate(groups) if group.spread][:most])


def _rounded_up(count: int, processes: int) -> int:
    return -(-count // processes) * processes


def _seed(*parts: int) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


def _by_vllm(trainer: GRPOTrainer, prompts: list[list[int]], group_size: int) -> list[list[sampling.Answer]]:
    """TRL has sent the weights of this step already. vLLM answers each prompt in the list once."""
    repeated = [prompt for prompt in prompts for _ in range(group_size)]
    _, ids, logprobs, _ = trainer.vllm_generation.generate(
        prompts=repeated, images=None, num_generations=group_size, profiler=None
    )
    tokenizer, ends = trainer.processing_class, set(trainer.eos_token_ids)
    answers = [
        sampling.Answer(
            tokenizer.decode(tokens, skip_special_tokens=True),
            tuple(tokens),
            tuple(float("nan") if top[0] is None else top[0] for top in chosen),
            truncated=not tokens or tokens[-1] not in ends,
        )
        for tokens, chosen in zip(ids, logprobs, strict=True)
    ]
    return [answers[at : at + group_size] for at in range(0, len(answers), group_size)]


def _lines(drawn: Drawn, items: Sequence[PromptItem], step: int) -> list[Rollout]:
    return [
        line
        for at, group in enumerate(drawn.groups)
        for line in _group_lines(group, items[group.row], step, learned=at in drawn.learned)
    ]


def _group_lines(group: Group, item: PromptItem, step: int, *, learned: bool) -> list[Rollout]:
    return [
        Rollout(
            step=step,
            key=item.key,
            domain=item.domain,
            prompt=item.messages[-1].content,
            completion=answer.text,
            reward=reward,
            advantage=advantage,
            reason=grade.reason,
            tokens=len(answer.tokens),
            truncated=answer.truncated,
            learned=learned,
        )
        for answer, grade, reward, advantage in zip(
            group.answers, group.grades, group.rewards, rewards.advantages(group.rewards), strict=True
        )
    ]


def by_key(groups: Sequence[Group], key: Callable[[int], str]) -> dict[str, float]:
    """Mean reward of the graded answers by `key(row)`, sorted by name."""
    names, values = [], []
    for group in groups:
        for value in group.rewards:
            names.append(key(group.row))
            values.append(value)
    return rewards.mean_by_domain(values, names)
