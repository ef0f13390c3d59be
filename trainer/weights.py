"""Files of weights (safetensors) without the libraries that train: sizes, and how far two of them are apart.

The format: eight bytes with the length of a JSON header, the header (name → dtype, shape, offsets), then the numbers.
https://github.com/huggingface/safetensors#format
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tasks.errors import Invalid

MOST_HEADER_BYTES = 100 * 2**20
AT_ONCE = 1 << 22  # numbers that are compared at once: two models of any size in little memory
_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
_KINDS |= {"BF16": "<u2", "BOOL": "u1"}


def header(path: Path) -> tuple[dict[str, Any], int]:
    """The tensors by name, and where the first number stands. Raises Invalid where the file has no such header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER_BYTES:
            raise _unreadable(path)
        try:
            found = msgspec.json.decode(file.read(length), type=dict[str, Any])
        except msgspec.DecodeError:
            raise _unreadable(path) from None
    found.pop("__metadata__", None)
    return found, 8 + length


def parameters(path: Path) -> int:
    """Number of weights; no number is read."""
    return sum(math.prod(tensor["shape"]) for tensor in header(path)[0].values())


def greatest_difference(one: Path, other: Path) -> float | None:
    """The largest |a − b| over all weights; infinite where one is NaN. None where they hold other tensors."""
    (mine, mine_from), (theirs, theirs_from) = header(one), header(other)
    if {name: _kind(tensor) for name, tensor in mine.items()} != {name: _kind(t) for name, t in theirs.items()}:
        return None
    greatest = 0.0
    for name, tensor in mine.items():
        pairs = zip(
            _numbers(one, tensor, mine_from), _numbers(other, theirs[name], theirs_from), strict=True
        )  # both are cut at the same places: their kinds are equal
        for a, b in pairs:
            with np.errstate(invalid="ignore"):  # inf − inf: told as infinite below
                apart = float(np.max(np.abs(a - b), initial=0.0))
            greatest = max(greatest, math.inf if math.isnan(apart) else apart)
    return greatest


def _kind(tensor: dict[str, Any]) -> tuple[str, tuple[int, ...]]:
    return tensor["dtype"], tuple(tensor["shape"])


def _numbers(path: Path, tensor: dict[str, Any], start: int) -> Iterator[npt.NDArray[np.float64]]:
    """The tensor's numbers in file order, some at a time."""
    if tensor["dtype"] not in _KINDS:
        raise Invalid("weights_unreadable", f"{path.name} holds {tensor['dtype']}, which cannot be compared here.")
    kind = np.dtype(_KINDS[tensor["dtype"]])
    count = math.prod(tensor["shape"])
    with path.open("rb") as file:
        file.seek(start + tensor["data_offsets"][0])
        while count > 0:
            piece = np.frombuffer(file.read(min(count, AT_ONCE) * kind.itemsize), kind)
            if not len(piece):
                raise _unreadable(path)
            count -= len(piece)
            yield _as_float(piece, tensor["dtype"])


def _as_float(piece: npt.NDArray[Any], dtype: str) -> npt.NDArray[np.float64]:
    """A bfloat16 is the upper half of a float32."""
    if dtype == "BF16":
        piece = (piece.astype(np.uint32) << 16).view(np.float32)
    return piece.astype(np.float64)


def _unreadable(path: Path) -> Invalid:
    return Invalid("weights_unreadable", f"{path.name} is not a safetensors file: export the model again.")
