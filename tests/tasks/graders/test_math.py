import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.graders import comparing, math, registry
from tasks.graders.comparing import compare
from tasks.graders.notation import Unreadable, written
from tasks.types import Outcome

TOWER = "9^{9^{9^{9}}}"


def grade(reply, reference, **fields):
    return registry.grade({"type": "math", **fields}, reply, {"reference": reference})


def boxed(answer, reference, **fields):
    return grade(rf"\boxed{{{answer}}}", reference, **fields)


def test_a_worker_that_cannot_be_had_is_our_fault(monkeypatch):
    lost = comparing.Answer(comparing.Verdict.LOST, 0.0, "There is no worker.")
    monkeypatch.setattr(comparing, "compare", lambda questions, seconds: [lost] * len(questions))

    found = boxed(r"\sqrt{8}", r"2\sqrt{2}")

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("sandbox_error",))


# What is equal

EQUAL = [
    ("72", "72"),
    ("1,234", "1234"),
    ("1234", "1,234"),
    (r"1\,234", "1234"),
    ("3.0", "3"),
    ("007", "7"),
    ("-0", "0"),
    (r"\frac12", "0.5"),
    (r"\dfrac{1}{2}", "1/2"),
    ("0.5", r"\frac{1}{2}"),
    ("½", "0.5"),
    (r"2\frac{1}{2}", "2.5"),
    ("2 1/2", "5/2"),
    ("0.333333", r"\frac13"),
    (r"0.\overline{3}", "1/3"),
    ("1e3", "1000"),
    (r"2.5 \times 10^{-3}", "0.0025"),
    ("5 million", "5000000"),
    (r"50\%", "50"),
    ("50%", "0.5"),
    ("0.5", "50%"),
    ("5.5%", "5.5"),
    ("50%", r"50\%"),
    ("5 dollars", "5"),
    (r"5\text{ cm}^2", "5"),
    ("5", r"\$5"),
    (r"90^\circ", "90"),
    ("x=4", "4"),
    ("4", "x=4"),
    ("x = 1,234", "1234"),
    ("2,1", "1,2"),
    (r"\{2, 1\}", r"\{1,2\}"),
    ("3,-3", r"\pm 3"),
    ("6 or 5", "5,6"),
    ("(1, 2)", "(1,2)"),
    ("1,2", "(1,2)"),
    (r"[2,3)\cup(0,1]", r"(0,1]\cup[2,3)"),
    ("x<3", r"(-\infty,3)"),
    (r"1 \le x < 2", "[1,2)"),
    ("3>x", "x<3"),
    (r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
    (r"2\sqrt2", r"\sqrt{8}"),
    (r"\sqrt{3}/2", r"\frac{\sqrt{3}}{2}"),
    ("x^2+2x+1", "(x+1)^2"),
    ("1", r"\sin^2 x+\cos^2 x"),
    ("120", "5!"),
    ("1024", "2^{10}"),
    (r"\frac{\ln 3}{\ln 2}", r"\log_2 3"),
    ("2", r"\log 100"),
    ("i", r"\sqrt{-1}"),
    ("-1", r"e^{i\pi}"),
    ("3+4i", "4i+3"),
    ("infinity", r"\infty"),
    (r"\varnothing", r"\emptyset"),
    ("6.283185", r"2\pi"),
    ("2π", r"2\pi"),
    ("Tuesday", r"\text{Tuesday}"),
    (r"\text{tuesday.}", "Tuesday"),
    ("A", r"\text{(A)}"),
    ("ba", "ab"),
    ("3\n", "3"),
    (r"\mathrm{e}^2", "e^2"),
]

DIFFERENT = [
    ("73", "72"),
    ("1, 234", "1234"),
    ("(1,234)", "1234"),
    ("0.33333", r"\frac13"),
    ("3.0000001", "3"),
    ("0", "0.0000001"),
    ("0.0000002", "0.0000001"),
    ("50", "0.5"),
    ("5", "5 million"),
    (r"5\text{ million}", "5"),
    ("3", "3t"),
    ("y=4", "x=4"),
    ("(2,1)", "(1,2)"),
    ("(1,2)", "[1,2]"),
    ("3", r"\pm3"),
    ("3 or 4", "4"),
    (r"-\infty", r"\infty"),
    ("-i", "i"),
    (r"\begin{bmatrix}1&2\\3&5\end{bmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
    ("6.28", r"2\pi"),
    (r"\log 2", r"\ln 2"),
    ("100!+1", "100!"),
    ("Monday", "Tuesday"),
    ("listen", "silent"),
    ("five", "5"),
    ("3.14", r"\pi"),
    ("5", r"\text{Jan 5}"),
    ("1000000000!", "3"),
    ("2^{10000000000}", "3"),
]


@pytest.mark.parametrize(("answer", "reference"), EQUAL)
def test_equal_answers_are_correct_however_they_are_written(answer, reference):
    found = boxed(answer, reference)

    assert (found.outcome, found.score, found.errors) == (Outcome.CORRECT, 1.0, ())


@pytest.mark.parametrize(("answer", "reference"), DIFFERENT)
def test_other_answers_are_incorrect(answer, reference):
    found = boxed(answer, reference)

    assert (found.outcome, found.score) == (Outcome.INCORRECT, 0.0)


def test_the_reason_says_what_was_expected_and_what_was_read():
    found = boxed(r"\frac{1}{3}", r"\frac12")

    assert found.read == r"\frac{1}{3}"
    assert found.reason == r"Expected \frac12, read \frac{1}{3}."


@pytest.mark.parametrize("reference", [72, 0.5, -3, 1e22, r"\boxed{72}", "$72$", "72.", "**72**"])
def test_a_reference_may_be_a_number_or_dressed(reference):
    answer = {0.5: "1/2", -3: "-3", 1e22: "10^{22}"}.get(reference, "72")

    assert boxed(answer, reference).correct


def test_decimals_say_to_how_many_places_decimals_are_compared():
    assert boxed("3.14", r"\pi", decimals=2).correct
    assert not boxed("3.1415926", r"\pi", decimals=9).correct


def test_a_reply_that_boxes_the_question_is_refused_where_the_answer_has_to_be_worked_out():
    found = boxed("48+24", "72", worked_out=True)

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("not_worked_out",))
    assert boxed("48+24", "72").correct


@pytest.mark.parametrize("answer", ["72", "72.0", "x = 72", "144/2", r"\frac{144}{2}", r"7.2 \times 10^{1}", r"72\%"])
def test_a_number_is_worked_out(answer):
    assert boxed(answer, "72", worked_out=True).correct


def test_what_is_no_number_need_not_be_worked_out():
    assert boxed("(x+1)^2", "x^2+2x+1", worked_out=True).correct


# The disagreements of the common rules


def test_two_boxes_joined_by_or_are_no_answer_to_a_question_with_one():
    found = grade(r"\boxed{3} or \boxed{4}", "4")

    assert (found.outcome, found.read) == (Outcome.INCORRECT, "3, 4")


def test_two_boxes_are_the_answer_to_a_question_with_two():
    assert grade(r"$x=\boxed{4}$ or $x=\boxed{3}$", "3,4").correct


def test_an_earlier_box_is_working():
    assert grade(r"Half is \boxed{3}, so the whole comes to \boxed{6}.", "6").correct


def test_an_answer_that_was_cut_off_is_none():
    found = grade(r"\boxed{4", "4")

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("sample_parse_error",))


@pytest.mark.parametrize(
    "reply",
    [r"<think>\boxed{4}</think>", r"<think>\boxed{4}</think> I do not know.", r"<think>the answer is 4", "<think>4"],
)
def test_an_answer_only_inside_the_reasoning_never_counts(reply):
    assert grade(reply, "4").outcome is Outcome.INCORRECT


def test_a_stated_answer_counts_unless_only_boxes_do():
    assert grade("The answer is 4.", "4").correct
    assert not grade("The answer is 4.", "4", accept="boxed").correct


@pytest.mark.parametrize("reply", ["", "   ", "the answer is correct", "I do not know", r"\boxed{}", "Compute $2+2$."])
def test_a_reply_without_an_answer_is_incorrect(reply):
    assert grade(reply, "4").outcome is Outcome.INCORRECT


# Faults


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "  ",
        None,
        True,
        [1],
        {"a": 1},
        r"\frac{1}{2",
        "}{",
        r"\frac{1}{0}",
        "3 4",
        "9" * 5000,
        pytest.param(10**5000, id="5,001 digits"),
        "p q r ?",
        "∑∑",
    ],
)
def test_a_reference_that_is_no_formula_is_the_authors_fault(reference):
    found = boxed("4", reference)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_reference",))


def test_a_reference_that_no_comparison_comes_to_an_end_with_is_the_authors_fault():
    found = boxed("4", TOWER, seconds=0.5)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_reference",))
    assert "takes longer than 0.5 s" in found.reason


def test_an_item_without_a_reference_is_the_authors_fault():
    found = registry.grade({"type": "math"}, r"\boxed{4}", {})

    assert found.errors == ("invalid_variable_error",)


@pytest.mark.parametrize(
    "fields",
    [
        {"seconds": 0},
        {"seconds": 61},
        {"decimals": 0},
        {"decimals": 13},
        {"reference": r"\frac{"},
        {"accept": "anything"},
    ],
)
def test_a_configuration_that_cannot_be_right_is_refused(fields):
    assert registry.grade({"type": "math", **fields}, r"\boxed{4}", {"reference": "4"}).errors == ("bad_grader",)


# Hostile replies

HANGING = [TOWER, "((((10!)!)!)!)!", r"\sum_{k=1}^{10^{9}} k!"]


@pytest.mark.parametrize("answer", HANGING)
def test_an_answer_whose_comparison_does_not_end_is_incorrect_and_the_next_grade_is_right(answer):
    found = boxed(answer, "3", seconds=0.5)

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("math_timeout",))
    assert boxed(r"\sqrt{9}", "3").correct


@pytest.mark.parametrize(
    ("answer", "flags"),
    [
        ("9" * 5000, ("too_long",)),
        ("9" * 1900, ()),
        ("{" * 100_000 + "}" * 100_000, ("too_long",)),
        ("{" * 900 + "4" + "}" * 900, ("sample_parse_error",)),
        ("(" * 900 + "5" + ")" * 900, ("sample_parse_error",)),
        (r"\sqrt" * 300 + "5", ("sample_parse_error",)),
        ("x" * 1_000_000, ("too_long",)),
        ("1+" * 900 + "1", ()),
        ("5\0", ("sample_parse_error",)),
        ("5\ud800", ("sample_parse_error",)),
        (r"\frac{1}{0}", ()),
        ("*", ("sample_parse_error",)),
    ],
)
@pytest.mark.timeout(60)
def test_a_hostile_answer_is_incorrect_and_the_next_grade_is_right(answer, flags):
    found = boxed(answer, "4")

    assert found.outcome is Outcome.INCORRECT
    assert found.errors in (flags, ("math_timeout",))
    assert boxed(r"\sqrt{16}", "4").correct


@pytest.mark.parametrize(
    "answer",
    [
        "__import__('os').system('touch {path}')",
        "eval(open('{path}','w'))",
        r"\text{{__import__('os').mkdir('{path}')}}",
        "Integral(lambda x: open('{path}','w'), 1)",
        "[c for c in ().__class__.__base__.__subclasses__()]",
        "lambda",
        "E",
        "I",
        "Integral",
        "exec",
        r"\operatorname{{exec}}('import os')",
    ],
)
def test_an_answer_that_is_program_text_is_never_run(answer, tmp_path):
    path = tmp_path / "made"

    found = boxed(answer.format(path=path), "4")

    assert found.outcome is Outcome.INCORRECT
    assert not path.exists()


def test_a_hanging_answer_takes_no_other_of_its_batch_with_it():
    replies = [(rf"\boxed{{\sqrt{{{n * n}}}}}", {"reference": str(n)}) for n in range(2, 42)]
    replies[7] = (rf"\boxed{{{TOWER}}}", {"reference": "9"})
    replies[30] = (rf"\boxed{{{TOWER}+1}}", {"reference": "32"})

    grades = registry.grade_many({"type": "math", "seconds": 1}, replies)

    assert [place for place, found in enumerate(grades) if not found.correct] == [7, 30]
    assert grades[7].errors == grades[30].errors == ("math_timeout",)


# The short way and the long one

numbers = st.one_of(
    st.integers(-(10**15) + 1, 10**15 - 1).map(str),
    st.integers(-20, 20).map(str),
    st.decimals(-9999, 9999, places=3).map(str),
    st.decimals(-1, 1, places=6).map(lambda value: f"{value:f}"),
    st.sampled_from(
        ["0", "-0", "0.0", "1.0", "0.10", "007", "1.000000", "1.000001", "0.999999", "0.5", "-0.5", "0.000001"]
    ),
)


@given(reference=numbers, answer=numbers, same=st.booleans(), percent=st.booleans())
@settings(max_examples=400, deadline=None)
def test_numbers_are_decided_as_the_workers_would(reference, answer, same, percent):
    sign = "%" if percent else ""
    wanted, said = written(reference + sign), written((reference if same else answer) + sign)

    quick = math._quick(wanted, said, 6)

    assert [quick] == [found.verdict for found in compare([math._question(wanted, said, 6)], 60)]


@pytest.mark.parametrize(("answer", "reference"), EQUAL + DIFFERENT)
def test_what_is_decided_without_a_worker_is_decided_as_the_workers_would(answer, reference):
    try:
        wanted, said = written(reference), written(answer)
    except Unreadable:
        pytest.fail("every example can be read")
    quick = math._quick(wanted, said, 6)

    slow = compare([math._question(wanted, said, 6)], 60)[0].verdict

    assert quick in (None, slow) or wanted.words or said.words


@given(st.text(alphabet=r"0123456789+-*/^{}()\.,%$ xyfracsqti", max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_answer_earns_a_grade(text):
    found = grade(rf"\boxed{{{text}}}", "7919", seconds=2)

    assert found.outcome in (Outcome.CORRECT, Outcome.INCORRECT)


# Proof


@pytest.mark.parametrize("reference", [reference for _, reference in EQUAL])
def test_the_gold_of_a_reference_earns_full_score(reference):
    gold = registry.gold({"type": "math"}, {"reference": reference})

    assert grade(gold, reference).correct


def test_there_is_no_gold_of_a_reference_that_cannot_be_one():
    assert registry.gold({"type": "math"}, {"reference": r"\frac{1"}) is None


@pytest.mark.parametrize("reference", ["", r"\frac{1}{2", "}{", None, "9" * 5000])
def test_what_is_plainly_no_reference_is_said_before_anything_is_graded(reference):
    assert registry.reference_problem({"type": "math"}, {"reference": reference})


def test_a_usable_reference_has_no_problem():
    assert registry.reference_problem({"type": "math"}, {"reference": r"\frac{1}{2}"}) is None


def test_a_decoy_that_states_an_equal_answer_coincides():
    config = registry.parse({"type": "math"})

    assert math.coincides(config, {"reference": "1/2"}, r"\boxed{0.5}")
    assert math.coincides(config, {"reference": "72"}, "the answer is 72")
    assert not math.coincides(config, {"reference": "72"}, "the answer is correct")


def test_a_decoy_that_only_rounds_to_the_answer_does_not_coincide():
    config = registry.parse({"type": "math", "decimals": 2})

    assert boxed("3.14", r"\pi", decimals=2).correct
    assert not math.coincides(config, {"reference": r"\pi"}, r"\boxed{3.14}")


def test_listing_every_candidate_wins_nothing():
    config = registry.parse({"type": "math"})
    item = {"reference": "4"}

    listed = math.every_candidate(config, item, [r"\boxed{3}", r"It is \boxed{4}.", r"\boxed{5}"])

    assert listed == r"\boxed{4}, \boxed{3}, \boxed{5}"
    assert not grade(listed, "4").correct


def test_there_is_no_list_of_candidates_where_all_answers_are_the_same():
    assert math.every_candidate(registry.parse({"type": "math"}), {"reference": "4"}, [r"\boxed{4}"]) is None


def test_the_example_earns_full_score():
    example = math.EXAMPLE

    assert registry.grade(example["grader"], example["completion"], example["item"]).score == 1


def test_grading_loads_no_algebra_into_the_process_that_asks():
    program = (
        "import sys; from tasks.graders import registry;"
        "grade = registry.grade({'type': 'math'}, r'\\boxed{\\sqrt{16}}', {'reference': '4'});"
        "print(grade.outcome, 'sympy' in sys.modules, 'math_verify' in sys.modules)"
    )

    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )

    assert shown.stdout.split() == ["correct", "False", "False"]
