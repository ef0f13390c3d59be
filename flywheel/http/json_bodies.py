"""JSON bodies: an object, in UTF-8, without NaN; anything else is refused in one sentence."""

import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser


class ObjectParser(JSONParser):
    """Reads the body whole: views refuse large ones by their Content-Length before."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            value = json.loads(stream.read().decode(), parse_constant=_no_constant)
        except UnicodeDecodeError:
            raise ParseError("The body is not UTF-8 text: send JSON.", "invalid_json") from None
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            raise ParseError(f"The body is not JSON: it breaks at {place}.", "invalid_json") from None
        except (RecursionError, ValueError):
            raise ParseError("The body is not usable JSON: a value in it is out of bounds.", "invalid_json") from None
        if not isinstance(value, dict):
            raise ParseError("The body must be a JSON object.", "invalid_json")
        return value


def _no_constant(name: str) -> Any:
    raise ValueError(name)
