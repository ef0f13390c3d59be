"""Keys of a task: which prompts are the same, which numbers they hold, which answers agree. Hex text, 128 or 64 bits.

All of them start from tasks.text.normalise and change with NORM_VERSION.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest, xxh3_128_hexdigest

from tasks.text import TRAILING, normalise
from tasks.types import Message

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)")
_PLAIN_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d{1,3})?")
_encode = msgspec.json.Encoder(order="sorted").encode


class Fingerprint(msgspec.Struct, frozen=True, gc=False):
    exact_key: str  # 32 hex: the prompt without blanks, seeded with its numbers in their order
    number_signature: str  # 16 hex: its numbers, sorted
    template: str  # 32 hex: the prompt with its numbers masked
    folded: str  # as tasks.text.folded gives it


def fingerprint(messages: Iterable[Message]) -> Fingerprint:
    """Every message counts, with its role: the same question under another system prompt is another task."""
    parts = [(_role(message.role), normalise(message.content).rstrip(TRAILING)) for message in messages]
    text = "\x1f".join([f"{role}\x1e{content}" for role, content in parts])
    pieces = _NUMBER.split(text)  # text and numbers by turns
    numbers = pieces[1::2]
    return Fingerprint(
        exact_key=_exact(text, numbers),
        number_signature=xxh3_64_hexdigest(",".join(sorted(numbers)).encode()),
        template=xxh3_128_hexdigest("#".join(pieces[::2]).encode()),
        folded="\n\n".join([content for _, content in parts]),
    )


def exact_key(messages: Iterable[Message]) -> str:
    return fingerprint(messages).exact_key


def _exact(text: str, numbers: Sequence[str]) -> str:
    """Blanks do not count, but 1 23 and 12 3 are different numbers: their order and extent is the seed."""
    return xxh3_128_hexdigest(text.replace(" ", "").encode(), seed=xxh3_64_intdigest(",".join(numbers).encode()))


def _role(role: str) -> str:
    return "system" if role == "developer" else role


def answer_digest(item: Mapping[str, Any], gold: str | None = None) -> str:
    """32 hex: what the row says is right. The item's reference where it has one, else the whole item, else the gold.

    42, 42.0 and "42" agree, and so do texts that differ in case or blanks; the order of a list counts.
    """
    answer: Any = item.get("reference", item or gold)
    if "choices" in item and "reference" in item:
        answer = [answer, item["choices"]]  # "B" is an answer only among its choices
    return xxh3_128_hexdigest(_encode(_folded(answer)))


def _folded(value: Any) -> Any:
    if isinstance(value, str):
        return _folded_text(value)
    if isinstance(value, bool) or value is None:
        return [value]  # apart from the texts "true" and "null"
    if isinstance(value, int | float):
        return _folded_text(repr(value))
    if isinstance(value, Mapping):
        return {normalise(str(key)): _folded(inner) for key, inner in value.items()}
    return ["list", *(_folded(inner) for inner in value)]


def _folded_text(text: str) -> str:
    folded = normalise(text)
    if len(folded) > 100 or not _PLAIN_NUMBER.fullmatch(folded):
        return folded
    try:
        number = Decimal(folded).normalize()
    except InvalidOperation:
        return folded
    return f"{number:f}" if abs(number.adjusted()) < 40 else str(number)
