"""How the engine fails: one boundary, one code, one sentence that says what to do."""

from trainer.contract import Ending, EngineFault


class Fault(Exception):
    """Ends the run with status failed. Whoever raises it has something to say to the person who started the run."""

    def __init__(self, boundary: str, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.record = EngineFault(boundary=boundary, code=code, sentence=sentence)


class Fenced(Exception):
    """Another attempt has taken over the directory: leave without another write."""


class Stopped(Exception):
    """Somebody asked the engine to stop (control.json or SIGTERM), or a budget is spent: it is safe to leave.

    `ending` names the budget; None: somebody asked.
    """

    def __init__(self, ending: Ending | None = None) -> None:
        super().__init__()
        self.ending = ending
