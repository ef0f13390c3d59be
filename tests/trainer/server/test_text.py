"""Pieces of text: where a stop string is cut, and what is held back until it is known."""

from collections.abc import Sequence

from trainer.server.text import TextStream

WORDS = ["one ", "two ", "STOP", "S", "TO", "P", " end"]
BYTES = "né€".encode()


def words(tokens: Sequence[int]) -> str:
    return "".join(WORDS[token] for token in tokens)


def single_bytes(tokens: Sequence[int]) -> str:
    return bytes(BYTES[token] for token in tokens).decode(errors="replace")


def pieces(stream: TextStream, tokens: Sequence[int]) -> list[str]:
    said = []
    for token in tokens:
        said.append(stream.push(token))
        if stream.stopped:
            return said
    return [*said, stream.close()]


def test_without_a_stop_string_every_token_is_said_at_once() -> None:
    assert pieces(TextStream(words), [0, 1]) == ["one ", "two ", ""]


def test_the_text_ends_before_the_stop_string() -> None:
    assert "".join(pieces(TextStream(words, ["STOP"]), [0, 2, 1])) == "one "


def test_a_stop_string_over_several_tokens_is_found() -> None:
    assert pieces(TextStream(words, ["STOP"]), [0, 3, 4, 5, 1]) == ["one ", "", "", ""]


def test_the_beginning_of_a_stop_string_is_said_once_it_is_none() -> None:
    assert pieces(TextStream(words, ["STOP"]), [3, 4, 0]) == ["", "", "STOone ", ""]


def test_the_beginning_of_a_stop_string_at_the_end_is_text() -> None:
    assert pieces(TextStream(words, ["STOP"]), [0, 3]) == ["one ", "", "S"]


def test_the_earliest_of_several_stop_strings_wins() -> None:
    assert "".join(pieces(TextStream(words, ["P", "STOP"]), [0, 2])) == "one "


def test_a_character_is_said_whole() -> None:
    assert pieces(TextStream(single_bytes), range(len(BYTES))) == ["n", "", "é", "", "", "€", ""]


def test_a_character_that_never_ends_is_shown_as_such() -> None:
    assert "".join(pieces(TextStream(single_bytes), [0, 1])) == "n\ufffd"
