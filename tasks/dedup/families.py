"""What a row is to the older tasks that share bands with it: a copy of one, suspiciously like one, or neither.

Three things are told apart. A *link* says that two texts were compared and found alike: it goes from the row to the
oldest task that it was compared with and that has the same answer. No link follows from two others, for small
differences add up along a chain. A *family* is what splits and clusters of an evaluation go by: the row joins the
family of the task that it is linked to, so that no near-copy of a training task is ever held out. A *suspect* joins
nothing: near text with another answer is often another question (the largest, the smallest), and a person decides.

Which grader compares the answer makes no difference: who has seen one has seen the other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz
from rapidfuzz.distance import Indel

from tasks.dedup.bands import SHORTLIST
from tasks.text import whole_words

SIMILAR = 85.0  # percent, rapidfuzz's ratio: 100 * (1 - insertions and deletions / length of both)
COMPARED_CHARACTERS = 10_000  # comparing is quadratic: 1.5 ms for two texts of this length
EVIDENCE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """An older task that shares bands with a row."""

    task: int
    shared: int  # bands


@dataclass(frozen=True, slots=True)
class Near:
    """What is compared of a task, or of a row that becomes one."""

    id: int  # the order of ids is the order of coming
    folded: str
    number_signature: str
    answer_digest: str
    family: int | None = None  # the oldest of its family, where it is in one
    live: bool = True  # whether a copy may be credited to it: not withdrawn, not rejected


@dataclass(frozen=True, slots=True)
class Family:
    """A near-copy with the same answer."""

    task: int  # the link: the oldest task compared that is alike
    family: int  # the family joined: that task's, or that task
    similarity: float  # percent
    shared: str  # the evidence


@dataclass(frozen=True, slots=True)
class Suspect:
    """A near-copy with another answer."""

    task: int  # the most similar one
    similarity: float
    shared: str


def shortlist(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those worth fetching: most bands shared first, of equals the oldest. `bands.older` answers in this order."""
    return sorted(candidates, key=lambda candidate: (-candidate.shared, candidate.task))[:SHORTLIST]


def decide(row: Near, candidates: Sequence[Near]) -> Family | Suspect | None:
    """Compare a row with the shortlisted tasks, in their order; those beyond the shortlist are not looked at."""
    older = [near for near in candidates[:SHORTLIST] if near.live and near.number_signature == row.number_signature]
    for near in sorted(older, key=lambda near: near.id):
        if near.answer_digest == row.answer_digest and (similarity := similar(row.folded, near.folded)):
            family = near.id if near.family is None else near.family
            return Family(near.id, family, similarity, shared_text(row.folded, near.folded))
    others = [near for near in older if near.answer_digest != row.answer_digest]
    compared = [(similar(row.folded, near.folded), -near.id, near) for near in others]
    similarity, _, most = max(compared, default=(0.0, 0, row), key=lambda found: found[:2])
    return Suspect(most.id, similarity, shared_text(row.folded, most.folded)) if similarity else None


def similar(one: str, other: str) -> float:
    """In percent, at least SIMILAR, or 0. The same for both orders.

    Of texts that are too long to compare, the first and the last 5,000 characters are, and their lengths must be alike.
    Only the same text is similar to 100.
    """
    length = len(one) + len(other)
    most = 100.0 if one == other else 100.0 - 100.0 / length
    if max(len(one), len(other)) > COMPARED_CHARACTERS:
        if 200 * min(len(one), len(other)) < SIMILAR * length:  # no ratio could reach it
            return 0.0
        one, other = _ends(one), _ends(other)
    return min(most, fuzz.ratio(one, other, score_cutoff=SIMILAR))


def _ends(text: str) -> str:
    half = COMPARED_CHARACTERS // 2
    return text if len(text) <= COMPARED_CHARACTERS else text[:half] + text[-half:]


def shared_text(one: str, other: str) -> str:
    """The longest piece that an alignment of both keeps, or its first 200 characters, in whole words."""
    kept = (
        block for block in Indel.opcodes(one[:COMPARED_CHARACTERS], other[:COMPARED_CHARACTERS]) if block.tag == "equal"
    )
    longest = max(kept, key=lambda block: block.src_end - block.src_start, default=None)
    return "" if longest is None else whole_words(one, longest.src_start, longest.src_end, most=EVIDENCE_CHARACTERS)
