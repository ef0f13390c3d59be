"""Types of every file in an engine run directory. Both sides import this module; neither invents a field.

In    spec.json and, by kind: demonstrations.jsonl (base); train.jsonl, validation.jsonl, probe.jsonl (train);
      items.jsonl (sample, evaluate); known.jsonl (evaluate), which the engine need not read. control.json may appear at
      any time: the platform asks to pause or to cancel
Out   heartbeat.json (rewritten), metrics.jsonl, samples.jsonl (a few rollouts a step), rollouts/ (Parquet),
      validation/step-N.jsonl (every validation answer of a measurement, before its metrics),
      alarms.jsonl, report.json (checks for reward hacking), answers.jsonl (sample), scores.jsonl (evaluate),
      checkpoints/step-N/ and model/ each with manifest.json, result.json (last)

An artifact is published by write → fsync → manifest with sha-256 → atomic rename. The command is
`python -m trainer.engine DIR`. The engine holds an exclusive lock on DIR/lock for its life, and leaves when spec.json
carries another attempt than its own (fencing).
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from trainer.runspec import RunSpec


class ModelRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A causal LM: a directory (safetensors, tokenizer, chat template), or a hub id with a pinned revision."""

    path: str
    digest: str  # sha-256 of the artifact's manifest, "" for a hub id
    revision: str | None = None
    name: str = ""  # for people: "shared/v3"


class ChatMessage(msgspec.Struct, frozen=True):
    role: str
    content: str


class Demonstration(msgspec.Struct, frozen=True):
    """A line of demonstrations.jsonl: supervised material of which the local base is built."""

    messages: list[ChatMessage]
    completion: str
    domain: str = ""


class PromptItem(msgspec.Struct, frozen=True):
    """A line of train.jsonl, validation.jsonl, probe.jsonl, of a sample's items.jsonl: a task as the engine sees it.

    Order is training order.
    """

    key: str  # task id (uuid hex)
    messages: list[ChatMessage]
    item: dict[str, Any]
    grader: dict[str, Any]
    domain: str


class EvalItem(msgspec.Struct, frozen=True):
    """A line of items.jsonl: a sealed task within a suite."""

    key: str
    suite: str
    cluster: str  # near-duplicate family, "" : its own
    messages: list[ChatMessage]
    item: dict[str, Any]
    grader: dict[str, Any]
    domain: str


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How answers are drawn, the same for both sides of a comparison."""

    answers_per_item: int = 4  # K
    temperature: float = 1.0
    top_p: float = 1.0
    max_completion_tokens: int = 48
    seed: int = 0


def sampling_digest(*drawn: Sampling) -> str:
    """SHA-256 of the settings; of several looks' settings together, the first's alone where there was one."""
    each = [hashlib.sha256(msgspec.json.encode(sampling, order="sorted")).hexdigest() for sampling in drawn]
    return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()


class BaseSpec(msgspec.Struct, frozen=True, tag="base", tag_field="kind", forbid_unknown_fields=True):
    """Build the small local base model from demonstrations.jsonl. A fixed step count makes it reproducible."""

    seed: int = 0
    steps: int = 450
    batch_size: int = 64
    vocabulary: int = 320
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    attempt: int = 1


class TrainSpec(msgspec.Struct, frozen=True, tag="train", tag_field="kind", forbid_unknown_fields=True):
    run: str  # run id
    model: ModelRef  # where training starts; KL is measured to it
    recipe: RunSpec  # fully resolved, no "auto" left
    grader: dict[str, Any] | None = None  # replaces every row's grader
    attempt: int = 1
    second_grader: dict[str, Any] | None = None  # trains nothing: the report compares it with the first on a sample
    response_format: dict[str, Any] | None = None  # what answers are held to (trainer/constraint.py)
    faults_earn_nothing: bool = False  # a grader's own fault over an answer is reward 0, not an answer left out


class EvaluateSpec(msgspec.Struct, frozen=True, tag="evaluate", tag_field="kind", forbid_unknown_fields=True):
    evaluation: str
    sides: dict[str, ModelRef]  # "champion", "candidate" and, where it differs, "anchor"
    sampling: Sampling
    known: dict[str, list[str]] = {}  # side → suites whose answers lie in known.jsonl, from an evaluation before
    initial: ModelRef | None = None  # exact KL of the candidate to it, on probe.jsonl, where given
    attempt: int = 1


class SampleSpec(msgspec.Struct, frozen=True, tag="sample", tag_field="kind", forbid_unknown_fields=True):
    """Difficulty: one model answers every task of items.jsonl answers_per_item times."""

    check: str  # id of the difficulty check
    model: ModelRef
    sampling: Sampling
    attempt: int = 1


Spec = BaseSpec | SampleSpec | TrainSpec | EvaluateSpec


class Control(msgspec.Struct, frozen=True):
    action: Literal["pause", "cancel"]


class Heartbeat(msgspec.Struct, frozen=True):
    attempt: int
    pid: int
    at: float  # unix seconds
    phase: str  # loading | building | sampling | training | evaluating | saving | done
    step: int
    total_steps: int
    peak_memory_bytes: int


class Estimate(msgspec.Struct, frozen=True):
    """A mean with its standard error (0 where n = 1); `n` counts the independent units (sequences, prompts)."""

    mean: float
    standard_error: float
    n: int


class Grading(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the graders made of some answers."""

    answers: int
    parts: dict[str, float] = {}  # mean score of each part of a grader that has parts (sub_scores)
    errors: dict[str, int] = {}  # answers that carry a flag, by flag
    seconds: float = 0.0  # mean time of a grade
    tokens: dict[str, int] = {}  # of judges, by model and side


class StepMetrics(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of metrics.jsonl. A resumed run may repeat a step: the last line of a step counts."""

    step: int
    total_steps: int
    at: float
    attempt: int = 1
    reward_mean: float | None = None
    reward_by_domain: dict[str, float] = {}
    loss: float | None = None
    entropy: float | None = None  # nats a token
    gradient_norm: float | None = None
    clip_share: float | None = None  # share of tokens whose ratio was clipped
    zero_spread_share: float | None = None  # share of groups whose rewards are all equal
    truncated_share: float | None = None
    completion_tokens_mean: float | None = None
    learning_rate: float | None = None
    tokens_seen: int | None = None
    grader_error_share: float | None = None
    kl: Estimate | None = None  # exact KL(policy ‖ initial policy), nats a sequence, on the probe set
    validation_reward: Estimate | None = None
    seconds_step: float | None = None
    seconds_sampling: float | None = None
    reward_by_grader: dict[str, float] = {}  # by the grader's type
    validation_change: Estimate | None = None  # paired difference to step 0, prompt by prompt; positive: better
    validation_by_domain: dict[str, float] = {}
    probe_entropy: float | None = None  # nats a token, on the probe set at temperature 1
    sampler_gap: float | None = None  # mean |log p of the sampler − log p of the trainer| a token, nats
    groups_drawn: int | None = None
    groups_without_spread: int | None = None  # of those drawn
    groups_learned: int | None = None  # of those drawn: what the update was made of
    prompts_passed_over: int | None = None  # resting, or of a domain without spread
    prompts_resting: int | None = None
    tokens_per_second: float | None = None  # drawn and learned, over the step's wall time
    seconds_grading: float | None = None
    seconds_measuring: float | None = None  # probe and validation
    grading: Grading | None = None  # of the step's answers
    validation_grading: Grading | None = None


class Rollout(msgspec.Struct, frozen=True):
    """A line of samples.jsonl: one completion with its reward, for the run page."""

    step: int
    key: str
    domain: str
    prompt: str
    completion: str
    reward: float | None  # None: could not be graded
    advantage: float
    reason: str
    tokens: int = 0
    truncated: bool = False
    learned: bool = True  # False: its group showed no spread, so that no update was made of it


class Alarm(msgspec.Struct, frozen=True):
    """A line of alarms.jsonl: what the guard saw and what the run did about it.

    A run that goes back to an earlier step writes the steps after it again; `at` tells the lines apart.
    """

    step: int
    at: float  # unix seconds
    kind: str  # trainer.alarms.KINDS
    level: Literal["warn", "stop"]
    value: float  # what was seen, in the unit of the kind
    threshold: float  # what it was held against
    action: Literal["none", "rolled_back", "stopped"]
    sentence: str
    attempt: int = 1


class CheckExample(msgspec.Struct, frozen=True):
    """A row on which a check failed, or nearly."""

    key: str
    prompt: str  # excerpts
    completion: str
    score: float | None  # None: it was not graded
    reason: str  # in the grader's words


class HackingCheck(msgspec.Struct, frozen=True):
    """One way to earn reward without solving a task, and whether it is open."""

    name: str  # trainer.hacking.TITLES
    title: str
    value: float | None  # what was measured
    limit: float
    holds: bool | None  # None: there was nothing to measure; the sentence says why
    sentence: str  # with what to do
    unit: str = "score"  # score | share | times
    least: float | None = None  # the value may not be below it either
    n: int = 0  # answers that were measured
    examples: list[CheckExample] = []  # worst first


class Report(msgspec.Struct, frozen=True):
    """report.json, written once the weights are: could the reward be hacked? A warning is no failure of the run."""

    checks: list[HackingCheck]
    step: int  # whose weights answered
    rows: int  # that were sampled of training and validation
    attempt: int = 1
    fault: str = ""  # why there are no checks, where the inspection itself broke


class Score(msgspec.Struct, frozen=True):
    """A line of scores.jsonl."""

    suite: str
    key: str
    cluster: str
    side: str
    sample: int  # 0 .. K-1
    outcome: str  # correct | incorrect | ungradable
    score: float
    tokens: int
    truncated: bool
    completion: str
    reason: str


class ValidationAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of validation/step-N.jsonl: one answer to a validation prompt, as it was graded."""

    key: str
    sample: int  # 0 .. answers - 1
    completion: str
    tokens: int
    truncated: bool
    outcome: str
    score: float
    reason: str
    read: str | None = None
    sub_scores: dict[str, float] = {}
    errors: list[str] = []
    usage: dict[str, int] = {}


def validation_file(directory: Path, step: int) -> Path:
    return directory / "validation" / f"step-{step}.jsonl"


class TaskAnswers(msgspec.Struct, frozen=True):
    """A line of answers.jsonl: what the model made of one task."""

    key: str
    scores: list[float | None]  # one an answer, as the grader scored it; None: it could not be graded
    passes: int  # answers that the grader calls correct
    tokens: int  # of all answers
    truncated: int = 0  # answers that had not ended at the token limit
    wrong: str = ""  # of the answers that are not correct the most frequent one, as the grader read it
    wrong_count: int = 0
    fault: str = ""  # why an answer could not be graded


class Artifact(msgspec.Struct, frozen=True):
    path: str  # relative to the artifact's directory
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """manifest.json of a published directory. Its digest is the sha-256 of the canonical JSON of `files`."""

    files: list[Artifact]
    digest: str
    step: int = 0


def manifest_digest(files: Iterable[Artifact]) -> str:
    """The digest of a manifest, and so the name of a model artifact's directory: sha-256 hex over its files by path."""
    ordered = sorted(files, key=lambda file: file.path)
    return hashlib.sha256(msgspec.json.encode(ordered, order="sorted")).hexdigest()


class EngineFault(msgspec.Struct, frozen=True):
    boundary: str  # spec | data | model | sampling | grading | training | checkpoint | engine
    code: str
    sentence: str


class Ending(msgspec.Struct, frozen=True):
    """Why a run stands where it stands."""

    code: str  # completed | early_stopping | alarm | budget_steps | budget_minutes | budget_tokens
    sentence: str


class Result(msgspec.Struct, frozen=True):
    """result.json, written last. `status` paused: a usable snapshot was kept, the run can go on.

    handed_back: the engine was told to leave (SIGTERM) and kept what it had; the next attempt goes on from there.
    """

    status: Literal["succeeded", "failed", "paused", "cancelled", "handed_back"]
    attempt: int
    step: int = 0
    model: Manifest | None = None  # of DIR/model, for base and train
    kl: Estimate | None = None
    peak_memory_bytes: int = 0
    seconds: dict[str, float] = {}  # by phase
    tokens: int = 0
    error: EngineFault | None = None
    ending: Ending | None = None  # of a run that succeeded, or that a budget paused
    kept_step: int | None = None  # whose weights were published: the best by validation, else the last healthy one
    learning_rate: float | None = None  # at the end: half of the recipe's for each rollback
    environment: dict[str, str] = {}  # versions, processor, threads: what the bits depend on besides the inputs


def encode(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value)


def decode_spec(raw: bytes) -> Spec:
    """Raises msgspec.ValidationError with the path of the first wrong field."""
    spec: Spec = msgspec.json.decode(raw, type=Spec)
    return spec
