"""What a model thought of the tokens that it wrote (logprobs), as the worker finds it and the replies tell it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Likely:
    """A token as people read it, with what it adds to the text; a part of a character has no text of its own."""

    text: str
    written: bytes | None
    logprob: float  # nats


@dataclass(frozen=True, slots=True)
class Odds:
    """What the model thought of a token, and which it thought likeliest in its place."""

    chosen: Likely
    top: tuple[Likely, ...]
