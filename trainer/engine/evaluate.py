"""Champion and candidate, side by side: the same sealed items, the same graders, the same seeds.

An answer that cannot be graded is an error. Once more of them are errors than any gate allows, the evaluation stops
with the reason: a grader that always times out would take hours to say nothing.

scores.jsonl grows chunk by chunk in a fixed order. After a kill its whole chunks are kept, a torn tail is cut off, and
work goes on from there: nothing is answered twice and no line is doubled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.types import Outcome
from trainer import rewards
from trainer.contract import Estimate, EvalItem, EvaluateSpec, ModelRef, PromptItem, Sampling, Score
from trainer.engine import answering, loading, probes, rows, sampling
from trainer.engine.answering import Chunk
from trainer.engine.faults import Fault, Stopped
from trainer.engine.progress import Progress


@dataclass(frozen=True, slots=True)
class Evaluated:
    answers: int
    tokens: int
    kl: Estimate | None


def evaluate(spec: EvaluateSpec, directory: Path, progress: Progress) -> Evaluated:
    items = rows.read(directory / "items.jsonl", EvalItem)
    asked = {side: [item for item in items if item.suite not in spec.known.get(side, ())] for side in spec.sides}
    total = sum(map(len, asked.values())) * spec.sampling.answers_per_item
    scores = _Scores(directory / "scores.jsonl", progress, total)
    progress.enter("evaluating", total_steps=total)
    for side, reference in spec.sides.items():
        if asked[side]:
            _answer_side(side, reference, asked[side], spec.sampling, scores, progress)
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
    answering.require_room(model, tokenizer, items, drawn_as)
    for chunk in chunks(items, drawn_as, answering.answers_at_once(model)):
        if progress.stop:
            raise Stopped
        expected = [(side, item.suite, item.key, k) for item in chunk.items for k in range(drawn_as.answers_per_item)]
        if not scores.has(expected):
            scores.add(_scored(side, chunk, model, tokenizer, drawn_as))
        progress.step = scores.written


def chunks(items: Sequence[EvalItem], drawn_as: Sampling, answers_at_once: int) -> list[Chunk[EvalItem]]:
    """Suite by suite, so that the answers to one hang on model, items and settings alone: they may be known later."""
    by_suite = groupby(sorted(items, key=lambda item: item.suite), key=lambda item: item.suite)
    return [chunk for _, some in by_suite for chunk in answering.chunks(list(some), drawn_as, answers_at_once)]


def _scored(
    side: str,
    chunk: Chunk[EvalItem],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    drawn_as: Sampling,
) -> list[Score]:
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
        for item, k, answer, grade in answering.answered(chunk, model, tokenizer, drawn_as)
    ]


class _Scores:
    """scores.jsonl with what it counts: lines, tokens, errors."""

    def __init__(self, path: Path, progress: Progress, expected: int) -> None:
        path.touch()  # also where every answer is known already
        self._file = answering.ChunkFile(path, Score, progress)
        self._expected = expected
        self.written = 0
        self.tokens = 0
        self.errors = 0

    def has(self, expected: list[tuple[str, str, str, int]]) -> bool:
        """Whether the last attempt has left exactly this chunk next."""
        kept = self._file.kept(expected, lambda line: (line.side, line.suite, line.key, line.sample))
        if kept is None:
            return False
        self._count(kept)
        return True

    def add(self, lines: Sequence[Score]) -> None:
        self._file.add(lines, then=self._count)

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
