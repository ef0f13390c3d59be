import re
from time import perf_counter

import pytest

from tasks.errors import Invalid
from tasks.graders import fences, registry
from tasks.sandbox import pool, programs
from tasks.sandbox.programs import CodeFault, SandboxFault
from tasks.sandbox.protocol import Lost, Unavailable
from tasks.sandbox.session import Session
from tasks.types import Outcome

SECRET = 918273645  # expected by the tests, computed by nobody
BENIGN = "def f(x):\n    return x + 1\n"


SEARCH = """
import gc, os, sys
def everything():
    seen = [repr(dict(os.environ)), repr(sys.argv)]
    for frame in sys._current_frames().values():
        while frame:
            seen.append(repr(frame.f_locals) + repr(frame.f_code.co_consts))
            frame = frame.f_back
    for thing in gc.get_objects():
        if isinstance(thing, (dict, list, tuple)):
            seen.append(repr(thing))
    try:
        os.set_blocking(3, False)
        seen.append(os.read(3, 1 << 20).decode('latin-1'))
    except OSError:
        pass
    os.set_blocking(3, True)
    for folder, _, names in os.walk(os.environ['TMPDIR']):
        seen += [open(os.path.join(folder, name), errors='replace').read() for name in names]
    for path in ('/proc/self/environ', '/proc/self/mem', '/proc/1/environ', '/dev/fd/0'):
        try:
            seen.append(open(path, errors='replace').read(10**6))
        except OSError:
            pass
    return seen
def f(x=1):
    half = '91827'
    found = [text for text in everything() if half + '3645' in text]
    return int(half + '3645') if found else 'nothing'
"""


def functions(code, *asserts, item=None, **fields):
    """Assertions against functions."""
    config = {"type": "code", "tests": list(asserts), "seconds": 2, **fields}
    return registry.grade(config, code, item or {})


def program(code, *cases, **fields):
    """Inputs and outputs of a program."""
    tests = [{"input": given, "output": wanted} for given, wanted in cases]
    return registry.grade({"type": "code", "tests": "{{ item.tests }}", "seconds": 2, **fields}, code, {"tests": tests})


def the_next_grade_is_right():
    return functions(BENIGN, "assert f(1) == 2").correct and program("print(input())", ("a\n", "a\n")).correct


# Programs


def test_a_program_is_right_when_every_output_is():
    found = program("a, b = map(int, input().split())\nprint(a + b)", ("1 2\n", "3\n"), ("10 20", "30"))

    assert (found.outcome, found.score, found.errors) == (Outcome.CORRECT, 1, ())
    assert found.sub_scores == {"test 1": 1, "test 2": 1}
    assert found.reason == "All 2 tests pass."


def test_the_score_is_the_share_of_outputs_that_are_right():
    found = program("print(int(input()) % 3)", ("1", "1"), ("2", "2"), ("3", "3"), ("4", "4"))

    assert (found.outcome, found.score) == (Outcome.INCORRECT, 0.5)
    assert found.sub_scores == {"test 1": 1, "test 2": 1, "test 3": 0, "test 4": 0}
    assert found.reason == "2 of 4 tests pass. Test 3: Expected '3' in line 1, read '0'."


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nfor line in sys.stdin: print(line.strip())",
        "import sys\nsys.stdout.write(sys.stdin.read())",
        "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())",
        "print(open(0).read())",
        "while True:\n    try:\n        print(input())\n    except EOFError:\n        break",
        "if __name__ == '__main__':\n    print(input())\n    print(input())",
        "import os\nprint('a\\nb', flush=True)\nos._exit(0)",
        "import sys\nprint('a')\nprint('b')\nsys.exit()",
        "import atexit\natexit.register(lambda: print('a\\nb'))",
        "import threading\nthreading.Thread(target=lambda: print('a\\nb')).start()",
        "import sys\nsys.setrecursionlimit(10**6)\nprint(input(), input(), sep='\\n')",
        "import sys\nprint('noise', file=sys.stderr)\nprint('a\\nb')",
    ],
)
def test_a_program_reads_and_writes_as_programs_do(code):
    found = program(code, ("a\nb\n", "a\nb\n"))

    assert found.correct, found.reason


def test_a_large_input_arrives_whole():
    found = program("import sys\nprint(len(sys.stdin.read()))", ("x" * 3_000_000, "3000000"))

    assert found.correct, found.reason


def test_a_large_input_may_be_left_unread():
    assert program("print(1)", ("x" * 3_000_000, "1")).correct


def test_letters_of_every_kind_go_in_and_out():
    assert program("print(input()[::-1])", ("Zürich 漢字 🎉", "🎉 字漢 hcirüZ")).correct


def test_no_state_passes_from_one_test_to_the_next():
    code = "import os\nx = os.environ['TMPDIR'] + '/x'\nprint(os.path.exists(x))\nopen(x, 'w').write('1')"

    assert program(code, ("", "False"), ("", "False")).correct


def test_tokens_and_a_tolerance_can_be_asked_for():
    fields = {"compare": "tokens", "tolerance": 1e-3}

    assert program("print(1 / 3, 2)", ("", "0.333\n2"), **fields).correct
    assert not program("print(1 / 3, 2)", ("", "0.4\n2"), **fields).correct


@pytest.mark.parametrize(
    ("code", "flag", "reason"),
    [
        ("1 / 0", "code_error", "The code raised ZeroDivisionError: division by zero (line 1)."),
        ("print(1)\nexit(3)", "code_error", "The code ended with status 3."),
        ("print(1)\nraise SystemExit('bye')", "code_error", "The code ended with status 1."),
        ("print(1)\nraise KeyboardInterrupt", "code_error", "The code raised KeyboardInterrupt (line 2)."),
        ("This is how I would do it:", "code_error", "SyntaxError"),
        ("print('x' * 3_000_000)", "code_output", "It printed more than"),
        ("while True: print('x' * 1000)", "code_output", "It printed more than"),
        ("while True: pass", "code_timeout", "within"),
        ("import time\ntime.sleep(100)", "code_timeout", "within"),
        ("import signal\nsignal.pthread_sigmask(0, range(1, 65))\nwhile 1: pass", "code_timeout", "within"),
        ("import os\nprint(1, flush=True)\nos.abort()", "code_killed", "ended"),
        ("import ctypes\nctypes.string_at(0)", "code_killed", "ended"),
        ("x = bytearray(3 << 30)", "code_memory", "memory"),
        ("import os\nos._exit(77)", "code_memory", "memory"),
        ("import os\nos._exit(78)", "code_killed", "ended"),
    ],
)
def test_a_program_that_comes_to_no_good_end_is_wrong(code, flag, reason):
    found = program(code, ("", "1"), seconds=0.7)

    assert (found.outcome, found.score, found.errors) == (Outcome.INCORRECT, 0, (flag,))
    assert reason in found.reason
    assert the_next_grade_is_right()


def test_programs_stop_being_run_when_the_time_of_all_is_used_up():
    started = perf_counter()
    found = program("while True: pass", *[("", "1")] * 50, seconds=0.5, total_seconds=1)

    assert found.errors == ("code_timeout",)
    assert found.reason.startswith("0 of 50 tests pass.")
    assert perf_counter() - started < 10


@pytest.mark.parametrize(
    "code",
    [
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError: pass",
        "import threading, time\nfor _ in range(10_000): threading.Thread(target=time.sleep, args=(9,)).start()",
        "import os, signal\nos.kill(-1, signal.SIGKILL)",
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
        "import os, shutil\nshutil.rmtree('/', ignore_errors=True)",
        "import os\nif os.fork() == 0:\n    os.setsid()\n    while True: pass",
        "import os\nfor n in range(3, 256):\n    try: os.write(n, b'\\0\\0\\0\\1' * 1000)\n    except OSError: pass",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nx = bytearray(3 << 30)",
    ],
)
def test_a_hostile_program_harms_nobody(code):
    found = program(code, ("", "1"), seconds=0.7)

    assert (found.outcome, found.score) == (Outcome.INCORRECT, 0)
    assert the_next_grade_is_right()


def test_expected_output_is_nowhere_in_the_programs_process():
    found = program(f"{SEARCH}\nprint(f(1))", ("", str(SECRET)), seconds=20)

    assert not found.correct
    assert "read 'nothing'" in found.reason


# Functions


def test_functions_are_right_when_every_assertion_holds():
    found = functions(BENIGN, "assert f(1) == 2", "assert f(-1) == 0")

    assert (found.outcome, found.score, found.sub_scores) == (Outcome.CORRECT, 1, {"test 1": 1, "test 2": 1})


def test_the_score_is_the_share_of_assertions_that_hold():
    found = functions(BENIGN, "assert f(1) == 2", "assert f(1) == 3", "assert f('a')", "assert f(0) == 1")

    assert (found.outcome, found.score, found.errors) == (Outcome.INCORRECT, 0.5, ("code_error",))
    assert found.reason == "2 of 4 tests pass. Test 2: AssertionError (line 1: assert f(1) == 3)"


def test_a_test_program_checks_a_candidate():
    tests = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 3\n"

    assert functions(BENIGN, item={"t": tests}, tests="{{ item.t }}", entry_point="f").correct
    assert not functions("def f(x): return 2", item={"t": tests}, tests="{{ item.t }}", entry_point="f").correct


STACK = """
class Stack:
    def __init__(self): self.items = []
    def push(self, item): self.items.append(item)
    def pop(self): return self.items.pop()
"""


@pytest.mark.parametrize(
    ("code", "test"),
    [
        ("def f(x): x.sort()", "x = [3, 1, 2]\nf(x)\nassert x == [1, 2, 3]"),
        ("def f(x): x[0][0] = 9", "x = [[1], [2]]\nrow = x[0]\nf(x)\nassert row == [9]"),
        ("def f(x): x.update(b=2); del x['a']", "x = {'a': 1}\nf(x)\nassert x == {'b': 2}"),
        ("def f(x): return x", "assert f({(1, 2): {3}, None: 1.5}) == {(1, 2): {3}, None: 1.5}"),
        ("def f(x): return x", "assert f(10 ** 6000) == 10 ** 6000"),
        ("def f(x): return x", "assert str(f(float('nan'))) == 'nan'"),
        ("def f(*a, **k): return a, k", "assert f(1, *[2], b=3) == ((1, 2), {'b': 3})"),
        ("def f(g, x): return [g(i) for i in x]", "assert f(lambda i: i * 2, [1, 2]) == [2, 4]"),
        ("def f(x): return sorted(x, key=len)", "assert f(['bb', 'a']) == ['a', 'bb']"),
        ("def f(k, x): return sorted(x, key=k)", "assert f(len, ['bb', 'a']) == ['a', 'bb']"),
        ("def f(n):\n    for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2]"),
        ("def f(n):\n    while True: yield n", "it = f(2)\nassert next(it) + next(it) == 4"),
        ("def f(x): return lambda y: x + y", "assert f(1)(2) == 3"),
        ("def f(x): return sum(x)", "assert f(iter([1, 2])) == 3"),
        ("def f(x): return map(str, x)", "assert list(f([1])) == ['1']"),
        ("def f(x): raise ValueError('no')", "try:\n    f(1)\nexcept ValueError as e:\n    assert str(e) == 'no'"),
        ("class B(KeyError): pass\ndef f(x): raise B", "try:\n    f(1)\n    assert False\nexcept LookupError: pass"),
        (STACK, "s = Stack()\ns.push(3)\nassert s.pop() == 3\nassert s.items == []"),
        (STACK, "s = Stack()\ntry:\n    s.pop()\n    assert False\nexcept IndexError: pass"),
        ("class Solution:\n    def two(self, x): return x * 2", "assert Solution().two(4) == 8"),
        ("LIMIT = 5", "assert LIMIT == 5"),
        ("f = lambda x: x", "assert f(1) == 1"),
        ("async def g(): return 5\nimport asyncio\ndef f(): return asyncio.run(g())", "assert f() == 5"),
        ("import numpy as np\ndef f(x): return np.sum(x)", "assert f([1, 2]) == 3"),
        ("import sys\nsys.stdout.buffer.write(b'x')\ndef f(): return print('x' * 10**7)", "assert f() is None"),
        ("class P:\n    def __init__(self): self.x = 3\ndef f(): return P()", "assert f().x == 3"),
        ("import typing\nclass P(typing.NamedTuple):\n    x: int\ndef f(): return P(1)", "assert f() == (1,)"),
    ],
)  # fmt: skip
def test_calls_are_as_good_as_calls_in_one_process(code, test):
    found = functions(code, test)

    assert found.correct, found.reason


LIST = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next
def of(values):
    head = None
    for value in reversed(values):
        head = ListNode(value, head)
    return head
def to(head):
    return [head.val, *to(head.next)] if head else []
"""


def test_objects_of_the_authors_classes_travel():
    code = """
def turn(head):
    back = None
    while head:
        head.next, back, head = back, head, head.next
    return back
"""

    found = functions(code, "assert to(turn(of([1, 2, 3]))) == [3, 2, 1]", setup=LIST)

    assert found.correct, found.reason


def test_an_object_changed_in_place_is_the_same_object():
    code = "def up(node): node.val += 1; return node"

    found = functions(code, "node = of([1])\nassert up(node) is node\nassert node.val == 2", setup=LIST)

    assert found.correct, found.reason


def test_the_class_of_the_prompt_may_be_written_again_in_the_reply():
    code = f"{LIST}\ndef first(head):\n    assert isinstance(head, ListNode)\n    return ListNode(head.val)"

    assert functions(code, "assert to(first(of([7, 8]))) == [7]", setup=LIST).correct


@pytest.mark.parametrize(
    ("code", "flag", "reason"),
    [
        ("def g(x): return x", "code_error", "does not define"),
        ("f = 5", "code_error", "does not define a function 'f'"),
        ("def f(x) return x", "code_error", "cannot be loaded: SyntaxError"),
        ("import nothing_here\n" + BENIGN, "code_error", "ModuleNotFoundError"),
        ("raise SystemExit", "code_error", "SystemExit"),
        ("import os; os._exit(0)", "code_killed", "ended"),
        ("while True: pass", "code_timeout", "within"),
        ("x = bytearray(3 << 30)", "code_memory", "memory"),
        ("def f(x):\n    while True: pass", "code_timeout", "within"),
        ("import time\ndef f(x): time.sleep(50)", "code_timeout", "within"),
        ("import os\ndef f(x): os._exit(0)", "code_killed", "ended"),
        ("import sys\ndef f(x): sys.exit(0)", "code_error", "raised SystemExit"),
        ("def f(x): raise KeyboardInterrupt", "code_error", "raised KeyboardInterrupt"),
        ("def f(x): raise AssertionError('pass')", "code_error", "raised AssertionError"),
        ("def f(x): return f(x)", "code_error", "RecursionError"),
        ("def f(x):\n    y = []\n    y.append(y)\n    return y", "code_error", "gave a value that nests"),
        ("def f(x):\n    y = []\n    for _ in range(10**5): y = [y]\n    return y", "code_error", "value that nests"),
        ("def f(x): return 'x' * 10**7", "code_error", "gave a value larger than"),
        ("def f(x): return range(10**12)", "code_error", "means nothing"),
        ("def f(x): return 10 ** 10 ** 9", "code_timeout", "within"),
        ("def f(x): return None", "", "AssertionError"),
        ("def f(x): return float('nan')", "", "AssertionError"),
        ("class O(list):\n    def __iter__(self):\n        while 1: yield 1\ndef f(x): return O()", "code_timeout", ""),
        ("def f(x): return [1] * 10**9", "code_error", "raised MemoryError"),
        ("import gc\ndef f(x):\n    [o.clear() for o in gc.get_objects() if isinstance(o, dict)]\n", "", ""),
    ],
)  # fmt: skip
def test_what_the_code_does_wrong_is_the_codes_fault(code, flag, reason):
    found = functions(code, "assert f(1) == 2", entry_point="f", seconds=0.7)

    assert (found.outcome, found.score) == (Outcome.INCORRECT, 0)
    assert not flag or found.errors == (flag,)
    assert reason in found.reason
    assert the_next_grade_is_right()


def test_a_test_that_kills_the_code_leaves_the_others_their_chance():
    code = "import os\ndef f(x):\n    if x == 1: os._exit(0)\n    if x == 2:\n        while True: pass\n    return x"

    found = functions(code, *(f"assert f({n}) == {n}" for n in range(5)), seconds=0.5)

    assert found.sub_scores == {"test 1": 1, "test 2": 0, "test 3": 0, "test 4": 1, "test 5": 1}
    assert found.errors == ("code_killed", "code_timeout")


@pytest.mark.parametrize(
    "tests",
    [
        ["assert f(1) == 2", "assert f(:"],
        ["assert undefined_name(f(1)) == 2"],
        ["import nothing_here"],
        ["raise ValueError('mine')"],
        ["assert [][1] == f(1)"],
        ["import os; os._exit(0)"],
        ["x = bytearray(3 << 30)\nassert f(1)"],
        ["raise SystemExit"],
        ["assert f(object()) == 2"],
    ],
)
def test_what_the_tests_do_wrong_is_their_authors_fault(tests):
    found = functions(BENIGN, *tests, entry_point="f")

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("tests_error",))
    assert found.reason.startswith("The tests do not work: ")
    assert the_next_grade_is_right()


def test_tests_that_run_for_ever_are_their_authors_fault(monkeypatch):
    monkeypatch.setattr(programs, "START_SECONDS", 0.5)

    found = functions(BENIGN, "while True: pass", seconds=0.5)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("tests_error",))


@pytest.mark.parametrize("setup", ["def broken(:", "1 / 0", "import nothing_here"])
def test_a_setup_that_does_not_work_is_its_authors_fault(setup):
    found = functions(BENIGN, "assert f(1) == 2", setup=setup)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("tests_error",))


NODE = "class Node:\n    def __init__(self, v): self.v = v\n    def right(self): return self.v == 5"


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("def f(x): return 10**18 + 9", ["n = f(1)\nassert all(n % d for d in range(2, n))"]),
        ("def f(x): return 10**12", ["assert 'a' * f(1) == 'a'"]),
        ("def f(x): return 10**9", ["assert list(range(f(1))) == [0]"]),
        ("def f(x):\n    r = []\n    for _ in range(99): r = [r]\n    return r", ["assert f([f(1)]) == 'a'"]),
        ("def f(x): return 'a' * 7_999_950", ["assert f(f(1)) == 'a'"]),
        ("def f(x): raise ValueError", ["r = f(1)", "assert r == 2"]),
        ("def f(x): return None", ["r = f(1)", "assert r[0] == 2"]),
        ("def f(x): return 0", ["import sys\nif f(1) != 2: sys.exit(1)"]),
        ("def f(x): return '('", ["assert eval(f(1)) == 2"]),
        ("def f(x): return 'nothing_here'", ["assert eval(f(1)) == 2"]),
        ("def f(x): return \"__import__('nothing_here')\"", ["assert eval(f(1)) == 2"]),
        ("def f(x): return 'import os; os._exit(9)'", ["assert exec(f(1)) == 2"]),
        ("import os, time\ntime.sleep(0.4)\ndef f(x): os._exit(3)", ["assert f(1) == 2"] * 9),
        ("\n".join(f"{'n' * 150}{n} = 1" for n in range(50_000)) + BENIGN, ["assert f(1) == 3"]),
    ],
)
def test_no_code_can_choose_to_be_ungradable_where_it_would_be_wrong(code, tests, monkeypatch):
    monkeypatch.setattr(programs, "START_SECONDS", 1.5)

    found = functions(code, *tests, seconds=1, total_seconds=3, memory_mb=256)

    assert found.outcome is Outcome.INCORRECT, found.reason
    assert the_next_grade_is_right()


def test_a_hostile_change_of_an_argument_is_the_codes_fault():
    code = """
import numpy
from tasks.sandbox.modes.conversation import Packing
text = Packing.text
Packing.text = lambda self, how, result, changed: text(self, how, 1, [numpy.array(["a", "b"]), {}])
def f(x): return 1
"""
    found = functions(code, "import numpy\na = numpy.array([1, 2])\nassert f(a) == 1", seconds=10)

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("code_error",)), found.reason


def test_no_method_of_the_author_is_answered_by_the_code():
    code = "def f(x):\n    node = Node(3)\n    node.right = lambda: True\n    return node"

    assert not functions(code, "assert f(1).right()", setup=NODE).correct


def test_a_function_named_like_one_of_pythons_is_the_one_that_is_tested():
    tests = ["assert sum([1, 2]) == 3"]

    assert functions("def sum(numbers):\n    return numbers[0] + numbers[1]", *tests, entry_point="sum").correct
    assert not functions("def sum(numbers): return 0", *tests, entry_point="sum").correct


def test_a_check_keeps_pythons_own_functions_whatever_the_candidate_is_called():
    check = "def check(candidate):\n    assert abs(candidate(-3) - 3) < 1e-6"

    assert not functions("def abs(x): return 0", check, entry_point="abs").correct


def test_frames_that_never_end_an_answer_do_not_outlast_the_deadline():
    code = """
import gc, json, os, time
from tasks.sandbox.channel import Channel
def f(x):
    channel = next(o for o in gc.get_objects() if isinstance(o, Channel))
    raw = json.dumps({"kind": "answer", "text": "", "more": True}).encode()
    frames = (len(raw).to_bytes(4, "big") + channel._nonce + raw) * 500
    until = time.monotonic() + 8
    while time.monotonic() < until: os.write(3, frames)
"""
    started = perf_counter()

    found = functions(code, "assert f(1) == 2", seconds=1)

    assert found.errors == ("code_timeout",)
    assert perf_counter() - started < 6


@pytest.mark.parametrize("kind", ["program", "functions"])
def test_a_worker_that_is_lost_is_not_the_codes_fault(kind, monkeypatch):
    lost = Lost("died", "The worker had ended.", ours=True)
    monkeypatch.setattr(Session, "finish" if kind == "program" else "receive", _raises(lost))

    found = program("print(1)", ("", "1")) if kind == "program" else functions(BENIGN, "assert f(1) == 2")

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("sandbox_error",))


def _raises(fault):
    def raising(*_):
        raise fault

    return raising


YES = """
class Yes:
    def __getattr__(self, name): return lambda *a, **k: True
    __eq__ = __ne__ = __lt__ = __gt__ = __le__ = __ge__ = __contains__ = __bool__ = lambda *a: True
    __sub__ = __rsub__ = __add__ = __abs__ = __round__ = __mod__ = lambda *a: 0
    __hash__ = lambda self: 0
"""


@pytest.mark.parametrize(
    "code",
    [
        f"{YES}\ndef f(x): return Yes()",
        f"{YES}\ndef f(x): return [Yes()] * 3",
        f"{YES}\nclass f(Yes):\n    def __init__(self, x): pass",
        f"{YES}\ndef f(x): return Yes",
        "class Same(int):\n    __eq__ = lambda *a: True\n    __hash__ = int.__hash__\ndef f(x): return Same(0)",
        "class Same(list):\n    __eq__ = lambda *a: True\ndef f(x): return Same()",
        "class Same(str):\n    __eq__ = startswith = lambda *a: True\n    __hash__ = None\ndef f(x): return Same()",
        "import builtins\nbuiltins.AssertionError = ZeroDivisionError\nbuiltins.abs = lambda x: 0\ndef f(x): return 0",
        "def abs(x): return 0\ndef f(x): return 0",
        "def check(candidate): pass\ncandidate = None\ndef f(x): return 0",
        "import sys\nsys.modules['json'].dumps = lambda *a, **k: '{}'\ndef f(x): return 0",
        "__import__ = lambda *a: None\ndef f(x): return 0",
        "def f(x):\n    raise SystemExit(0)",
        "import os\ndef f(x): os._exit(0)",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "test",
    [
        f"assert f(1) == {SECRET}",
        f"assert not f(1) != {SECRET}",
        f"assert {SECRET} in f(1)",
        f"assert abs(f(1) - {SECRET}) < 1e-6",
        f"assert f(1).startswith('{SECRET}')",
        f"assert [f(1)] == [{SECRET}]",
        f"assert f(1) in [{SECRET}]",
        f"assert round(f(1), 2) == {SECRET}",
        f"assert isinstance(f(1), int) and f(1) > {SECRET}",
    ],
)
def test_no_object_of_the_code_says_yes_to_a_test(code, test):
    found = functions(code, test, entry_point="f")

    assert (found.outcome, found.score) == (Outcome.INCORRECT, 0), found.reason


FORGER = """
import os, sys, json, struct, gc, threading
def channels():
    from tasks.sandbox.channel import Channel
    return [thing for thing in gc.get_objects() if isinstance(thing, Channel)]
def say(message):
    for channel in channels():
        channel.send(message)
"""


@pytest.mark.parametrize(
    "act",
    [
        "say({'kind': 'pass', 'text': '', 'more': False})",
        "say({'kind': 'done', 'text': '', 'more': False})",
        "say({'kind': 'verdict', 'ok': True})",
        "say({'kind': 'answer', 'text': '{\"values\": [\"value\", 1, null], \"objects\": []}', 'more': False})",
        "[say({'kind': 'callback', 'text': 'x', 'more': False}) for _ in range(1000)]",
        "[say({'kind': 'answer', 'text': 'x' * 60000, 'more': True}) for _ in range(1000)]",
        "say({'kind': 5})",
        "say({})",
        "os.write(3, b'\\xff' * 100)",
        "os.write(3, struct.pack('>I', 5) + b'x' * 16 + b'{\"a\":')",
        "os.close(3)",
        "threading.Thread(target=lambda: os.read(3, 10**6), daemon=True).start()",
        "os.dup2(1, 3)",
    ],
)
def test_a_forged_frame_passes_no_test(act):
    code = f"{FORGER}\ndef f(x):\n    {act}\n    return 0"

    found = functions(code, f"assert f(1) == {SECRET}", f"assert f(2) == {SECRET}", seconds=0.7)

    assert (found.outcome, found.score) == (Outcome.INCORRECT, 0), found.reason
    assert the_next_grade_is_right()


def test_what_is_expected_is_nowhere_in_the_codes_process():
    found = functions(SEARCH, f"assert f(1) == {SECRET}", "assert f(1) == 'nothing'", seconds=20)

    assert found.sub_scores == {"test 1": 0, "test 2": 1}, found.reason


def test_a_callback_leads_to_nothing_else_of_the_tests():
    code = """
def f(g):
    try:
        return [g.__globals__, g.__code__.co_consts]
    except AttributeError:
        return 'nothing'
"""
    found = functions(code, f"secret = {SECRET}\nassert f(lambda: {SECRET}) == 'nothing'")

    assert found.correct, found.reason


def test_one_candidate_cannot_change_the_tests_of_the_next():
    hostile = "import builtins, json\nbuiltins.len = lambda x: 1 / 0\njson.loads = None\ndef f(x): return 2"

    found = registry.grade_many(
        {"type": "code", "tests": ["assert f(1) == 2"]}, [(code, {}) for code in [hostile, BENIGN, hostile, BENIGN]]
    )

    assert [grade.correct for grade in found[1::2]] == [True, True]


def test_many_replies_keep_their_order():
    replies = [(f"def f(x): return {number}", {"want": number % 7}) for number in range(40)]

    found = registry.grade_many({"type": "code", "tests": ["assert f(0) < 7"]}, replies)

    assert [grade.correct for grade in found] == [number < 7 for number in range(40)]


# Replies, prefixes, solutions

PREFIX = '''
import math

def helper(x):
    return x + 1

def f(x):
    """Adds one.

    >>> f(1)
    2
    """
'''
FILL = {"prefix": PREFIX, "entry_point": "f"}


@pytest.mark.parametrize(
    "reply",
    [
        "    return helper(x)\n",
        "return helper(x)",
        "y = helper(x)\n    return y",
        "y = helper(x)\nreturn y",
        "def f(x):\n    return helper(x)",
        "```python\ndef f(x):\n    return math.floor(helper(x))\n```",
        "f = helper",
        "from math import floor\ndef f(x): return x + 1",
        f"{PREFIX}    return x + 1",
    ],
)
def test_a_prefix_is_continued_or_replaced(reply):
    found = functions(reply, "assert f(1) == 2\nassert helper(1) == 2", **FILL)

    assert found.correct, found.reason


@pytest.mark.parametrize("reply", ["", " \n", "```python\n```", "<think>def f(x): return x + 1</think>"])
def test_a_reply_without_code_is_wrong(reply):
    found = functions(reply, "assert f(1) == 2", **FILL)

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("sample_parse_error",))


@pytest.mark.parametrize("reply", [PREFIX, "the answer is correct", "    pass", "def f(x):", "    return None"])
def test_a_reply_that_does_nothing_is_wrong(reply):
    found = functions(reply, "assert f(1) == 2", **FILL)

    assert (found.outcome, found.score) == (Outcome.INCORRECT, 0)


def test_prose_around_bare_code_does_not_compile():
    found = functions(f"Here is the code:\n{BENIGN}", "assert f(1) == 2")

    assert found.errors == ("code_error",)


def test_code_that_is_too_long_is_not_run():
    found = functions("#" * 300_000, "assert f(1) == 2")

    assert found.errors == ("sample_parse_error",)


@pytest.mark.parametrize("solution", ["    return x + 1\n", "def f(x):\n    return x + 1"])
def test_the_solution_of_the_item_is_the_gold(solution):
    config = {"type": "code", "tests": ["assert f(1) == 2"], "solution": "{{ item.solution }}", **FILL}
    gold = registry.gold(config, {"solution": solution})

    assert gold is not None
    assert registry.grade(config, gold, {}).correct


@pytest.mark.parametrize("item", [{}, {"solution": ""}])
def test_an_item_without_a_solution_has_no_gold(item):
    config = {"type": "code", "tests": ["assert f(1) == 2"], "solution": "{{ item.solution }}"}

    assert registry.gold(config, item) is None


def test_only_the_solution_itself_coincides_with_it():
    config = registry.parse({"type": "code", "tests": ["assert f(1) == 2"], "solution": "{{ item.solution }}"})
    coincides = registry.module_of(config).coincides

    assert coincides(config, {"solution": BENIGN}, fences.fenced(BENIGN))
    assert not coincides(config, {"solution": BENIGN}, "def f(x): return 1 + x")
    assert not coincides(config, {}, BENIGN)


# Configurations and items


MIXED = [{"input": "", "output": ""}, "assert True"]


@pytest.mark.parametrize(
    "tests", [None, [], "", [""], ["assert f(1)", 5], {"a": 1}, [{"input": "1"}], [[]], ["x"] * 1001, MIXED]
)
def test_an_item_whose_tests_cannot_be_read_is_ungradable(tests):
    found = registry.grade({"type": "code"}, BENIGN, {"tests": tests})

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_tests",))


def test_a_kind_takes_its_own_tests_only():
    cases = [{"input": "", "output": ""}]

    assert registry.grade({"type": "code", "kind": "assert"}, BENIGN, {"tests": cases}).errors == ("bad_tests",)
    assert registry.grade({"type": "code", "kind": "stdin"}, BENIGN, {"tests": ["assert 1"]}).errors == ("bad_tests",)


def test_cases_may_be_a_text_of_json():
    item = {"tests": '{"inputs": ["1"], "outputs": ["1"]}'}

    assert registry.grade({"type": "code"}, "print(input())", item).correct


def test_a_missing_test_is_the_authors_fault():
    assert registry.grade({"type": "code"}, BENIGN, {}).errors == ("invalid_variable_error",)


def test_an_entry_point_that_is_no_name_is_refused():
    assert functions(BENIGN, "assert f(1) == 2", entry_point="f(").errors == ("bad_tests",)


@pytest.mark.parametrize(
    "fields",
    [
        {"seconds": 0},
        {"seconds": float("nan")},
        {"seconds": 20, "total_seconds": 10},
        {"total_seconds": 121},
        {"memory_mb": 1},
        {"memory_mb": 4096},
        {"tolerance": -1},
        {"tolerance": 0.1},
        {"compare": "json"},
        {"kind": "pytest"},
        {"tests": []},
        {"tests": [5]},
        {"solution": "{{ item.x | y }}"},
    ],
)
def test_a_configuration_that_cannot_be_right_is_refused(fields):
    with pytest.raises(Invalid) as refused:
        registry.parse({"type": "code", **fields})

    assert refused.value.code == "bad_grader"


# Whose fault it is where nothing can be run


def test_without_a_sandbox_it_is_refused_in_a_sentence(monkeypatch):
    def none(*_, **__):
        raise Unavailable("Nothing holds here.")

    monkeypatch.setattr(pool, "shared", none)

    found = [functions(BENIGN, "assert f(1) == 2"), program("print(1)", ("", "1"))]

    assert {(grade.outcome, grade.errors, grade.reason) for grade in found} == {
        (Outcome.UNGRADABLE, ("sandbox_unavailable",), "Nothing holds here.")
    }


def test_a_sandbox_that_ends_everything_is_our_fault(monkeypatch):
    monkeypatch.setattr(programs, "sound", lambda: False)

    found = program("import os; os.abort()", ("", "1"))

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("sandbox_error",))
    assert re.match("The sandbox does not work at the moment: ", found.reason)
    assert not issubclass(SandboxFault, CodeFault)
