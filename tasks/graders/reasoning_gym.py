"""reasoning_gym: an answer to a generated puzzle, scored by the rule of its dataset in reasoning-gym.

The answer is what stands in the last <answer>…</answer>, or the whole reply. Some of the rules evaluate text as Python:
all of them run in confined processes, which the grader cannot do without.
"""

import math
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import msgspec

from tasks.graders import templates
from tasks.graders.outcome import AuthorFault, CheckMany, ModelFault, of_fault, scored, ungradable, wrong
from tasks.sandbox import pool
from tasks.sandbox.protocol import Flavour, Limits, Lost, Unavailable, encode
from tasks.text import normalise
from tasks.types import Grade

EXAMPLE: Mapping[str, Any] = {
    "grader": {"type": "reasoning_gym", "entry": "{{ item.entry }}"},
    "item": {
        "entry": {
            "question": "Sort these words in ascending order (using ASCII/Unicode ordering): pear, Fig, apple",
            "answer": "Fig, apple, pear",
            "metadata": {"source_dataset": "word_sorting", "sorted_words": ["Fig", "apple", "pear"]},
        }
    },
    "completion": "Capitals come first. <answer>Fig, apple, pear</answer>",
}

# Named here so that nothing has to load the library to know them; a test compares them with it.
DATASETS = frozenset(
    """
    ab acre advanced_geometry aiw arc_1d arc_agi base_conversion basic_arithmetic bf binary_alternation
    binary_matrix bitwise_arithmetic boxnet caesar_cipher calendar_arithmetic chain_sum circuit_logic codeio
    coin_flip color_cube_rotation complex_arithmetic count_bits count_primes countdown course_schedule cryptarithm
    decimal_arithmetic decimal_chain_sum dice emoji_mystery family_relationships figlet_font fraction_simplification
    futoshiki game_of_life game_of_life_halting gcd graph_color group_anagrams gsm_symbolic intermediate_integration
    isomorphic_strings jugs kakurasu knight_swap knights_knaves largest_island lcm leg_counting letter_counting
    letter_jumble list_functions mahjong_puzzle manipulate_matrix maze mini_sudoku modulo_grid n_queens
    needle_haystack number_filtering number_format number_sequence number_sorting palindrome_generation
    palindrome_partitioning path_star polynomial_equations polynomial_multiplication pool_matrix power_function
    prime_factorization products propositional_logic puzzle24 quantum_lock ransom_note rearc rectangle_count
    rotate_matrix rotten_oranges rubiks_cube rush_hour self_reference sentence_reordering shortest_path
    simple_equations simple_geometry simple_integration sokoban spell_backward spiral_matrix string_insertion
    string_manipulation string_splitting string_synthesis sudoku survo syllogism time_intervals tower_of_hanoi
    tsumego word_ladder word_sequence_reversal word_sorting zebra_puzzles
    """.split()  # noqa: SIM905 - a hundred quoted names would be harder to read
)
BATCH = 32  # answers a confined process
MAX_CHARACTERS = 100_000  # of an answer
START_SECONDS = 5.0  # what the first answer of a process may take besides its own time
MEMORY_BYTES = 2 << 30
_OPEN, _CLOSE = "<answer>", "</answer>"


class Config(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="reasoning_gym", tag_field="type"
):
    entry: str | dict[str, Any] = "{{ item.entry }}"  # as generated: question, answer, metadata
    dataset: str = "{{ item.entry.metadata.source_dataset }}"
    settings: dict[str, Any] = {}  # of the dataset, where its rows were not generated with the default ones
    input: str = "{{ sample.output_text }}"
    seconds: float = 10.0  # for one answer
    name: str = ""
    pass_threshold: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 60:
            raise ValueError("`seconds` must lie above 0 and be at most 60")
        if "{{" not in self.dataset and self.dataset not in DATASETS:
            raise ValueError(f"reasoning-gym has no dataset '{self.dataset[:60]}'")


class Call(NamedTuple):
    dataset: str
    settings: Mapping[str, Any]
    entry: Mapping[str, Any]
    answer: str


class Result(NamedTuple):
    score: float | None
    fault: str = ""  # answer, entry, missing, lost, or what ended the process: timeout, memory, died, …
    detail: str = ""
    seconds: float = 0.0


def compile_many(config: Config) -> CheckMany:
    def check_many(answers: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Grade]:
        looked = [_look(config, completion, item) for completion, item in answers]
        calls = [found for found in looked if isinstance(found, Call)]
        try:
            results = iter(score(calls, config.seconds))
        except Unavailable as refusal:
            refused = ungradable(refusal.sentence, "sandbox_unavailable")
            return [refused if isinstance(found, Call) else found for found in looked]
        return [_grade(config, found, next(results)) if isinstance(found, Call) else found for found in looked]

    return check_many


def _look(config: Config, completion: str, item: Mapping[str, Any]) -> Grade | Call:
    try:
        dataset, entry = _entry(config, item)
        answer = answer_of(templates.parse(config.input).text(completion, item))
    except (ModelFault, AuthorFault) as fault:
        return of_fault(fault)
    if not answer:
        return wrong(None, "The reply is empty.")
    if len(answer) > MAX_CHARACTERS:
        return wrong(None, f"The answer is longer than {MAX_CHARACTERS:,} characters.", "too_long")
    try:
        encode(entry)
    except (RecursionError, ValueError):
        return ungradable("The entry nests too deep, or holds too long a number.", "bad_reference")
    return Call(dataset, config.settings, entry, _encodable(answer))


def answer_of(reply: str) -> str:
    """What stands in the last pair of tags; the whole reply where there is none."""
    closing_tag = reply.rfind(_CLOSE)
    opening = reply.rfind(_OPEN, 0, closing_tag) if closing_tag >= 0 else -1
    return (reply[opening + len(_OPEN) : closing_tag] if opening >= 0 else reply).strip()


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()


def _entry(config: Config, item: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    entry = templates.fill(config.entry, "", item)
    dataset = templates.fill(config.dataset, "", item)
    if not isinstance(entry, Mapping) or not isinstance(entry.get("metadata"), Mapping):
        raise AuthorFault("bad_reference", "The entry is not what reasoning-gym generates: question, answer, metadata.")
    if not isinstance(entry.get("answer"), str | None):
        raise AuthorFault("bad_reference", "The entry's answer is not a text.")
    if not isinstance(dataset, str) or dataset not in DATASETS:
        raise AuthorFault("bad_reference", f"reasoning-gym has no dataset '{templates.as_text(dataset)[:60]}'.")
    return dataset, {"answer": None, **entry}


# In the confined processes


def score(calls: Sequence[Call], seconds: float) -> list[Result]:
    """One result for each call, in order. A call that ends its process ends no other; a lost worker is replaced."""
    results: list[Result] = []
    tries = 1
    while len(results) < len(calls):
        batch = _batch(calls[len(results) : len(results) + BATCH], seconds)
        if batch[-1].fault == _LOST and tries < _TRIES:
            del batch[-1]
            tries += 1
        results += batch
    return results


def _batch(calls: Sequence[Call], seconds: float) -> list[Result]:
    """At least one result: as far as the process got."""
    results: list[Result] = []
    limits = Limits(seconds=START_SECONDS + seconds * len(calls), memory_bytes=MEMORY_BYTES)
    job = {"calls": [call._asdict() for call in calls]}
    with pool.shared(Flavour.REASONING).session("reasoning", job, limits) as session:
        for number in range(len(calls)):
            started = perf_counter()
            try:
                frame = session.receive(seconds if number else START_SECONDS + seconds)
            except Lost as end:
                fault = _LOST if end.ours else end.kind
                return [*results, Result(None, fault, end.detail, perf_counter() - started)]
            results.append(_read(frame, perf_counter() - started))
    return results


def _read(frame: Mapping[str, Any], seconds: float) -> Result:
    value = frame.get("ok")
    if isinstance(value, float) and math.isfinite(value) and 0 <= value <= 1:
        return Result(value, seconds=seconds)
    if "ok" in frame:
        return Result(None, "value", f"The rule gives {value!r}, which is no score."[:200], seconds)
    return Result(None, str(frame.get("error")), str(frame.get("detail"))[:500], seconds)


_LOST = "lost"  # the worker, which is no answer's fault
_TRIES = 3
# Flags; another end is answer_crash
_ENDED = {"timeout": "answer_timeout", "memory": "answer_too_large", "value": "sample_parse_error"}


def _grade(config: Config, call: Call, result: Result) -> Grade:
    if result.score is not None:
        reason = "Scored in full." if result.score == 1 else f"{call.dataset} scores the answer {result.score:.4g}."
        grade = scored(result.score, config.pass_threshold, call.answer, reason)
    elif result.fault == "answer":
        grade = wrong(call.answer, f"{call.dataset} cannot read the answer ({result.detail}).", "sample_parse_error")
    elif result.fault in ("entry", "missing"):
        grade = ungradable(f"The entry cannot be scored: {result.detail}.", "bad_reference")
    elif result.fault == _LOST:
        grade = ungradable(f"The answer could not be scored: {result.detail}", "sandbox_error")
    elif _ends_by_itself(call, config.seconds):
        grade = ungradable(f"The entry cannot be scored: {result.detail}", "bad_reference")
    else:
        grade = wrong(call.answer, result.detail, _ENDED.get(result.fault, "answer_crash"))
    return msgspec.structs.replace(grade, seconds=result.seconds)


def _ends_by_itself(call: Call, seconds: float) -> bool:
    """Whether the entry's own answer ends the process too: then the answer is not to blame."""
    own = call.entry["answer"]
    return own is not None and own != call.answer and score([call._replace(answer=own)], seconds)[0].score is None


def unavailable(config: Config) -> str | None:
    return pool.available()


def template_sources(config: Config) -> list[str]:
    return [*templates.strings(config.entry), config.dataset, config.input]


# Entries without an answer of their own that bring an example of one
_EXAMPLES = {
    "graph_color": "possible_answer",
    "propositional_logic": "example_answer",
    "rubiks_cube": "example_correct_answer",
}


def gold(config: Config, item: Mapping[str, Any]) -> str | None:
    """The entry's answer, or its example of one; puzzles that bring neither stay unproved."""
    try:
        dataset, entry = _entry(config, item)
    except (AuthorFault, ModelFault):
        return None
    example = entry["metadata"].get(_EXAMPLES.get(dataset, ""))
    answer = entry["answer"] if entry["answer"] is not None else example and templates.as_text(example)
    if not answer:
        return '<answer>""</answer>' if dataset == "polynomial_equations" and answer == "" else None
    return f"{_OPEN}{answer}{_CLOSE}"


# Puzzles with more than one right answer
_MANY_ANSWERS = frozenset(
    {
        *("boxnet", "countdown", "cryptarithm", "graph_color", "jugs", "knight_swap", "n_queens"),
        *("palindrome_generation", "propositional_logic", "puzzle24", "quantum_lock", "rubiks_cube", "rush_hour"),
        *("shortest_path", "sokoban", "tower_of_hanoi", "word_ladder"),
    }
)


def coincides(config: Config, item: Mapping[str, Any], completion: str) -> bool | None:
    """The entry's answer, tagged or not, or, in puzzles that have several, whatever the rule scores in full."""
    right = gold(config, item)
    if right is not None and normalise(answer_of(completion)) == normalise(answer_of(right)):
        return True
    try:
        several = _entry(config, item)[0] in _MANY_ANSWERS
    except (AuthorFault, ModelFault):
        return None
    return True if several and compile_many(config)([(completion, item)])[0].score >= 1 else None


def reference_problem(config: Config, item: Mapping[str, Any]) -> str | None:
    """Why the entry cannot be used, as far as it shows without scoring."""
    _entry(config, item)
    return None
