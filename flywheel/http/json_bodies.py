"""JSON bodies: an object, in UTF-8, of finite numbers; anything else is refused in one sentence.

And JSON replies that quote whatever a body may hold.
"""

import json
import math
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer


class ObjectParser(JSONParser):
    """Reads the body whole: views refuse large ones by their Content-Length before."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            value = json.loads(stream.read().decode(), parse_constant=_no_constant, parse_float=_finite)
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


def _finite(text: str) -> float:
    """1e999 is well-formed, and Python reads it as infinity, which no reply could show."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


class Renderer(JSONRenderer):
    """Half of a surrogate pair, which JSON can hold and UTF-8 cannot, is told as the escape that it came as."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return super().render(data, accepted_media_type, renderer_context)
        except UnicodeEncodeError:
            return _Escaping().render(data, accepted_media_type, renderer_context)


class _Escaping(JSONRenderer):
    ensure_ascii = True
