import queue
import threading
from collections import deque
from typing import Any

import pytest

from tasks.sandbox.modes.conversation import PIECE, Conversation, Gone, send, settle
from tasks.sandbox.modes.values import Remote


class Wire:
    """Puts the pieces of a message together, as the host does."""

    def __init__(self, outgoing: queue.Queue[Any], incoming: queue.Queue[Any]) -> None:
        self.outgoing, self.incoming, self.parts = outgoing, incoming, []

    def send(self, frame):
        self.parts.append(frame["text"])
        if not frame["more"]:
            self.outgoing.put({"kind": frame["kind"], "text": "".join(self.parts)})
            self.parts = []

    def receive(self):
        return self.incoming.get(timeout=5)


class Side(Conversation):
    def _perform(self, what, target, arguments, named):
        return target(*arguments, **named)

    def _kind(self, value):
        return "call" if callable(value) else None

    def _mine(self, key):
        return self._handed[key] if isinstance(key, int) else FUNCTIONS[key]

    def _theirs(self, handle):
        return Called(self, handle[0], handle[2])


class Caller(Side):
    asks, is_asked = "call", "callback"


class Callee(Side):
    asks, is_asked = "callback", "call"


class Called(Remote):
    def __init__(self, side, key, label):
        super().__init__(key, label)
        self.side = side

    def __call__(self, *arguments):
        return self.side.ask("call", self, arguments)


def change(values):
    values[0].append(5)
    values.pop()


def fail(kind, *arguments):
    raise {"ValueError": ValueError, "Own": Own, "SystemExit": SystemExit}[kind](*arguments)


class Own(KeyError):
    pass


FUNCTIONS = {
    "add": lambda a, b=1: a + b,
    "change": change,
    "fail": fail,
    "apply": lambda function, value: function(value),
    "odd": lambda: object(),
    "adder": lambda a: lambda b: a + b,
    "again": lambda function, depth: function(function, depth),
}


@pytest.fixture
def caller():
    to, back = queue.Queue(), queue.Queue()
    callee = Callee(Wire(back, to), {}, trusting=True)

    def serve():
        while (message := to.get()) is not None:
            callee.answer(message["text"])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield Caller(Wire(to, back), {}, trusting=False)
    to.put(None)
    thread.join(5)


def call(caller, name, *arguments, **named):
    return caller.ask("call", Remote(name, name), arguments, named)


def test_a_call_has_its_value(caller):
    assert call(caller, "add", 1) == 2
    assert call(caller, "add", 1, b=[2][0]) == 3


def test_arguments_are_changed_where_they_are(caller):
    inner, outer = [1], None
    outer = [inner, 2]

    call(caller, "change", outer)

    assert outer == [[1, 5]]
    assert outer[0] is inner


@pytest.mark.parametrize("arguments", [(), ("no",), ("no", 5)])
def test_an_exception_is_raised_with_its_arguments(caller, arguments):
    with pytest.raises(ValueError) as raised:
        call(caller, "fail", "ValueError", *arguments)

    assert type(raised.value) is ValueError
    assert raised.value.args == arguments


def test_an_exception_of_the_codes_own_is_one_of_its_nearest_kind(caller):
    with pytest.raises(KeyError) as raised:
        call(caller, "fail", "Own", "no")

    assert type(raised.value).__name__ == "Own"


def test_what_ends_a_process_ends_the_test(caller):
    with pytest.raises(Gone, match="raised SystemExit"):
        call(caller, "fail", "SystemExit")


def test_a_function_may_be_passed_and_called_back(caller):
    assert call(caller, "apply", lambda value: value * 2, 4) == 8


def test_calls_and_callbacks_may_nest(caller):
    def down(function, depth):
        return depth if depth == 0 else call(caller, "again", function, depth - 1)

    assert call(caller, "again", down, 5) == 0


def test_a_function_may_be_returned_and_called(caller):
    assert call(caller, "adder", 1)(2) == 3


def test_a_value_that_cannot_be_carried_is_gone(caller):
    with pytest.raises(Gone, match="gave a value of type object"):
        call(caller, "odd")


def test_a_message_longer_than_a_frame_is_cut():
    frames = []

    class Recorder:
        def send(self, frame):
            frames.append(frame)

    send(Recorder(), "call", "x" * (2 * PIECE + 1))

    assert [(len(frame["text"]), frame["more"]) for frame in frames] == [(PIECE, True), (PIECE, True), (1, False)]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (None, "cannot be told"),
        (["X", "eval", []], "cannot be told"),
        (["X", "nothing", []], "cannot be told"),
        (["X", "int", []], "cannot be told"),
        (["X", "ValueError", [Remote(1, "x")]], "cannot be told"),
        (["X\0", "ValueError", []], "cannot be told"),
        (["X", "KeyboardInterrupt", []], "raised X"),
    ],
)
def test_a_forged_exception_ends_the_test(told, sentence):
    fault = Caller(None, {}, trusting=False)._raised(told)

    assert isinstance(fault, Gone)
    assert sentence in str(fault)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([1, 2], [3]),
        ([], [1, [2]]),
        ({"a": 1}, {"b": 2}),
        ({1, 2}, {3}),
        (deque([1]), deque([2, 3])),
        (bytearray(b"a"), bytearray(b"bc")),
    ],
)
def test_a_container_is_settled_in_place(old, new):
    settled = settle(old, new)

    assert settled is old
    assert old == new


@pytest.mark.parametrize(("old", "new"), [(1, 2), ([1], (1,)), ("a", "b"), ((1,), (2,)), (None, [1])])
def test_what_has_no_place_is_replaced(old, new):
    assert settle(old, new) is new


def test_names_for_inner_containers_see_the_change():
    inner = {"a": [1]}
    deepest = inner["a"]

    settle([inner], [{"a": [2]}])

    assert deepest == [2]
