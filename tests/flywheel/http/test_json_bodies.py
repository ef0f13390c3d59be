import io

import pytest
from rest_framework.exceptions import ParseError

from flywheel.http.json_bodies import ObjectParser


def test_an_object_is_read():
    assert ObjectParser().parse(io.BytesIO('{"a": "ä"}'.encode())) == {"a": "ä"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"7", b"{", b'{"a": NaN}', b"\xff", b"[" * 200_000, b'{"a": ' + b"9" * 10_000 + b"}"]
)
def test_anything_else_is_refused_in_one_sentence(body: bytes):
    with pytest.raises(ParseError, match=r"\.$"):
        ObjectParser().parse(io.BytesIO(body))


def test_broken_json_is_told_its_place():
    with pytest.raises(ParseError, match="line 2, column 1"):
        ObjectParser().parse(io.BytesIO(b'{"a":\n}'))
