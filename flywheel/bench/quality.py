"""What the importer said of planted rows, held against what is true of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flywheel.bench.questions import DIGITS, Question
from flywheel.bench.rows import Corpus, Kind, Truth, jaccard
from flywheel.bench.table import Measure, at_least, at_most, told

ALIKE = 0.7  # Jaccard from which two rows with the same numbers are near-duplicates, planted or not


@dataclass(slots=True)
class Seen:
    """What was said of one row. Positions count through elders and own rows, as in Truth."""

    duplicate: bool = False
    conflict: bool = False
    near: set[int] = field(default_factory=set)  # called a near-duplicate of these
    suspect: set[int] = field(default_factory=set)  # nearly the same prompt, another answer
    contaminated: bool = False  # refused
    review: bool = False  # overlaps with a held-out item, for a person to look at

    @property
    def alike(self) -> set[int]:
        return self.near | self.suspect


@dataclass(frozen=True, slots=True)
class Case:
    truth: Truth
    question: Question
    seen: Seen


def cases(corpus: Corpus, seen: Mapping[int, Seen]) -> list[Case]:
    """Every row with what was said of it; rows that nothing was said of are missing in `seen`."""
    return [Case(truth, question, seen.get(truth.row, Seen())) for question, truth in corpus.rows()]


def measures(corpus: Corpus, found: Sequence[Case]) -> list[Measure]:
    return [
        *_recall(found),
        *_precision(corpus, found),
        *_copies(found),
        *_contamination(found),
    ]


def _recall(found: Sequence[Case]) -> list[Measure]:
    edited = [case for case in found if case.truth.kind is Kind.EDITED]
    measured = []
    for floor, target in ((0.7, 0.99), (0.8, 0.995)):
        near = [case for case in edited if (case.truth.jaccard or 0) >= floor]
        name = f"near-duplicates, recall at Jaccard ≥ {floor} ({len(near):,} rows)"
        measured.append(at_least(name, _share(near, lambda case: bool(case.seen.alike)), "share", target))
    right = [case for case in edited if case.seen.alike]
    rightly = _share(right, lambda case: bool(case.seen.near if case.truth.same_answer else case.seen.suspect))
    return [*measured, told("of those found, told apart rightly by their answers", rightly, "share")]


def _precision(corpus: Corpus, found: Sequence[Case]) -> list[Measure]:
    pairs = [(case, position) for case in found for position in case.seen.near]
    right = sum(_is_near(corpus, case, position) for case, position in pairs)
    changed = [case for case in found if case.truth.kind is Kind.NUMBERS]
    turned = [case for case in found if case.truth.kind in (Kind.TURNED, Kind.EXTREME)]
    other_question = f"numbers in another order, smallest for largest ({len(turned):,} rows)"
    return [
        at_least(
            f"near-duplicates, precision ({len(pairs):,} pairs)", right / len(pairs) if pairs else 1.0, "share", 0.999
        ),
        at_most(
            f"number-changed rows called near-duplicate or suspect ({len(changed):,} rows)",
            sum(bool(case.seen.alike) for case in changed),
            "rows",
            0,
        ),
        at_most(f"{other_question}: called near-duplicate", sum(bool(case.seen.near) for case in turned), "rows", 0),
        told(f"{other_question}: suspect", _share(turned, lambda case: bool(case.seen.suspect)), "share"),
    ]


def _is_near(corpus: Corpus, case: Case, position: int) -> bool:
    """The same numbers in the same order, the same answer, and made of one row, or as alike as if they were."""
    other = corpus.at(position)
    if DIGITS.findall(other.prompt) != DIGITS.findall(case.question.prompt):
        return False
    if other.reference != case.question.reference:
        return False
    origins = {_origin(corpus, position), _origin(corpus, corpus.before + case.truth.row)}
    return len(origins) == 1 or jaccard(case.question, other) >= ALIKE


def _origin(corpus: Corpus, position: int) -> int:
    """Of which row this one was made; itself where it was made of none."""
    if position < corpus.before:
        return position
    original = corpus.row(position - corpus.before)[1].original
    return position if original is None else original


def _copies(found: Sequence[Case]) -> list[Measure]:
    def found_of(name: str, kinds: Iterable[Kind], was: Callable[[Case], bool]) -> Measure:
        planted = [case for case in found if case.truth.kind in kinds]
        return at_least(f"{name} ({len(planted):,} rows)", _share(planted, was), "share", 1.0)

    return [
        found_of("exact copies found", [Kind.EXACT], lambda case: case.seen.duplicate),
        found_of("copies in other case, blanks and signs found", [Kind.DRESSED], lambda case: case.seen.duplicate),
        found_of("wrapped copies found", [Kind.WRAPPED], lambda case: bool(case.seen.near) or case.seen.duplicate),
        found_of("conflicts found", [Kind.CONFLICT], lambda case: case.seen.conflict or case.seen.duplicate),
    ]


def _contamination(found: Sequence[Case]) -> list[Measure]:
    contained = [case for case in found if case.truth.kind in (Kind.HELD_OUT, Kind.CONTAINED)]
    reworded = [case for case in found if case.truth.kind is Kind.REWORDED]
    clean = [case for case in found if case.truth.kind is Kind.CLEAN]
    flagged = _share(clean, lambda case: case.seen.contaminated or case.seen.review)
    return [
        at_least(
            f"contained held-out items refused ({len(contained):,} rows)",
            _share(contained, lambda case: case.seen.contaminated),
            "share",
            1.0,
        ),
        told(
            f"held-out items with one other word refused or sent to review ({len(reworded):,} rows)",
            _share(reworded, lambda case: case.seen.contaminated or case.seen.review),
            "share",
        ),
        at_most(f"clean rows taken for contaminated ({len(clean):,} rows)", 100 * flagged, "%", 0.02),
    ]


def _share(cases: Sequence[Case], was: Callable[[Case], bool]) -> float:
    """1 of nothing: a promise about no row is kept."""
    return sum(map(was, cases)) / len(cases) if cases else 1.0
