"""Champion and candidate, side by side: the same sealed items, the same graders, the same seeds, in one process.

An answer that cannot be graded is an error. Once more of them are errors than any gate allows, the evaluation stops
with the reason: a grader that always times out would take hours to say nothing.

scores.jsonl grows chunk by chunk in a fixed order. After a kill its whole chunks are kept, a torn tail is cut off, and
work goes on from there: nothing is answered twice and no line is doubled.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.crash import crash_point
from tasks.types import Outcome
from trainer import rewards
from trainer.contract import Estimate, EvalItem, EvaluateSpec, ModelRef, PromptItem, Sampling, Score, encode
from trainer.engine import loading, probes, rows, sampling
from trainer.engine.faults import Fault, Stopped
from trainer.engine.progress import Progress

ANSWERS_AT_ONCE = 512  # rows of one generate call for models up to SMALL parameters
SMALL = 50_000_000
ANSWERS_AT_ONCE_LARGE = 64


@dataclass(frozen=True, slots=True)
class Evaluated:
    answers: int
    tokens: int
    kl: Estimate | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items answered in one pass. `seed` belongs to the items, not to the side: both sides meet the same noise."""

    items: Sequence[EvalItem]
    seed: int


def evaluate(spec: EvaluateSpec, directory: Path, progress: Progress) -> Evaluated:
    items = rows.read(directory / "items.jsonl", EvalItem)
    total = len(items) * spec.sampling.answers_per_item * len(spec.sides)
    scores = _Scores(directory / "scores.jsonl", progress, total)
    progress.enter("evaluating", total_steps=total)
    for side, reference in spec.sides.items():
        _answer_side(side, reference, items, spec.sampling, scores, progress)
    return Evaluated(scores.written, scores.tokens, _kl(spec, directory, progress))


def _answer_side(
    side: str,
    reference: ModelRef,
    items: Sequence[EvalItem],
    drawn_as: Sampling,
    scores: "_Scores",
    progress: Progress,
) -> None:
    model, tokenizer = loading.load(reference)
    sampling.require_room(model, _encoded(tokenizer, items), drawn_as.max_completion_tokens)
    for chunk in chunks(items, drawn_as, _answers_at_once(model)):
        if progress.stop:
            raise Stopped
        expected = [(side, item.suite, item.key, k) for item in chunk.items for k in range(drawn_as.answers_per_item)]
        if not scores.has(expected):
            scores.add(_scored(side, chunk, model, tokenizer, drawn_as))
        progress.step = scores.written


def chunks(items: Sequence[EvalItem], drawn_as: Sampling, answers_at_once: int) -> list[Chunk]:
    """The items suite by suite and by length of prompt, so that a pass pads little; the same on every attempt."""
    ordered = sorted(items, key=lambda item: (item.suite, sum(len(m.content) for m in item.messages), item.key))
    size = max(1, answers_at_once // drawn_as.answers_per_item)
    return [Chunk(ordered[at : at + size], _seed(drawn_as.seed, at)) for at in range(0, len(ordered), size)]


def _seed(seed: int, at: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{at}".encode()).digest()[:4], "big")


def _scored(
    side: str, chunk: Chunk, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, drawn_as: Sampling
) -> list[Score]:
    answers = sampling.draw(
        model, tokenizer, _encoded(tokenizer, chunk.items), msgspec.structs.replace(drawn_as, seed=chunk.seed)
    )
    given = [
        (item, k, answer)
        for item, several in zip(chunk.items, answers, strict=True)
        for k, answer in enumerate(several)
    ]
    grades = rewards.grade_rollouts(
        [answer.text for _, _, answer in given],
        [item.item for item, _, _ in given],
        [item.grader for item, _, _ in given],
    )
    return [
        Score(
            suite=item.suite,
            key=item.key,
            cluster=item.cluster,
            side=side,
            sample=k,
            outcome=grade.outcome.value,
            score=grade.score,
            tokens=len(answer.tokens),
            truncated=answer.truncated,
            completion=answer.text,
            reason=grade.reason if rewards.reward(grade) is not None else rewards.fault(item.grader, grade),
        )
        for (item, k, answer), grade in zip(given, grades, strict=True)
    ]


def _encoded(tokenizer: PreTrainedTokenizerBase, items: Sequence[EvalItem]) -> list[list[int]]:
    return sampling.encode(tokenizer, [item.messages for item in items])


def _answers_at_once(model: PreTrainedModel) -> int:
    return ANSWERS_AT_ONCE if loading.parameters(model) <= SMALL else ANSWERS_AT_ONCE_LARGE


class _Scores:
    """scores.jsonl, opened where the last attempt left it."""

    def __init__(self, path: Path, progress: Progress, expected: int) -> None:
        self._path, self._progress, self._expected = path, progress, expected
        self._kept: list[Score] | None = _whole_lines(path)  # None: past what the last attempt left
        self._at = 0  # of the kept lines, how many this attempt has walked past
        self.written = 0
        self.tokens = 0
        self.errors = 0

    def has(self, expected: list[tuple[str, str, str, int]]) -> bool:
        """Whether the next kept lines are exactly this chunk; at the first that is not, the rest of the file is cut."""
        if self._kept is None:
            return False
        found = self._kept[self._at : self._at + len(expected)]
        if [(line.side, line.suite, line.key, line.sample) for line in found] != expected:
            self._cut(self._kept[: self._at])
            return False
        self._at += len(expected)
        self._count(found)
        return True

    def add(self, lines: Sequence[Score]) -> None:
        self._progress.require_own_attempt()
        with self._path.open("ab") as file:
            file.write(b"".join(encode(line) + b"\n" for line in lines))
        self._count(lines)
        crash_point("scores.after_chunk")

    def _cut(self, whole: Sequence[Score]) -> None:
        self._kept = None
        self._progress.require_own_attempt()
        partial = self._path.with_name("scores.jsonl.partial")
        partial.write_bytes(b"".join(encode(line) + b"\n" for line in whole))
        partial.replace(self._path)

    def _count(self, lines: Sequence[Score]) -> None:
        self.written += len(lines)
        self.tokens += sum(line.tokens for line in lines)
        failed = [line for line in lines if line.outcome == Outcome.UNGRADABLE]
        self.errors += len(failed)
        if failed and self.errors > max(rewards.FORGIVEN_ERRORS, rewards.EVALUATION_ERROR_BUDGET * self._expected):
            raise Fault(
                "grading",
                "too_many_grading_errors",
                f"{self.errors} of {self._expected} answers could not be graded, over "
                f"{rewards.EVALUATION_ERROR_BUDGET:.0%}: repair the grader or its references. The last: "
                f"{failed[-1].reason}",
            )


def _whole_lines(path: Path) -> list[Score]:
    """The lines before the first that is torn or unreadable."""
    found: list[Score] = []
    if path.is_file():
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                found.append(msgspec.json.decode(line, type=Score))
            except msgspec.DecodeError:
                break
    return found


def _kl(spec: EvaluateSpec, directory: Path, progress: Progress) -> Estimate | None:
    """Exact KL(candidate ‖ initial) on probe.jsonl, where the spec names the initial policy."""
    if spec.initial is None:
        return None
    if "candidate" not in spec.sides:
        raise Fault("spec", "candidate_missing", "`initial` asks for the candidate's KL, but `sides` has no candidate.")
    progress.enter("sampling")
    probe = rows.read(directory / "probe.jsonl", PromptItem)
    candidate, tokenizer = loading.load(spec.sides["candidate"])
    initial, _ = loading.load(spec.initial)
    prompts = sampling.encode(tokenizer, [item.messages for item in probe])
    sampling.require_room(candidate, prompts, spec.sampling.max_completion_tokens)
    return probes.measure(candidate, probes.logits_of(initial), tokenizer, prompts, spec.sampling).kl
