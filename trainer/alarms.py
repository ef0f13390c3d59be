"""The guard of a run: which measurements are a warning, which end or roll back a run, and the sentence for each.

Thresholds stand here and nowhere else; they were fixed before the collapse drills were run (make bench-train). Pure: a
step's metrics and the memory of earlier steps go in, sightings come out. trainer/engine/ acts on them.

Two levels. A sighting beyond the threshold warns. It asks for a stop where it stands at twice the threshold in two
steps running, or at once where one is enough (a loss that is not finite, validation significantly below the start).
An alarm that measures mere change (entropy, length, gradient norm, KL, clipping) is no reason to stop a run that earns
more than it did: reinforcement learning is meant to change the policy.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, median
from typing import Literal

import msgspec

from trainer.contract import Estimate, StepMetrics

FIRST = 20  # steps whose median is what later ones are compared with
RECENT = 20  # steps of the rolling median of the gradient norm
EARNING = 5  # steps at either end whose mean rewards tell whether a run earns more than it did
RUNNING = 2  # steps in a row at twice the threshold

ENTROPY_LOW, ENTROPY_LOW_SEVERE = 0.30, 0.15  # of the median of the first steps
ENTROPY_HIGH, ENTROPY_HIGH_SEVERE = 2.0, 4.0
GRADIENT_NORM, GRADIENT_NORM_SEVERE = 5.0, 10.0  # times the rolling median
KL, KL_SEVERE = 3.0, 6.0  # times the typical growth between two measurements
KL_FLOOR = 1.0  # nats a sequence: growth below it is nothing, whatever came before
ZERO_SPREAD, ZERO_SPREAD_SEVERE = 0.6, 0.98  # share of the groups drawn; twice 0.6 cannot be
ZERO_SPREAD_AGAIN = 0.5  # a warning stands until the share is below this, so that it is not told on and off
ZERO_SPREAD_GROUPS = 64  # drawn in a row without any spread: a few groups of a hard task are flat by chance
ZERO_SPREAD_OVER = 5  # steps whose mean is held against the first; a single step of few groups says little
REWARD_LOST, REWARD_LOST_SEVERE = 0.25, 0.10  # of what was earned at the start
CLIPPED, CLIPPED_SEVERE = 0.2, 0.4  # share of tokens whose ratio was clipped
TRUNCATED, TRUNCATED_SEVERE = 0.2, 0.4  # share of completions, where it was not so from the start
TRUNCATED_RISE = 0.1  # above the median of the first steps, and twice that for severe
LENGTH_UP, LENGTH_UP_SEVERE = 1.5, 2.0  # times the median of the first steps
LENGTH_DOWN, LENGTH_DOWN_SEVERE = 0.5, 0.25
SAMPLER_GAP, SAMPLER_GAP_SEVERE = 0.05, 0.1  # nats a token
SAMPLING_NOISE, SAMPLING_NOISE_SEVERE = 2.0, 4.0  # entropy of what is drawn, times the policy's own at temperature 1
GRADER_ERRORS, GRADER_ERRORS_SEVERE = 0.005, 0.01  # share of completions; the run itself fails over the second
BELOW_START_ERRORS = 2.0  # standard errors of the paired difference
BELOW_BEST_ERRORS = 3.0
BELOW_BEST_LEAST = 0.05  # of the reward: a drop below it is not worth going back for
FLAT_MEASUREMENTS = 3

Level = Literal["warn", "stop"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What an alarm is about. `change`: forgiven to a run that earns more. `goes_back`: a lower rate may help."""

    name: str
    title: str
    change: bool
    goes_back: bool


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("not_finite", "Loss or gradient not finite", change=False, goes_back=True),
        Kind("entropy_low", "Entropy collapsed", change=True, goes_back=True),
        Kind("entropy_high", "Entropy exploded", change=True, goes_back=True),
        Kind("gradient_norm", "Gradient norm spiked", change=True, goes_back=True),
        Kind("kl", "KL jumped", change=True, goes_back=True),
        Kind("reward_lost", "Reward lost", change=False, goes_back=True),
        Kind("zero_spread", "Nothing to learn from", change=False, goes_back=False),
        Kind("clipped", "Ratios clipped", change=True, goes_back=True),
        Kind("truncated", "Answers cut off", change=True, goes_back=True),
        Kind("length", "Answer length drifted", change=True, goes_back=True),
        Kind("sampler_gap", "Sampler and trainer disagree", change=False, goes_back=False),
        Kind("sampling_noise", "Answers drawn from noise", change=False, goes_back=False),
        Kind("grader_errors", "Grader fails", change=False, goes_back=False),
        Kind("below_start", "Validation below the start", change=False, goes_back=True),
        Kind("below_best", "Validation fell", change=False, goes_back=True),
        Kind("over_fitting", "Reward up, validation flat", change=True, goes_back=False),
    )
}


@dataclass(frozen=True, slots=True)
class Sighting:
    kind: str
    level: Level
    value: float
    threshold: float
    sentence: str

    @property
    def goes_back(self) -> bool:
        return KINDS[self.kind].goes_back


class Memory(msgspec.Struct):
    """What the guard remembers between steps; kept with each checkpoint, so that a resumed run decides alike."""

    entropies: list[float] = []  # of the first steps
    lengths: list[float] = []
    truncated: list[float] = []
    first_rewards: list[float] = []
    rewards: list[float] = []  # of the last steps
    norms: list[float] = []
    flat_groups: int = 0  # drawn in a row without spread, in steps that had none at all
    flat: list[float] = []  # share of groups without spread, of the last steps
    kls: list[float] = []  # at each measurement
    validations: list[float] = []
    rewards_measured: list[float] = []  # mean reward of the steps before each measurement
    probe_entropy: float | None = None  # before the first step
    change: Estimate | None = None  # of validation against the start, at the last measurement
    severe: dict[str, int] = {}  # steps in a row at twice the threshold
    sighted: dict[str, str] = {}  # kind → level, at the last step


@dataclass(frozen=True, slots=True)
class _Seen:
    """A value held against its threshold. `severe`: it stands at twice the threshold."""

    kind: str
    value: float
    threshold: float
    severe: bool
    sentence: str


def look(memory: Memory, metrics: StepMetrics, *, change_from_best: Estimate | None = None) -> list[Sighting]:
    """What there is to say about this step. Changes `memory`.

    `change_from_best` is the paired difference of this measurement to the best one so far (negative: worse).
    """
    seen = [found for check in _CHECKS if (found := check(memory, metrics)) is not None]
    sightings = [_sighting(memory, found) for found in seen]
    memory.severe = {found.kind: memory.severe.get(found.kind, 0) + 1 for found in seen if found.severe} | {
        kind: times for kind, times in memory.severe.items() if _only_measured(kind) and metrics.kl is None
    }
    sightings += fallen(memory, metrics, change_from_best)
    _remember(memory, metrics)
    measured = metrics.kl is not None or metrics.validation_reward is not None
    return _new(memory, sightings, measured=measured)


def asks_for_validation(sightings: Sequence[Sighting]) -> bool:
    """Whether the run should be measured before it stops: that no answer differs may be because all are wrong alike.

    A policy that has mastered a broken grader shows as little spread as one that has solved its tasks.
    """
    return any(found.level == "stop" and found.kind == "zero_spread" for found in sightings)


def improving(memory: Memory) -> bool:
    """Whether the run earns more than at its start: by validation where it is measured, else by its own rewards."""
    if memory.change is not None:
        return memory.change.mean > memory.change.standard_error
    if len(memory.rewards) < EARNING or len(memory.first_rewards) < EARNING:
        return False
    return fmean(memory.rewards[-EARNING:]) > fmean(memory.first_rewards)


def troubled(memory: Memory) -> bool:
    """Whether something stands at twice its threshold that a lower rate may help and that is not forgiven."""
    kinds = [KINDS[kind] for kind, times in memory.severe.items() if times]
    return any(kind.goes_back and not (kind.change and improving(memory)) for kind in kinds)


def _sighting(memory: Memory, found: _Seen) -> Sighting:
    running = memory.severe.get(found.kind, 0) + 1 if found.severe else 0
    forgiven = KINDS[found.kind].change and improving(memory)
    level: Level = "stop" if found.kind == "not_finite" or (running >= RUNNING and not forgiven) else "warn"
    return Sighting(found.kind, level, found.value, found.threshold, found.sentence)


def _new(memory: Memory, sightings: list[Sighting], *, measured: bool) -> list[Sighting]:
    """A warning that goes on from step to step is told once; a stop always."""
    told = [found for found in sightings if found.level == "stop" or found.kind not in memory.sighted]
    between = {kind: level for kind, level in memory.sighted.items() if _only_measured(kind) and not measured}
    memory.sighted = between | {found.kind: found.level for found in sightings}
    return told


def _only_measured(kind: str) -> bool:
    return kind in ("kl", "over_fitting")


def _remember(memory: Memory, metrics: StepMetrics) -> None:
    if metrics.step == 0:
        memory.probe_entropy = metrics.probe_entropy
    for values, value in (
        (memory.entropies, metrics.entropy),
        (memory.lengths, metrics.completion_tokens_mean),
        (memory.truncated, metrics.truncated_share),
    ):
        if value is not None and len(values) < FIRST:
            values.append(value)
    if metrics.reward_mean is not None:
        if len(memory.first_rewards) < EARNING:
            memory.first_rewards.append(metrics.reward_mean)
        memory.rewards = [*memory.rewards, metrics.reward_mean][-FIRST:]
    if metrics.groups_drawn is not None:
        none = metrics.groups_without_spread == metrics.groups_drawn
        memory.flat_groups = memory.flat_groups + metrics.groups_drawn if none else 0
    if metrics.zero_spread_share is not None:
        memory.flat = [*memory.flat, metrics.zero_spread_share][-ZERO_SPREAD_OVER:]
    if metrics.gradient_norm is not None:
        memory.norms = [*memory.norms, metrics.gradient_norm][-RECENT:]
    if metrics.kl is not None:
        memory.kls.append(metrics.kl.mean)


def fallen(memory: Memory, metrics: StepMetrics, change_from_best: Estimate | None) -> Iterator[Sighting]:
    """What validation says. One measurement is enough: it is a paired comparison with its standard error."""
    if metrics.validation_reward is None:
        return
    memory.validations.append(metrics.validation_reward.mean)
    memory.rewards_measured.append(fmean(memory.rewards) if memory.rewards else metrics.validation_reward.mean)
    memory.change = metrics.validation_change
    start = metrics.validation_change
    if start is not None and _below(start, BELOW_START_ERRORS):
        yield Sighting(
            "below_start",
            "stop",
            start.mean,
            -BELOW_START_ERRORS * start.standard_error,
            f"Validation is {-start.mean:.3f} below its start, more than {BELOW_START_ERRORS:.0f} standard errors.",
        )
    elif change_from_best is not None and _fell(change_from_best):
        yield Sighting(
            "below_best",
            "stop",
            change_from_best.mean,
            -BELOW_BEST_ERRORS * change_from_best.standard_error,
            f"Validation is {-change_from_best.mean:.3f} below its best, over {BELOW_BEST_ERRORS:.0f} standard errors.",
        )
    if _flat(memory):
        yield Sighting(
            "over_fitting",
            "warn",
            memory.validations[-1] - memory.validations[-1 - FLAT_MEASUREMENTS],
            0.0,
            f"Training reward has risen over {FLAT_MEASUREMENTS} measurements while validation has not: the run learns "
            "its own prompts.",
        )


def _fell(change_from_best: Estimate) -> bool:
    return change_from_best.mean < -BELOW_BEST_LEAST and _below(change_from_best, BELOW_BEST_ERRORS)


def _below(change: Estimate, errors: float) -> bool:
    return change.n > 1 and change.mean < 0 and change.mean < -errors * change.standard_error


def _flat(memory: Memory) -> bool:
    if len(memory.validations) <= FLAT_MEASUREMENTS:
        return False
    return (
        memory.validations[-1] <= memory.validations[-1 - FLAT_MEASUREMENTS]
        and memory.rewards_measured[-1] > memory.rewards_measured[-1 - FLAT_MEASUREMENTS]
    )


Check = Callable[[Memory, StepMetrics], _Seen | None]


def _not_finite(memory: Memory, metrics: StepMetrics) -> _Seen | None:
    """The alarm's value is 1, for one number that is not finite: JSON could not carry the number itself."""
    kl = metrics.kl.mean if metrics.kl else None
    for name, value in (("The loss", metrics.loss), ("The gradient norm", metrics.gradient_norm), ("The KL", kl)):
        if value is not None and not isfinite(value):
            sentence = f"{name} became {value} in step {metrics.step}: lower the learning rate."
            return _Seen("not_finite", 1.0, 0.0, True, sentence)
    return None


def _entropy(memory: Memory, metrics: StepMetrics) -> _Seen | None:
    if metrics.entropy is None or len(memory.entropies) < FIRST or not (usual := median(memory.entropies)):
        return None
    share = metrics.entropy / usual
    says = f"Entropy is {share:.0%} of what it was in the first {FIRST} steps"
    if share < ENTROPY_LOW:
        return _Seen(
            "entropy_low", share, ENTROPY_LOW, share < ENTROPY_LOW_SEVERE, f"{says}: the policy stops exploring."
        )
    if share > ENTROPY_HIGH:
        return _Seen(
            "entropy_high", share, ENTROPY_HIGH, share > ENTROPY_HIGH_SEVERE, f"{says}: the policy turns into noise."
        )
    return None


def _gradient_norm(memory: Memory, metrics: StepMetrics) -> _Seen | None:
    if metrics.gradient_norm is None or len(memory.norms) < RECENT or not (usual := median(memory.norms)):
        return None
    times = metrics.gradient_norm / usual
    if not times > GRADIENT_NORM:
        return None
    sentence = f"The gradient norm is {times:.1f} times its rolling median: the updates are unstable."
    return _Seen("gradient_norm", times, GRADIENT_NORM, times > GRADIENT_NORM_SEVERE, sentence)


def _kl(memory: Memory, metrics: StepMetrics) -> _Seen | None:
    """Growth since the last measurement against the median growth between earlier ones."""
    if metrics.kl is None or len(memory.kls) < 3:
        return None
    growths = [after - before for before, after in zip(memory.kls, memory.kls[1:], strict=False)]
    usual = max(median(growths), KL_FLOOR / KL)
    times = (metrics.kl.mean - memory.kls[-1]) / usual
    if times <= KL:
        return None
    sentence = f"KL to the start grew {times:.1f} times as much as it usually does between two measurements."
    return _Seen("kl", times, KL, times > KL_SEVERE, sentence)


def _zero_spread(memory: Memory, metrics: StepMetrics) -> _Seen | None:
    if metrics.zero_spread_share is None:
        return None
    nothing = metrics.zero_spread_share >= ZERO_SPREAD_SEVERE and _enough_groups(memory, metrics)
    last = [*memory.flat, metrics.zero_spread_share][-ZERO_SPREAD_OVER:]
    share = metrics.zero_spread_share if nothing else fmean(last)
    threshold = ZERO_SPREAD_AGAIN if "zero_spread" in memory.sighted else ZERO_SPREAD
    if not nothing and (share <= threshold or len(last) < ZERO_SPREAD_OVER):
        return None
    earned = f" and earns {metrics.reward_mean:.2f}" if metrics.reward_mean is not None else ""
    sentence = (
        f"In {share:.0%} of the groups every answer earns the same{earned}: the tasks are solved, out of reach, or the "
        "grader cannot tell answers apart."
    )
    return _Seen("zero_spread", share, ZERO_SPREAD, nothing, sentence)


def _enough_groups(memory: Memory, metrics: StepMetrics) -> bool:
    return metrics.groups_drawn is None or memory.flat_groups + metrics.groups_drawn >= ZERO_SPREAD_GROUPS


def _reward_lost(memory: Memory, metrics: StepMetrics) -> _Seen | None:
    """Against the first steps of the same data: validation may be easier than what is trained on."""
    start = fmean(memory.first_rewards) if memory.first_rewards else 0.0
    if metrics.reward_mean is None or start <= 0 or metrics.reward_mean >= REWARD_LOST * start:
        return None
    share = metrics.reward_mean / start
    sentence = (
        f"Answers earn {metrics.reward_mean:.3f}, {share:.0%} of the {start:.3f} at the start: the policy is broken."
    )
    return _Seen("reward_lost", share, REWARD_LOST, share < REWARD_LOST_SEVERE, sentence)


def _clipped(memory: Memory, metrics: StepMetrics) -> _Seen | None:
    share = metrics.clip_share
    if share is None or share <= CLIPPED:
        return None
    sentence = f"{share:.0%} of the tokens have a clipped ratio: the updates of one batch go too far."
    return _Seen("clipped", share, CLIPPED, share > CLIPPED_SEVERE, sentence)


def _truncated(memory: Memory, metrics: StepMetrics) -> _Seen | None:
    share = metrics.truncated_share
    if share is None or not memory.truncated:
        return None
    usual = median(memory.truncated)
    threshold = max(TRUNCATED, usual + TRUNCATED_RISE)
    if share <= threshold:
        return None
    sentence = f"{share:.0%} of the answers are cut off at the token limit, {usual:.0%} were at the start."
    return _Seen("truncated", share, threshold, share > max(TRUNCATED_SEVERE, usual + 2 * TRUNCATED_RISE), sentence)


def _length(memory: Memory, metrics: StepMetrics) -> _Seen | None:
    if metrics.completion_tokens_mean is None or len(memory.lengths) < FIRST or not (usual := median(memory.lengths)):
        return None
    times = metrics.completion_tokens_mean / usual
    if LENGTH_DOWN <= times <= LENGTH_UP:
        return None
    threshold = LENGTH_UP if times > 1 else LENGTH_DOWN
    severe = times > LENGTH_UP_SEVERE or times < LENGTH_DOWN_SEVERE
    sentence = f"Answers have {times:.1f} times the length that they had in the first {FIRST} steps."
    return _Seen("length", times, threshold, severe, sentence)


def _sampler_gap(memory: Memory, metrics: StepMetrics) -> _Seen | None:
    gap = metrics.sampler_gap
    if gap is None or gap <= SAMPLER_GAP:
        return None
    sentence = f"Sampler and trainer disagree by {gap:.3f} nats a token: answers are not drawn from what is trained."
    return _Seen("sampler_gap", gap, SAMPLER_GAP, gap > SAMPLER_GAP_SEVERE, sentence)


def _sampling_noise(memory: Memory, metrics: StepMetrics) -> _Seen | None:
    """In the first two steps, where the policy is still nearly what was measured before them."""
    if metrics.entropy is None or not memory.probe_entropy or len(memory.entropies) >= RUNNING:
        return None
    times = metrics.entropy / memory.probe_entropy
    if times <= SAMPLING_NOISE:
        return None
    sentence = (
        f"Answers are drawn with {times:.1f} times the entropy that the policy has at temperature 1: lower the "
        "temperature."
    )
    return _Seen("sampling_noise", times, SAMPLING_NOISE, times > SAMPLING_NOISE_SEVERE, sentence)


def _grader_errors(memory: Memory, metrics: StepMetrics) -> _Seen | None:
    share = metrics.grader_error_share
    if share is None or share <= GRADER_ERRORS:
        return None
    return _Seen("grader_errors", share, GRADER_ERRORS, False, f"{share:.1%} of the answers could not be graded.")


_CHECKS: tuple[Check, ...] = (
    _not_finite,
    _entropy,
    _gradient_norm,
    _kl,
    _sampling_noise,
    _reward_lost,
    _zero_spread,
    _clipped,
    _truncated,
    _length,
    _sampler_gap,
    _grader_errors,
)
