from collections.abc import Iterator
from typing import Any

import pytest
from django.test import RequestFactory

from flywheel.http.bodies import file_of_form
from tasks.errors import Invalid


def field(name: str, value: str) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file(content: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    return head + content + b"\r\n"


def form(*parts: bytes) -> tuple[dict[str, str], str, Iterator[bytes]]:
    request: Any = RequestFactory().post(
        "/", b"".join(parts) + b"--b--\r\n", content_type="multipart/form-data; boundary=b"
    )
    return file_of_form(request)


def test_fields_ahead_of_the_file_are_there_before_it_is_read():
    fields, filename, _ = form(field("purpose", "fine-tune"), file(b"abc"))

    assert (fields, filename) == ({"purpose": "fine-tune"}, "a.jsonl")


def test_fields_behind_the_file_are_there_when_it_has_been_read():
    fields, _, content = form(file(b"abc"), field("purpose", "fine-tune"), field("more", "1"))
    before = dict(fields)

    read = b"".join(content)

    assert (before, read, fields) == ({}, b"abc", {"purpose": "fine-tune", "more": "1"})


def test_a_second_file_is_not_taken_for_the_first():
    _, _, content = form(file(b"abc"), file(b"def"))

    assert b"".join(content) == b"abc"


@pytest.mark.parametrize("behind", [False, True])
def test_a_form_of_a_great_many_fields_is_refused(behind: bool):
    many = b"".join(field(f"f{n}", "x") for n in range(101))

    with pytest.raises(Invalid):
        b"".join(form(file(b"abc"), many)[2]) if behind else form(many, file(b"abc"))


def test_a_file_is_never_held_whole():
    _, _, content = form(file(b"abc" * 1_000_000))

    assert max(map(len, content)) < 1_000_000
