import io
import json

import pytest
from rest_framework.exceptions import ParseError

from flywheel.http.json_bodies import ObjectParser, Renderer


def test_an_object_is_read():
    assert ObjectParser().parse(io.BytesIO('{"a": "ä"}'.encode())) == {"a": "ä"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"7",
        b"{",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b"\xff",
        b"[" * 200_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
    ],
)
def test_anything_else_is_refused_in_one_sentence(body: bytes):
    with pytest.raises(ParseError, match=r"\.$"):
        ObjectParser().parse(io.BytesIO(body))


def test_broken_json_is_told_its_place():
    with pytest.raises(ParseError, match="line 2, column 1"):
        ObjectParser().parse(io.BytesIO(b'{"a":\n}'))


def test_a_reply_is_written_in_utf_8():
    assert Renderer().render({"a": "ä"}) == '{"a":"ä"}'.encode()


def test_half_a_surrogate_pair_is_written_as_its_escape():
    assert json.loads(Renderer().render({"a": "\ud800"})) == {"a": "\ud800"}
