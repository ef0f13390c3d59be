"""Refusals. One class with a code, one sentence that says what to do, and the parameter it is about.

Rendered once, at the edge: problem+json on /api/v1, the OpenAI envelope on /openai/v1, a notice on a page.
"""


class FlywheelError(Exception):
    """A refused request. `status` is the HTTP status at the edge; `sentence` is shown as it stands."""

    status = 400

    def __init__(self, code: str, sentence: str, param: str | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.param = param


class Invalid(FlywheelError):
    """The request or a value in it cannot be right."""

    status = 400


class Forbidden(FlywheelError):
    """The caller is known and may see the thing, but the role or scope does not allow the verb."""

    status = 403


class NotFound(FlywheelError):
    """Absent, or another team's: a stranger cannot tell the two apart."""

    status = 404


class Conflict(FlywheelError):
    """Somebody else was first, or the thing is not in a state that allows the verb."""

    status = 409


class TooLarge(FlywheelError):
    status = 413


class TooSlow(FlywheelError):
    """What the request asks for took longer than a request may wait."""

    status = 422


class Busy(FlywheelError):
    """The caller, or this process, does as much of it already as it may at a time."""

    status = 429


class NoSpace(FlywheelError):
    """The disk is full: nothing was kept."""

    status = 507


class Locked(FlywheelError):
    """Another request is at work on the very same thing."""

    status = 423


class Damaged(FlywheelError):
    """What arrived is not what was sent (tus: checksum mismatch)."""

    status = 460
