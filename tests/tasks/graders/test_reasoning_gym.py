import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasks import proof
from tasks.errors import Invalid
from tasks.graders import reasoning_gym, registry
from tasks.sandbox import pool
from tasks.sandbox.protocol import Flavour, Lost, Unavailable
from tasks.types import Outcome

REPOSITORY = Path(__file__).resolve().parents[3]
CONFIG = {"type": "reasoning_gym"}
# Puzzles of which reasoning-gym knows no answer: their rows have no gold
WITHOUT_ANSWER = {"boxnet", "rush_hour"}


def item(dataset, answer, **metadata):
    return {"entry": {"question": "?", "answer": answer, "metadata": {"source_dataset": dataset, **metadata}}}


def grade(completion, row, **fields):
    return registry.grade({**CONFIG, **fields}, completion, row)


def generated(dataset, seed, count=1):
    """Entries as a file holds them: tuples are lists, keys are texts."""
    import reasoning_gym as library

    with contextlib.redirect_stdout(io.StringIO()):
        entries = library.create_dataset(dataset, seed=seed, size=count)
        return [{"entry": json.loads(json.dumps(entries[position]))} for position in range(count)]


WORDS = item("word_sorting", "Fig, apple, pear", sorted_words=["Fig", "apple", "pear"])


@pytest.mark.parametrize(
    "completion",
    [
        "Fig, apple, pear",
        " Fig, apple, pear\n",
        "Capitals first. <answer>Fig, apple, pear</answer>",
        "<answer>pear</answer> No: <answer> Fig, apple, pear </answer> That is it.",
        "<think><answer>pear</answer></think><answer>Fig, apple, pear</answer>",
    ],
)
def test_the_last_answer_counts_or_else_the_whole_reply(completion):
    found = grade(completion, WORDS)

    assert (found.score, found.read) == (1, "Fig, apple, pear")


def test_a_part_of_the_answer_has_a_part_of_the_score():
    found = grade("Fig, pear, apple", WORDS)

    assert (found.outcome, found.score) == (Outcome.INCORRECT, pytest.approx(1 / 3))


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "<answer></answer>",
        "<think>Fig, apple, pear</think>",
        "<think><answer>Fig, apple, pear</answer>",
        "</think>",
    ],
)
def test_an_answer_only_in_the_reasoning_does_not_count(completion):
    found = grade(completion, WORDS)

    assert (found.outcome, found.score, found.reason) == (Outcome.INCORRECT, 0, "The reply is empty.")


def test_the_names_are_those_of_the_library():
    from reasoning_gym.factory import DATASETS

    assert set(DATASETS) - {"composite"} == reasoning_gym.DATASETS


def assert_every_answer_is_scored_in_full(seed, count):
    rows = {name: generated(name, seed, count) for name in sorted(reasoning_gym.DATASETS)}
    answers = [(registry.gold(CONFIG, row), row, name) for name, of_it in rows.items() for row in of_it]

    grades = registry.grade_many(CONFIG, [(gold, row) for gold, row, _ in answers if gold is not None])

    assert {name for gold, _, name in answers if gold is None} <= WITHOUT_ANSWER
    unscored = [
        (name, gold)
        for (gold, _, name), found in zip([one for one in answers if one[0] is not None], grades, strict=True)
        if found.score != 1
    ]
    # Integrals that the library itself left unsolved: the answer would be the question
    assert [one for one in unscored if one[0] != "intermediate_integration" or "Integral(" not in one[1]] == []


@pytest.mark.timeout(180)
def test_every_dataset_scores_its_own_answer_in_full_after_a_journey_through_json():
    assert_every_answer_is_scored_in_full(seed=1, count=1)


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_every_dataset_scores_its_own_answer_in_full_for_ten_seeds():
    for seed in range(10):
        assert_every_answer_is_scored_in_full(seed, count=3)


HALTING = item("game_of_life_halting", "True")
NUMBERS = item("puzzle24", "(8 - 2) * (1 + 3)", numbers=[8, 2, 1, 3])
COMPLEX = item("complex_arithmetic", "3.0 + 4.0i", result=[3.0, 4.0])
COIN = item("coin_flip", "0.00003051757812")
NO_SOLUTION = item("polynomial_equations", "")
INTEGRAL = item("intermediate_integration", "x*exp(x) - exp(x) + C", variable="x", integrand="x*exp(x)")


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        (HALTING, "true", "False"),
        (HALTING, "True", "It does not halt."),
        (NUMBERS, "(3 + 1)*(8 - 2)", "(9 - 5) * (3 + 3)"),
        (COMPLEX, "3 + 4i", "nan"),
        (COIN, "0.0000305", "0"),
        (COIN, "1/32768", "0.00009"),
        (NO_SOLUTION, '""', "the answer is correct"),
        (item("gsm_symbolic", "22"), "22 apples", "22 or 23"),
        (item("spell_backward", "tac"), "TAC", "tac dog"),
        (item("letter_jumble", "the cat"), "The cat", "the cat sat"),
        (WORDS, "Fig, apple, pear", "Fig, apple, pear, plum"),
        (INTEGRAL, "(x - 1)*exp(x)", "Integral(x*exp(x), x)"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_rules_of_the_library_that_accept_what_is_wrong_are_repaired(row, right, wrong):
    assert grade(right, row).score == 1
    assert grade(wrong, row).score < 1


@pytest.mark.parametrize("dataset", ["arc_agi", "rearc"])
def test_boards_that_json_has_turned_into_lists_are_compared(dataset):
    (row,) = generated(dataset, seed=3)

    assert grade(row["entry"]["answer"], row).score == 1


ATTACKS = [
    "__import__('os').system('touch /tmp/pwned')",
    "exec(chr(49))",
    "exit()",
    "x.__class__",
    "[c for c in (1).__class__.__base__.__subclasses__()]",
    "__import__('sys')._getframe(1).f_locals['entry']['answer']",
    "lambda: 1",
]


@pytest.mark.parametrize(
    "dataset", ["string_insertion", "spiral_matrix", "binary_matrix", "n_queens", "number_sorting"]
)
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_answer_is_never_evaluated_as_python(dataset, attack):
    (row,) = generated(dataset, seed=1)

    assert grade(attack, row).score <= 0.05


@pytest.mark.parametrize("row", [NUMBERS, INTEGRAL], ids=["puzzle24", "integration"])
@pytest.mark.parametrize(
    "attack", [*ATTACKS, "24 if 1 else 0", "max(24, 1)", "S('24')", "0x18", "24 .real", "f(24)[0]"]
)
def test_a_formula_that_calls_or_looks_up_anything_is_none(row, attack):
    assert grade(attack, row).score <= 0.05


@pytest.mark.parametrize("problem", ["__import__('os').getpid()", "(1).real", "'a' * 9", "[1]"])
def test_an_entry_is_not_evaluated_as_python_either(problem):
    assert grade("0x1", item("bitwise_arithmetic", "0x1", problem=problem)).score == 0


def test_an_integrand_that_is_no_formula_is_the_authors_fault():
    row = item("simple_integration", "x + C", variable="x", integrand="__import__('os').getpid()")

    found = grade("x + C", row)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_reference",))


def test_an_answer_that_takes_for_ever_is_incorrect_and_the_others_are_graded():
    rows = [("(8 - 2) * (1 + 3)", NUMBERS), ("9**9**9**9**9", NUMBERS), ("(8 - 2) * (1 + 3)", NUMBERS)]

    grades = registry.grade_many({**CONFIG, "seconds": 1.5}, rows)

    assert [found.score for found in grades] == [1, 0, 1]
    assert grades[1].outcome is Outcome.INCORRECT
    assert grades[1].errors[0] in ("answer_timeout", "answer_too_large", "answer_crash")


def test_an_entry_that_takes_for_ever_by_itself_is_the_authors_fault():
    row = item("bitwise_arithmetic", "0x1", problem="9**9**9**9")

    found = grade("0x2", row, seconds=1)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_reference",))


def losing(times):
    """A pool whose sessions lose their worker so many times, and then the shared one."""
    left = [times]

    class Losing:
        @contextlib.contextmanager
        def session(self, *asked):
            if not left[0]:
                with shared(Flavour.REASONING).session(*asked) as session:
                    yield session
                return
            left[0] -= 1
            yield self

        def receive(self, seconds):
            raise Lost("died", "The worker had ended.", ours=True)

    shared = pool.shared
    return lambda flavour: Losing()


def test_a_lost_worker_is_replaced(monkeypatch):
    monkeypatch.setattr(pool, "shared", losing(2))

    assert grade("Fig, apple, pear", WORDS).score == 1


def test_workers_that_are_lost_again_and_again_are_nobodys_answer(monkeypatch):
    monkeypatch.setattr(pool, "shared", losing(9))

    found = grade("Fig, apple, pear", WORDS)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("sandbox_error",))


def test_an_answer_that_the_rule_cannot_read_is_the_models_fault():
    (row,) = generated("boxnet", seed=1)

    found = grade("5", row)

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("sample_parse_error",))


def test_an_answer_for_which_the_rule_gives_no_score_is_the_models_fault(monkeypatch):
    monkeypatch.setattr(reasoning_gym, "score", lambda calls, _: [outside(call) for call in calls])

    found = grade("pear", WORDS)

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("sample_parse_error",))


def outside(call):
    frame = {"ok": 1.0 if call.answer == call.entry["answer"] else 1.5}
    return reasoning_gym._read(frame, 0.0)


def test_an_entry_that_cannot_be_sent_is_ungradable():
    row = item("word_sorting", "Fig, apple, pear", sorted_words=["Fig", 10**5000])

    assert grade("pear", row).errors == ("bad_reference",)


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"entry": None},
        {"entry": {}},
        {"entry": {"answer": "1", "metadata": {}}},
        {"entry": {"answer": 1, "metadata": {"source_dataset": "gcd"}}},
        {"entry": {"answer": "1", "metadata": {"source_dataset": "composite"}}},
        {"entry": {"answer": "1", "metadata": {"source_dataset": "../gcd"}}},
        {"entry": {"answer": "1", "metadata": {"source_dataset": ["gcd"]}}},
    ],
)
def test_an_entry_that_is_none_is_the_authors_fault(row):
    found = grade("1", row)

    assert found.outcome is Outcome.UNGRADABLE
    assert registry.reference_problem(CONFIG, row) == found.reason


@pytest.mark.parametrize("dataset", ["word_sorting", "rearc", "rush_hour", "countdown", "path_star"])
def test_an_entry_without_what_its_rule_needs_never_earns_full_score(dataset):
    found = grade("1", item(dataset, None if dataset == "rush_hour" else "a"))

    assert found.score <= 0.05


def test_an_entry_without_a_required_field_is_the_authors_fault():
    assert grade("A+1", item("rush_hour", None)).errors == ("bad_reference",)
    assert grade("Fig", item("word_sorting", "Fig")).errors == ("bad_reference",)


def test_settings_are_those_of_the_dataset():
    row = item("decimal_arithmetic", "1.25")

    assert grade("1.2", row, settings={"max_num_decimal_places": 1}).score == 1
    assert grade("1.2", row).score == 0


def test_settings_that_the_dataset_does_not_know_are_the_authors_fault():
    assert grade("1.2", item("decimal_arithmetic", "1.2"), settings={"colour": 1}).errors == ("bad_reference",)


@pytest.mark.parametrize("fields", [{"dataset": "sudokus"}, {"seconds": 0}, {"seconds": 61}])
def test_a_configuration_that_cannot_work_is_refused(fields):
    with pytest.raises(Invalid):
        registry.parse({**CONFIG, **fields})


def test_without_a_sandbox_the_grader_is_refused_in_a_sentence(monkeypatch):
    def refuse(*_, **__):
        raise Unavailable("Nothing can be confined here.")

    monkeypatch.setattr(pool, "shared", refuse)

    found = grade("Fig", WORDS)
    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("sandbox_unavailable",))
    assert registry.unavailable(CONFIG) == "Nothing can be confined here."


def test_the_library_is_never_loaded_by_the_one_who_asks():
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from tasks.graders import reasoning_gym, registry
row = reasoning_gym.EXAMPLE
print(registry.grade(row["grader"], row["completion"], row["item"]).score)
print(sorted({"reasoning_gym", "sympy", "numpy", "django"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-I", "-c", script, str(REPOSITORY)], capture_output=True, text=True)

    assert done.stdout.split("\n")[:2] == ["1.0", "[]"], done.stderr


def test_the_gold_is_the_entrys_answer_or_its_example():
    assert registry.gold(CONFIG, WORDS) == "<answer>Fig, apple, pear</answer>"
    assert registry.gold(CONFIG, item("rubiks_cube", None, example_correct_answer="R U")) == "<answer>R U</answer>"
    assert registry.gold(CONFIG, item("graph_color", None, possible_answer={"0": 1})) == '<answer>{"0":1}</answer>'
    assert registry.gold(CONFIG, NO_SOLUTION) == '<answer>""</answer>'
    assert registry.gold(CONFIG, item("rush_hour", None, board_config="")) is None


def test_a_row_is_proved_by_its_answer_and_refuses_the_decoys():
    found = proof.prove(CONFIG, WORDS, None, "Sort pear, Fig, apple.", ["<answer>b, c</answer>"])

    assert found.outcome is proof.ProofOutcome.PROVED


def test_another_right_answer_of_a_puzzle_with_several_coincides():
    row = item("propositional_logic", None, premises=["P", "Q"], variables=["P", "Q"], example_answer="(P ∧ Q)")

    found = proof.prove(CONFIG, row, None, "What follows?", ["<answer>(Q ∧ P)</answer>"])

    assert found.outcome is proof.ProofOutcome.PROVED
    assert found.decoys[2].outcome is proof.DecoyOutcome.SKIPPED


@pytest.mark.parametrize("completion", ["(" * 90_000, "<answer>" * 12_000, "\0" * 9, "\ud800" * 9, "1" * 90_000])
@pytest.mark.parametrize("row", [NUMBERS, WORDS, INTEGRAL, COMPLEX, HALTING, COIN], ids=lambda row: str(row)[40:80])
@pytest.mark.timeout(60)
def test_hostile_answers_are_graded_in_no_time(row, completion):
    assert grade(completion, row, seconds=2).outcome is Outcome.INCORRECT


def test_an_answer_beyond_the_limit_is_incorrect_with_its_flag():
    found = grade("a " * 60_000, WORDS)

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("too_long",))
