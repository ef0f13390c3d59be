import pytest

from tasks.sandbox.programs import BadTests, Bench, Budget, CodeFault, Verdict, run_asserts, run_program, sound
from tasks.sandbox.protocol import Flavour

BUDGET = Budget(seconds=2, total_seconds=20, memory_bytes=1 << 30)


def asserts(code, *tests, shared="", entry_point="", budget=BUDGET):
    return run_asserts([code], Bench(shared, tests, entry_point, Flavour.BARE), budget, Flavour.BARE)


def test_a_program_gets_its_input_and_gives_its_output():
    output = run_program(["print(input() * 2)"], "ab\n", BUDGET, 2, Flavour.BARE)

    assert (output.text, output.verdict) == ("abab\n", None)
    assert 0 < output.seconds < 2


def test_the_first_source_that_compiles_is_run():
    output = run_program(["print(", "print(1)", "print(2)"], "", BUDGET, 2, Flavour.BARE)

    assert output.text == "1\n"


def test_what_was_printed_before_a_bad_end_is_kept():
    output = run_program(["print(1, flush=True)\n1 / 0"], "", BUDGET, 2, Flavour.BARE)

    assert output.text == "1\n"
    assert output.verdict == Verdict(
        False, "code_error", "The code raised ZeroDivisionError: division by zero (line 2)."
    )


def test_every_test_has_its_verdict():
    found = asserts("def f(x): return x", "assert f(1) == 1", "assert f(1) == 2")

    assert found == [Verdict(True), Verdict(False, "", "AssertionError (line 1: assert f(1) == 2)")]


def test_code_that_cannot_be_loaded_has_no_verdicts():
    with pytest.raises(CodeFault, match="cannot be loaded: ZeroDivisionError"):
        asserts("1 / 0", "assert True")


def test_tests_that_do_not_compile_are_found_before_the_code_is_run():
    with pytest.raises(BadTests, match="SyntaxError"):
        asserts("while True: pass", "assert (")


def test_shared_source_runs_on_both_sides():
    found = asserts("def f(): return LIMIT + 1", "assert f() == LIMIT + 1 == 6", shared="LIMIT = 5")

    assert found == [Verdict(True)]


def test_the_tests_own_names_come_before_those_of_the_code():
    found = asserts(
        "def f(): return 1\ndef near(a, b): return True", "def near(a, b): return a == b\nassert near(f(), 2)"
    )

    assert not found[0].passed


def test_with_an_entry_point_nothing_else_of_the_code_is_there():
    with pytest.raises(BadTests, match="name 'g' is not defined"):
        asserts("def f(): return 1\ndef g(): return 1", "assert g() == 1", entry_point="f")


def test_time_that_all_tests_have_used_up_fails_the_rest_of_them():
    budget = Budget(seconds=0.5, total_seconds=1, memory_bytes=1 << 30)

    found = asserts("def f():\n    while True: pass", *["f()"] * 20, budget=budget)

    assert {verdict.flag for verdict in found} == {"code_timeout"}
    assert len(found) == 20


def test_a_sandbox_that_works_is_sound():
    assert sound()
