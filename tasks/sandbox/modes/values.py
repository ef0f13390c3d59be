"""Values between two confined processes, as plain JSON: what arrives is data, never code and never somebody's object.

JSON's own values stand for themselves; everything else is an object with one key, its tag. A subclass of a plain type
travels as the plain type, so an overridden __eq__ stays where it was written. Objects of authored classes (of the code
that both processes were given) travel by their attributes in a table of their own, so that linked lists, trees and
cycles of any depth keep their shape. What else cannot be copied is handed over as a handle, where the side allows it.
"""

import builtins
import datetime
import enum
import json
import math
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from numbers import Complex, Integral, Real
from typing import Any

MAX_DEPTH = 100  # levels of plain containers
MAX_RANGE = 1_000_000  # numbers in a range: a test may well make a list of it
MAX_TEXT = 8_000_000  # characters of one message
MAX_EXPONENT = 10_000  # of a Decimal
_PLAIN_INTEGER = 2**63
_ARRAY_TYPE = re.compile(r"[<>=|]?[biufcU]\d{1,4}\Z")
_TYPES = frozenset(
    """bool bytearray bytes complex dict float frozenset int list object range set slice str tuple type""".split()  # noqa: SIM905
)


class Uncarried(Exception):
    """A value that cannot travel, or a message that means none. The text says which."""


Handle = tuple[int, str, str]  # number, kind (call | next | object), name


class Remote:
    """Stands for something that stays on the other side."""

    def __init__(self, key: int | str, label: str) -> None:
        object.__setattr__(self, "_key", key)  # the number of its handle, or its name where it has one
        object.__setattr__(self, "_label", label)

    _key: int | str
    _label: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)


class Named(tuple[Any, ...]):
    """What a namedtuple becomes on the other side: equal to the tuple, with its fields by name."""

    _fields: tuple[str, ...]

    def __getattr__(self, name: str) -> Any:
        if name in self._fields:
            return self[self._fields.index(name)]
        raise AttributeError(name)


class Border:
    """What may cross, and as what, seen from one side."""

    def __init__(
        self,
        authored: Mapping[str, type],
        export: Callable[[Any], Handle],
        mine: Callable[[int | str], Any],
        theirs: Callable[[Handle], Any],
        trusting: bool,
    ) -> None:
        self.authored = authored
        self.export = export  # raises Uncarried where this side hands nothing over
        self.mine = mine  # what I handed over under this number, or what I have under this name
        self.theirs = theirs  # stands for what the other side handed over
        self.trusting = trusting  # whether the other side may name any builtin function, not only types


class Packing:
    """The values of one message. `known` are the authored objects that both sides have already, in the same order."""

    def __init__(self, border: Border, known: Iterable[Any] = ()) -> None:
        self._border = border
        self._objects: list[Any] = list(known)
        self._places = {id(value): place for place, value in enumerate(self._objects)}

    def text(self, *values: Any) -> str:
        """Everything about the values; may be called once."""
        forms = [self._form(value, 0) for value in values]
        table: list[list[Any]] = []
        while len(table) < len(self._objects):  # packing one object's attributes may add further ones
            table.append(self._described(self._objects[len(table)]))
        try:
            text = json.dumps({"values": forms, "objects": table})
        except (RecursionError, ValueError):
            raise Uncarried("a value that nests too deep") from None
        if len(text) > MAX_TEXT:
            raise Uncarried(f"a value larger than {MAX_TEXT // 1_000_000} MB")
        return text

    @property
    def objects(self) -> list[Any]:
        return self._objects

    def _described(self, value: Any) -> list[Any]:
        return [type(value).__name__, {name: self._form(inner, 0) for name, inner in _attributes(value).items()}]

    def _form(self, value: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise Uncarried(f"a value that nests deeper than {MAX_DEPTH} levels, or contains itself")
        if value is None or isinstance(value, bool | str):
            return value if not isinstance(value, enum.Enum) else str.__str__(value)
        if isinstance(value, int):
            return value if -_PLAIN_INTEGER < value < _PLAIN_INTEGER else {"i": hex(value)}
        if isinstance(value, float):
            return value if math.isfinite(value) else {"f": repr(float(value))}
        if (container := self._container(value, depth + 1)) is not None:
            return container
        if type(value).__name__ in self._border.authored:
            return self._authored(value)
        return self._scalar(value) or self._handle(value)

    def _authored(self, value: Any) -> dict[str, Any]:
        if isinstance(value, enum.Enum):
            return {"e": [type(value).__name__, value.name]}
        place = self._places.setdefault(id(value), len(self._objects))
        if place == len(self._objects):
            self._objects.append(value)
        return {"o": place}

    def _container(self, value: Any, depth: int) -> dict[str, Any] | list[Any] | None:
        def forms(values: Iterable[Any]) -> list[Any]:
            return [self._form(inner, depth) for inner in values]

        if isinstance(value, list):
            return forms(value)
        if isinstance(value, tuple):
            fields = getattr(type(value), "_fields", None)
            return {"t": forms(value)} if fields is None else {"T": [list(fields), forms(value)]}
        if isinstance(value, dict):
            tag = next((tag for tag, kind in _MAPPINGS.items() if isinstance(value, kind)), "d")
            return {tag: [forms(pair) for pair in value.items()]}
        if isinstance(value, set | frozenset):
            return {"s" if isinstance(value, set) else "S": forms(value)}
        if isinstance(value, deque):
            return {"q": [forms(value), value.maxlen]}
        return None

    def _scalar(self, value: Any) -> dict[str, Any] | None:
        if isinstance(value, bytes | bytearray):
            return {"b" if isinstance(value, bytes) else "B": value.decode("latin-1")}
        if isinstance(value, range):
            return {"r": [self._form(part, 0) for part in (value.start, value.stop, value.step)]}
        if isinstance(value, Decimal):
            return {"D": str(value)}
        if isinstance(value, Fraction):
            return {"F": [self._form(value.numerator, 0), self._form(value.denominator, 0)]}
        if isinstance(value, datetime.timedelta):
            return {"td": [value.days, value.seconds, value.microseconds]}
        for kind in (datetime.datetime, datetime.date, datetime.time):
            if isinstance(value, kind):
                return {"dt": [kind.__name__, value.isoformat()]}
        return self._number_or_type(value)

    def _number_or_type(self, value: Any) -> dict[str, Any] | None:
        if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
            plain = value.tolist()
            shape = getattr(value, "shape", ())
            return {"n": [str(value.dtype.str), self._form(plain, 0)]} if shape else {"v": self._form(plain, 0)}
        if isinstance(value, Integral):
            return {"v": self._form(int(value), 0)}
        if isinstance(value, Real):
            return {"v": self._form(float(value), 0)}
        if isinstance(value, Complex):
            exact = complex(value)
            return {"x": [self._form(exact.real, 0), self._form(exact.imag, 0)]}
        name = getattr(value, "__name__", "")
        if isinstance(name, str) and name and getattr(builtins, name, None) is value:
            return {"k": name}
        if isinstance(value, type) and self._border.authored.get(value.__name__) is not None:
            return {"a": value.__name__}
        return {"k": "NoneType"} if value is type(None) else None

    def _handle(self, value: Any) -> dict[str, Any]:
        if isinstance(value, Remote):
            return {"y": value._key}
        return {"h": list(self._border.export(value))}


class Unpacking:
    """Reads what Packing wrote. Whatever the text holds, the outcome is plain data or Uncarried."""

    def __init__(self, border: Border, known: Iterable[Any] = ()) -> None:
        self._border = border
        self.objects: list[Any] = list(known)

    def values(self, text: str) -> list[Any]:
        try:
            message = json.loads(text)
            table = [(str(name), dict(attributes)) for name, attributes in message["objects"]]
            for name, _ in table[len(self.objects) :]:
                made = self._border.authored[name]
                self.objects.append(object.__new__(made))
            for value, (_, attributes) in zip(self.objects, table, strict=True):
                self._restore(value, attributes)
            return [self._value(form, 0) for form in message["values"]]
        except Exception as fault:
            raise Uncarried(f"a value that means nothing here ({type(fault).__name__})") from None

    def _restore(self, value: Any, attributes: Mapping[str, Any]) -> None:
        restored = {name: self._value(form, 0) for name, form in attributes.items()}
        if any(name.startswith("__") or not name.isidentifier() for name in restored):
            raise ValueError("attribute")
        if any(callable(inner) and callable(getattr(type(value), name, None)) for name, inner in restored.items()):
            raise ValueError("method")  # the author's own, in place of which the code would answer
        for name in _attributes(value).keys() - restored.keys():
            object.__delattr__(value, name)
        for name, inner in restored.items():
            object.__setattr__(value, name, inner)

    def _value(self, form: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError("depth")
        if form is None or isinstance(form, bool | int | float | str):
            return form
        if isinstance(form, list):
            return [self._value(inner, depth + 1) for inner in form]
        ((tag, inner),) = form.items()
        if tag in _SEQUENCES:
            return _SEQUENCES[tag](self._value(one, depth + 1) for one in inner)
        if tag == "d" or tag in _MAPPINGS:
            pairs = [(self._value(key, depth + 1), self._value(one, depth + 1)) for key, one in inner]
            return _mapping(tag, pairs)
        if tag in _SCALARS:
            return _SCALARS[tag](inner)
        return self._special(tag, inner, depth + 1)

    def _special(self, tag: str, inner: Any, depth: int) -> Any:
        if tag == "o":
            return self.objects[_natural(inner)]
        if tag == "e":
            return self._border.authored[inner[0]][inner[1]]  # type: ignore[index]
        if tag == "a":
            return self._border.authored[inner]
        if tag == "v":
            return self._value(inner, depth)
        if tag in ("x", "r", "F", "n", "q", "T"):
            return _built(tag, [self._value(part, depth) for part in inner])
        if tag == "y":
            return self._border.mine(inner if isinstance(inner, str) else _natural(inner))
        if tag == "h":
            return self._border.theirs((_natural(inner[0]), str(inner[1]), str(inner[2])[:80]))
        if tag == "k" and (inner in _TYPES or (self._border.trusting and isinstance(inner, str))):
            return getattr(builtins, inner)
        if tag == "k" and inner == "NoneType":
            return type(None)
        raise ValueError("tag")


def _attributes(value: Any) -> dict[str, Any]:
    """An object's attributes, those in slots included, in no special order."""
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(value, name):
                found[name] = getattr(value, name)
    return found


def _natural(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError("number")
    return number


def _mapping(tag: str, pairs: list[tuple[Any, Any]]) -> Any:
    if tag == "dd":
        return defaultdict(None, pairs)
    if tag == "c":
        return Counter(dict(pairs))
    return OrderedDict(pairs) if tag == "od" else dict(pairs)


def _built(tag: str, parts: list[Any]) -> Any:
    if tag == "x":
        return complex(*parts)
    if tag == "F":
        return Fraction(*map(int, parts))
    if tag == "q":
        return deque(*parts)
    if tag == "T":
        return _named(*parts)
    if tag == "r":
        made = range(*parts)
        if made[MAX_RANGE:]:
            raise ValueError("range")
        return made
    dtype, plain = parts
    numpy = sys.modules.get("numpy")
    return numpy.array(plain, dtype=dtype) if numpy and _ARRAY_TYPE.match(dtype) else plain


def _named(fields: list[str], values: list[Any]) -> Named:
    """Made without collections.namedtuple, which builds source text out of the names."""
    kind = type("Named", (Named,), {"_fields": tuple(map(str, fields))})
    made: Named = tuple.__new__(kind, values)
    return made


def _integer(text: str) -> int:
    return int(text, 16)


def _decimal(text: str) -> Decimal:
    value = Decimal(text)
    if value.is_finite() and abs(value.adjusted()) > MAX_EXPONENT:
        raise ValueError("exponent")
    return value


def _moment(parts: list[str]) -> Any:
    kinds: Mapping[str, Any] = {"datetime": datetime.datetime, "date": datetime.date, "time": datetime.time}
    return kinds[parts[0]].fromisoformat(parts[1])


_SEQUENCES: Mapping[str, Callable[[Iterable[Any]], Any]] = {"t": tuple, "s": set, "S": frozenset}
_MAPPINGS: Mapping[str, type] = {"c": Counter, "dd": defaultdict, "od": OrderedDict}
_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "i": _integer,
    "f": float,
    "b": lambda text: text.encode("latin-1"),
    "B": lambda text: bytearray(text.encode("latin-1")),
    "D": _decimal,
    "td": lambda parts: datetime.timedelta(*parts),
    "dt": _moment,
}
