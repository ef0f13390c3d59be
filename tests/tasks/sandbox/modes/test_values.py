import enum
import json
import math
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy
import pytest

from tasks.sandbox.modes.values import Border, Packing, Remote, Uncarried, Unpacking


class Node:
    def __init__(self, value, following=None):
        self.value = value
        self.following = following


@dataclass(frozen=True)
class Point:
    x: int
    y: int


class Slotted:
    __slots__ = ("left", "right")


class Colour(enum.Enum):
    RED = 1


AUTHORED = {kind.__name__: kind for kind in (Node, Point, Slotted, Colour)}


def border(trusting=False, handed=()):
    def export(value):
        if not callable(value):
            raise Uncarried(f"a value of type {type(value).__name__}")
        return 7, "call", "f"

    return Border(
        AUTHORED, export, lambda key: dict(handed)[key], lambda handle: Remote(handle[0], handle[2]), trusting
    )


def carried(*values):
    return Unpacking(border()).values(Packing(border()).text(*values))


def unpacked(form, objects=()):
    return Unpacking(border()).values(json.dumps({"values": [form], "objects": list(objects)}))[0]


PLAIN = [
    None,
    True,
    0,
    -5,
    2**63,
    -(10**5000),
    0.1,
    -0.0,
    1e308,
    float("inf"),
    "",
    "Zürich\0\ud800",
    b"\0\xff",
    bytearray(b"ab"),
    [],
    [1, [2, []]],
    (),
    (1, (2,)),
    {},
    {"a": 1, 2: [3], (1, 2): None, None: {}, 1.5: "x"},
    set(),
    {1, "a", (2, 3)},
    frozenset({1, 2}),
    {frozenset({1}): {2}},
    1 + 2j,
    range(1, 10, 2),
    Decimal("1.10"),
    Fraction(1, 3),
    date(2024, 2, 29),
    time(1, 2, 3, 4),
    datetime(2024, 1, 2, 3, 4, 5, 6),
    datetime(2024, 1, 2, tzinfo=UTC),
    timedelta(days=-1, microseconds=5),
    Counter("abca"),
    OrderedDict([("b", 1), ("a", 2)]),
    deque([1, 2], maxlen=3),
    int,
    type(None),
    Colour.RED,
    Point(1, 2),
    Point,
]


@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_plain_data_arrives_as_it_left(value):
    (found,) = carried(value)

    assert found == value
    assert type(found) is type(value)


def test_a_nan_arrives_as_one():
    assert math.isnan(carried(float("nan"))[0])


def test_a_defaultdict_keeps_its_items():
    assert carried(defaultdict(list, {"a": [1]})) == [{"a": [1]}]


def test_a_namedtuple_is_a_tuple_with_names():
    (found,) = carried(namedtuple("Pair", "left right")(1, 2))

    assert found == (1, 2)
    assert found.right == 2


@pytest.mark.parametrize("value", [numpy.int64(3), numpy.float32(0.5), numpy.bool_(True)])
def test_a_number_of_numpys_is_a_number(value):
    (found,) = carried(value)

    assert found == value
    assert type(found) in (int, float, bool)


def test_an_array_of_numpys_stays_one():
    (found,) = carried(numpy.array([[1, 2], [3, 4]], dtype="int32"))

    assert found.dtype == numpy.int32
    assert found.tolist() == [[1, 2], [3, 4]]


class Equal(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class EqualList(list):
    __eq__ = Equal.__eq__
    __hash__ = None


class EqualText(str):
    __eq__ = Equal.__eq__
    __hash__ = str.__hash__


@pytest.mark.parametrize(("value", "kind"), [(Equal(3), int), (EqualList([1]), list), (EqualText("a"), str)])
def test_an_overridden_equality_stays_behind(value, kind):
    (found,) = carried(value)

    assert type(found) is kind
    assert found != 4


def test_a_list_of_ten_thousand_nodes_keeps_its_shape():
    first = None
    for number in range(10_000):
        first = Node(number, first)

    (found,) = carried(first)

    assert type(found) is Node
    assert [found.value, found.following.value] == [9999, 9998]


def test_a_cycle_and_a_shared_object_stay_so():
    node = Node(1)
    node.following = node

    one, other = carried(node, [node])

    assert one.following is one
    assert other[0] is one


def test_slots_are_carried():
    value = Slotted()
    value.left = [1]

    (found,) = carried(value)

    assert found.left == [1]
    assert not hasattr(found, "right")


def test_known_objects_are_changed_in_place():
    node, there = Node(1), Packing(border())
    there.text(node)
    node_there = Node(2, Node(3))
    answer = Packing(border(), [node_there]).text(node_there)

    (found,) = Unpacking(border(), there.objects).values(answer)

    assert found is node
    assert (node.value, node.following.value) == (2, 3)


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def loop():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [deep(101), deep(100_000), loop(), object(), "x" * 9_000_000], ids=range(5))
def test_what_cannot_be_carried_says_so(value):
    with pytest.raises(Uncarried):
        Packing(border()).text(value)


def test_a_function_is_handed_over():
    (found,) = carried(lambda: 1)

    assert isinstance(found, Remote)
    assert found != 1


def test_what_was_handed_over_comes_back_as_itself():
    own = object()
    text = Packing(border()).text(Remote(3, "f"))

    assert Unpacking(border(handed=[(3, own)])).values(text) == [own]


@pytest.mark.parametrize(
    "form",
    [
        {"i": "x"},
        {"i": 5},
        {"t": 5},
        {"d": [[[], 1]]},
        {"d": [[1]]},
        {"s": [[]]},
        {"k": "eval"},
        {"k": "__import__"},
        {"k": []},
        {"o": 0},
        {"o": -1},
        {"o": True},
        {"y": 5},
        {"y": None},
        {"e": ["Node", "x"]},
        {"e": ["os", "x"]},
        {"a": "os"},
        {"r": [0, 10**12, 1]},
        {"r": [0, 5, 0]},
        {"F": [1, 0]},
        {"D": "x"},
        {"D": "1e999999"},
        {"dt": ["date", "x"]},
        {"dt": ["type", "x"]},
        {"td": [10**12, 0, 0]},
        {"q": [[], -1]},
        {"q": [[], 10**30]},
        {"n": ["O", []]},
        {"x": ["a", 1]},
        {"T": [1, 2]},
        {"h": [1]},
        {"?": 1},
        {"a": 1, "b": 2},
        {},
    ],
    ids=repr,
)
def test_a_form_that_means_nothing_is_refused_or_harmless(form):
    try:
        found = unpacked(form)
    except Uncarried as refusal:
        found = str(refusal)

    assert isinstance(found, str | list)


MEANINGLESS = [
    *("", "{", "[]", "5", "null", "{}", '{"values": 5, "objects": []}', '{"values": [1], "objects": [[1]]}'),
    *('{"values": [' + "9" * 5000 + '], "objects": []}', '{"values": ' + "[" * 100_000, '{"objects": [["os", {}]]}'),
]


@pytest.mark.parametrize("text", MEANINGLESS, ids=range(len(MEANINGLESS)))
def test_a_text_that_means_nothing_is_refused(text):
    with pytest.raises(Uncarried):
        Unpacking(border()).values(text)


@pytest.mark.parametrize("name", ["__class__", "__dict__", "__eq__", "a b", ""])
def test_no_attribute_but_a_plain_one_is_set(name):
    with pytest.raises(Uncarried):
        unpacked({"o": 0}, [["Node", {name: 1}]])


def test_only_the_trusted_side_may_name_a_builtin_function():
    text = Packing(border()).text(max)

    assert Unpacking(border(trusting=True)).values(text) == [max]
    with pytest.raises(Uncarried):
        Unpacking(border()).values(text)
