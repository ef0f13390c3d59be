import pytest

from tasks.sandbox import protocol


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b'{"a":NaN}', b'{"a":Infinity}', b"[" * 60_000, b"\x80", b'{"a":1'])
def test_what_is_not_a_strict_json_object_is_refused(raw: bytes):
    with pytest.raises(ValueError):
        protocol.decode(raw)


def test_an_integer_of_thousands_of_digits_is_refused():
    with pytest.raises(ValueError):
        protocol.decode(b'{"a":' + b"9" * 5000 + b"}")


def test_a_message_comes_back_as_it_went():
    assert protocol.decode(protocol.encode({"a": [1, "é", None]})) == {"a": [1, "é", None]}


def test_control_characters_do_not_come_through():
    assert protocol.clean("a\x1b[31mb\x00c\u202ed\ne") == "a [31mb c d\ne"


def test_a_lone_surrogate_becomes_a_question_mark_or_blank():
    assert protocol.clean("a\ud800b") in ("a?b", "a b")


def test_a_text_is_cut_by_bytes_between_letters():
    assert protocol.clean("é" * 2000) == "é" * 1024
