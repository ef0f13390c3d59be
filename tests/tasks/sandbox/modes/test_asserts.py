import pytest

from tasks.sandbox.modes.asserts import _Lacking, _names, _unbound, _verdict
from tasks.sandbox.modes.conversation import Gone
from tasks.sandbox.modes.values import Uncarried


@pytest.mark.parametrize(
    ("test", "wanted"),
    [
        ("assert f(1) == g(2)", {"f", "g"}),
        ("x = f(1)\nassert x", {"f"}),
        ("import math\nassert math.isclose(f(), 1)", {"f"}),
        ("from math import isclose as near\nassert near(f(), 1)", {"f"}),
        ("def g(a, *b, c=1, **d): return a, b, c, d, e\nassert g(f())", {"f", "e"}),
        ("assert [x for x in f() if x > 0] == sorted(f())", {"f"}),
        ("try:\n    f()\nexcept ValueError as fault:\n    assert str(fault)", {"f"}),
        ("class A:\n    pass\nassert f(A())", {"f"}),
        ("assert helper(f())", {"f"}),
        ("assert abs(f()) < 1e-6", {"f"}),
    ],
)
def test_the_code_has_to_define_what_nobody_else_does(test, wanted):
    assert _unbound(_names([test]), {"helper": 1}) == wanted


def from_code(fault):
    fault._from_code = True
    return fault


@pytest.mark.parametrize(
    ("fault", "asked", "kind"),
    [
        (None, 1, "pass"),
        (AssertionError(), 1, "fail"),
        (AssertionError("text"), 0, "fail"),
        (Gone("gave a value of type object"), 1, "code"),
        (from_code(ValueError("x")), 0, "code"),
        (from_code(AssertionError()), 0, "code"),
        (from_code(NameError("x")), 0, "code"),
        (TypeError("x"), 1, "code"),
        (IndexError("x"), 1, "code"),
        (TypeError("x"), 0, "author"),
        (NameError("x", name="typo"), 1, "author"),
        (NameError("x", name="missing"), 0, "code"),
        (ImportError("x"), 1, "author"),
        (NameError("x", name="bound_by_a_test"), 1, "code"),
        (NameError("x", name="bound_by_a_test"), 0, "author"),
        (MemoryError(), 1, "code"),
        (MemoryError(), 0, "author"),
        (SyntaxError("of a text that the code gave"), 1, "code"),
        (Uncarried("a value that nests too deep"), 1, "code"),
        (Uncarried("a value of type object"), 0, "author"),
        (SystemExit(1), 1, "code"),
        (SystemExit(0), 0, "author"),
        (KeyboardInterrupt(), 1, "code"),
    ],
)
def test_the_fault_decides_the_verdict(fault, asked, kind):
    lacking = _Lacking(frozenset({"missing"}), frozenset({"missing", "typo"}))

    assert _verdict(fault, "", asked, lacking)[0] == kind
