import pytest

from tasks.graders import symbolic


class Channel:
    """The session's end of its channel, with one batch in it."""

    def __init__(self, *items):
        self.batches = [{"items": list(items)}, None]
        self.sent = []

    def receive(self):
        return self.batches.pop(0)

    def send(self, message):
        self.sent.append(message)


def answers(*items):
    channel = Channel(*items)
    symbolic.run({}, channel)
    return channel.sent


def test_a_reference_that_was_not_tried_is_tried_first():
    assert answers([["1/2"], ["0.5"], 6, False, False]) == [{"sound": True}, {"verdict": "equal"}]


def test_a_reference_that_was_tried_is_not_tried_again():
    assert answers([["1/2"], ["3"], 6, False, True]) == [{"verdict": "different"}]


@pytest.mark.parametrize("reference", [r"\frac{", r"\frac{1}{0}", "?", ""])
def test_a_reference_that_does_not_equal_itself_is_unusable(reference):
    assert answers([[reference], ["3"], 6, False, False]) == [{"verdict": "unusable"}]


def test_an_answer_that_is_no_formula_is_unreadable():
    assert answers([["3"], [r"\frac{"], 6, False, True]) == [{"verdict": "unreadable"}]


@pytest.mark.parametrize("code", ["__import__('os')", "Symbol('x').args", "Integer(2)**Integer(9)", "lambda: 1"])
def test_sympy_evaluates_no_program_text(code):
    from sympy import sympify

    symbolic.prepare()

    with pytest.raises(Exception, match=r"not a number|could not parse"):
        sympify(code)


# math-verify simplifies every difference; what plainly differs, or is equal when multiplied out, need not be.
PAIRS = [
    (r"\sqrt{x^2}", "x"),
    (r"\frac{x^2-1}{x-1}", "x+1"),
    (r"\sqrt[3]{-8}", "-2"),
    (r"\frac{1}{x}+\frac{1}{y}", r"\frac{x+y}{xy}"),
    (r"2\cos^2 x-1", r"\cos 2x"),
    (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}"),
    (r"e^{x+y}", "e^x e^y"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\sqrt{8}", r"2\sqrt{3}"),
    ("(x+1)^2", "x^2+2x+1"),
    ("(x+1)^2", "x^2+2x+2"),
    ("ab", "ba"),
    (r"10^{-9}", "10^{-10}"),
    ("100!", "100!+1"),
    (r"\pi", r"\frac{22}{7}"),
    ("2^{10}", "1024"),
    ("x", "y"),
    ("0", r"\sqrt{2}-\sqrt{2}"),
    ("1+i", r"\sqrt{2}e^{i\pi/4}"),
]


@pytest.mark.parametrize(("reference", "answer"), PAIRS)
def test_what_is_decided_without_simplifying_is_decided_as_by_math_verify(reference, answer):
    from math_verify.grader import verify

    symbolic.prepare()
    wanted, said = symbolic._parsed(reference), symbolic._parsed(answer)

    decided = symbolic._decided(wanted, said)

    assert decided in (None, verify(wanted, said, timeout_seconds=None))


def test_what_plainly_differs_is_decided_without_simplifying():
    symbolic.prepare()

    assert symbolic._decided(symbolic._parsed(r"2\sqrt{3}+x"), symbolic._parsed(r"2\sqrt{2}+x")) is False
