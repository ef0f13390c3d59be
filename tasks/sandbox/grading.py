"""A user's python grader over many calls: micro-batches in fresh confined processes, on all workers at once.

What a batch loses when one of its calls hangs or dies is graded again without that call. One or two calls in a hundred
are graded a second time, in another process and another order: a grader that then says something else keeps state
or throws dice, and none of its scores can be relied on.

A grader that answers nothing any more is given up: after three calls in a row that took their whole time for nothing,
the rest of the batch has failed without being asked. At two minutes a call, a batch would take days otherwise.
"""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from tasks.sandbox.pool import Pool
from tasks.sandbox.protocol import Limits, Lost, clean, encode

MICRO_BATCH = 32
START_SECONDS = 10.0  # to begin a process and load the source, on a busy machine, on top of the first call's time
_TRIES = 3
_GIVEN_UP_AFTER = 3  # calls in a row without an answer
_AGAIN_ONE_IN = 64
_AGAIN_AT_LEAST_FROM = 128  # so many calls and none drawn: one is graded again all the same


@dataclass(frozen=True, slots=True)
class Returned:
    score: float  # finite, in [0, 1]
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """kind: source (nothing can be graded with it), raised, bad_value, order_dependent, too_deep (the call cannot be
    written as JSON), or what ended its process: timeout, died, memory, malformed, too_large."""

    kind: str
    detail: str
    seconds: float = 0.0


Result = Returned | Failed
Call = Mapping[str, Any]  # {"sample": …, "item": …}


def grade_batch(
    source: str,
    calls: Sequence[Call],
    *,
    seconds_per_call: float,
    pool: Pool,
    limits: Limits | None = None,
    per_session: int = MICRO_BATCH,
) -> list[Result]:
    """One result per call, in order. Raises Unavailable where no process can be started."""
    work = _Work(source, calls, seconds_per_call, pool, limits or Limits(), _Patience())
    results: list[Result] = [Failed("too_deep", "It nests too deep, or holds too long a number.")] * len(calls)
    keys = {place: key for place, call in enumerate(calls) if (key := _key(source, call)) is not None}
    places = list(keys)
    _spread(work, [places[at : at + per_session] for at in range(0, len(places), per_session)], results)
    again = _drawn(keys)
    if again and not work.patience.over:
        second: list[Result] = list(results)
        _spread(work, [again[at : at + per_session] for at in range(0, len(again), per_session)], second)
        different = next((place for place in again if _differ(results[place], second[place])), None)
        if different is not None:
            return [_unreliable(result, results[different], second[different]) for result in results]
    return results


class _Patience:
    """Of all threads of a batch, with calls that take their whole time and answer nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_vain = 0
        self.over = False

    def answered(self) -> None:
        with self._lock:
            self._in_vain = 0

    def lost(self, seconds: float, whole: float) -> None:
        """A process that died at once is no matter: only time is short."""
        with self._lock:
            if seconds >= whole / 2:
                self._in_vain += 1
                self.over = self.over or self._in_vain >= _GIVEN_UP_AFTER


@dataclass(frozen=True, slots=True)
class _Work:
    source: str
    calls: Sequence[Call]
    seconds_per_call: float
    pool: Pool
    limits: Limits
    patience: _Patience

    def grade(self, places: Sequence[int], results: list[Result]) -> None:
        """Fill in the results of these calls; each turn of the loop is one process."""
        left = list(places)
        tries = 1
        while left:
            if self.patience.over:
                for place in left:
                    results[place] = Failed("timeout", _UNASKED)
                return
            done = self._in_one_session(left, results, last=tries >= _TRIES)
            tries = 1 if done else tries + 1
            del left[:done]

    def _in_one_session(self, places: Sequence[int], results: list[Result], *, last: bool) -> int:
        """How many of them are done: all, or up to the one that ended the process.

        A worker that is lost is no call's fault: what was not done is tried again, unless this is the last try.
        """
        job = {"source": self.source, "calls": [self.calls[place] for place in places]}
        patience = START_SECONDS + self.seconds_per_call
        limits = replace(self.limits, seconds=START_SECONDS + self.seconds_per_call * len(places))
        with self.pool.session("grade", job, limits) as session:
            for count, place in enumerate(places):
                began = perf_counter()
                try:
                    result = _read(session.receive(patience), perf_counter() - began)
                except Lost as lost:
                    if lost.ours and not last:
                        return count
                    took = perf_counter() - began
                    results[place] = Failed(lost.kind, clean(lost.detail), took)
                    self.patience.lost(took, self.seconds_per_call)
                    return count + 1
                results[place] = result
                self.patience.answered()
                if isinstance(result, Failed) and result.kind == "source":
                    for other in places:
                        results[other] = result
                    return len(places)
                patience = self.seconds_per_call
        return len(places)


_UNASKED = f"It was not asked: {_GIVEN_UP_AFTER} calls in a row had taken their whole time and come to nothing."


def _spread(work: _Work, batches: Sequence[Sequence[int]], results: list[Result]) -> None:
    if len(batches) < 2 or work.pool.size < 2:
        for batch in batches:
            work.grade(batch, results)
        return
    with ThreadPoolExecutor(min(work.pool.size, len(batches))) as threads:
        for done in [threads.submit(work.grade, batch, results) for batch in batches]:
            done.result()


def _read(frame: Mapping[str, Any], seconds: float) -> Result:
    """A frame is the grader's word: it is believed only where it has the right form."""
    score, kind = frame.get("ok"), frame.get("error")
    if isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1:
        return Returned(abs(float(score)), seconds)  # -0.0 is 0
    if kind in ("source", "raised", "bad_value", "memory"):
        return Failed(kind, clean(str(frame.get("detail", ""))), seconds)
    return Failed("malformed", "The grader's process sent what is no answer.", seconds)


def _key(source: str, call: Call) -> bytes | None:
    try:
        return hashlib.blake2b(source.encode(errors="surrogatepass") + encode(call), digest_size=8).digest()
    except (RecursionError, ValueError):
        return None


def _drawn(keys: Mapping[int, bytes]) -> list[int]:
    """The calls to grade again, last first. Drawn by what they are, so that the same upload is checked the same way."""
    drawn = [place for place, key in keys.items() if key[0] % _AGAIN_ONE_IN == 0]
    if not drawn and len(keys) >= _AGAIN_AT_LEAST_FROM:
        drawn = [min(keys, key=lambda place: keys[place])]
    return drawn[::-1]


def _differ(first: Result, second: Result) -> bool:
    """Whether both are the grader's own words, and not the same. A process lost once may be the machine's doing."""
    said = {"raised", "bad_value"}
    one = first.score if isinstance(first, Returned) else first.kind if first.kind in said else None
    other = second.score if isinstance(second, Returned) else second.kind if second.kind in said else None
    return one is not None and other is not None and one != other


def _unreliable(result: Result, first: Result, second: Result) -> Result:
    says = f"first {_worded(first)}, then {_worded(second)}"
    detail = f"The same call in another order had another result ({says}): the grader keeps state or uses chance."
    return Failed("order_dependent", detail, result.seconds)


def _worded(result: Result) -> str:
    return f"{result.score:.6g}" if isinstance(result, Returned) else result.kind
