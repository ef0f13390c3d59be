"""How the engine fails: one boundary, one code, one sentence that says what to do."""

from trainer.contract import EngineFault


class Fault(Exception):  # noqa: N818 - a fault is what the contract calls it
    """Ends the run with status failed. Whoever raises it has something to say to the person who started the run."""

    def __init__(self, boundary: str, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.record = EngineFault(boundary=boundary, code=code, sentence=sentence)


class Fenced(Exception):  # noqa: N818 - no error: the engine leaves on request
    """Another attempt has taken over the directory: leave without another write."""


class Stopped(Exception):  # noqa: N818 - no error: the engine leaves on request
    """Somebody asked the engine to stop (control.json or SIGTERM) and what it holds is safe to leave."""
