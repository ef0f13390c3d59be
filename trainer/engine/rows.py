"""Reading the JSONL files of a run directory into the contract's types."""

from pathlib import Path
from typing import TypeVar

import msgspec

from trainer.engine.faults import Fault

Line = TypeVar("Line", bound=msgspec.Struct)


def read(path: Path, kind: type[Line]) -> list[Line]:
    """Every line of the file, or the first line that is wrong as a fault."""
    decoder = msgspec.json.Decoder(kind)
    lines: list[Line] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                lines.append(_decode(decoder, line, path.name, number))
    except FileNotFoundError:
        raise Fault("data", "file_missing", f"{path.name} is missing in the run directory.") from None
    if not lines:
        raise Fault("data", "file_empty", f"{path.name} has no rows: there is nothing to work on.")
    return lines


def _decode(decoder: msgspec.json.Decoder[Line], line: bytes, name: str, number: int) -> Line:
    try:
        return decoder.decode(line)
    except msgspec.DecodeError as error:
        raise Fault("data", "line_malformed", f"Line {number} of {name} cannot be read: {error}.") from None
