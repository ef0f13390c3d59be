"""Takes <think>…</think> out of a completion, so that an answer found only in the reasoning does not count."""

_OPEN, _CLOSE = "<think>", "</think>"


def without_reasoning(completion: str) -> str:
    """The completion without its reasoning blocks; "" when a block never closes.

    A closing mark without an opening one ends a block that the prompt opened. Linear whatever the text.
    """
    if _OPEN not in completion and _CLOSE not in completion:
        return completion
    kept: list[str] = []
    position = 0
    while (opening := completion.find(_OPEN, position)) >= 0:
        closing = completion.find(_CLOSE, opening)
        if closing < 0:
            return ""
        kept.append(completion[position:opening])
        position = closing + len(_CLOSE)
    kept.append(completion[position:])
    # What stands before a closing mark that nothing opened is reasoning too.
    return "".join(kept).rpartition(_CLOSE)[2]
