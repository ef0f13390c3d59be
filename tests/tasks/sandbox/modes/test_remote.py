import pytest

from tasks.sandbox.modes.remote import Class, Function, Iterator, Made, Thing


class Side:
    """Answers every question with what it was told to, and remembers them."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def ask(self, what, target, arguments=(), named=None):
        self.asked.append((what, *arguments))
        return self.answer


def thing(answer=None):
    return Thing(Side(answer), 1, "Foo")


@pytest.mark.parametrize(
    "act",
    [
        lambda it: it == 5,
        lambda it: 5 == it,  # noqa: SIM300
        lambda it: it == thing(),
        lambda it: it in [5],
        lambda it: hash(it),
    ],
)
def test_nothing_is_asked_to_compare(act):
    side = Side(True)
    held = Thing(side, 2, "Foo")

    assert act(held) is not True
    assert side.asked == []


@pytest.mark.parametrize(
    "act", [lambda it: it - 5, lambda it: 5 - it, abs, round, int, lambda it: it < 5, lambda it: -it]
)
def test_an_object_of_the_code_has_no_arithmetic_and_no_order(act):
    side = Side(True)

    with pytest.raises(TypeError):
        act(Thing(side, 2, "Foo"))

    assert side.asked == []


def test_a_member_is_looked_for_here():
    side = Side([1, 2, 3])

    assert 2 in Thing(side, 1, "Foo")
    assert side.asked == [("iterate",)]


def test_a_method_of_an_object_that_the_code_gave_cannot_be_called():
    with pytest.raises(TypeError, match="cannot be called"):
        thing(Function(Side(None), 2, "method")).method("expected")


def test_a_plain_attribute_can_be_read():
    assert thing(3).x == 3


def test_an_object_made_by_the_tests_has_its_methods():
    side = Side(None)
    side.answer = Thing(side, 4, "Stack")
    made = Class(side, "Stack", "Stack")()
    side.answer = Function(side, 5, "push")

    made.push(3)

    assert type(made) is Made
    assert side.asked == [("call",), ("get", "push"), ("call", 3)]


def test_a_class_without_a_capital_letter_is_a_function():
    side = Side(None)
    side.answer = Thing(side, 4, "solve")

    assert type(Class(side, "solve", "solve")()) is Thing


@pytest.mark.parametrize("act", [len, str, repr, bool])
def test_what_python_wants_of_a_certain_type_must_be_of_it(act):
    with pytest.raises(TypeError, match="the code gave a float"):
        act(thing(0.5))


def test_an_iterator_steps_over_there():
    iterator = Iterator(Side(7), 1, "generator")

    assert iter(iterator) is iterator
    assert next(iterator) == 7


def test_an_object_is_of_the_class_of_its_name():
    assert isinstance(thing(), Class(Side(None), "Foo", "Foo"))
    assert not isinstance(thing(), Class(Side(None), "Bar", "Bar"))
