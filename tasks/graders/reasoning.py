"""Takes <think>…</think> out of a completion, so that an answer found only in the reasoning does not count."""

import re

# `<thinking>` as well and in any case: an answer must not count because its block is spelt in another way
_MARK = re.compile(r"<\s{0,4}(?P<closing>/?)\s{0,4}think(?:ing)?\s{0,4}>", re.IGNORECASE)


def without_reasoning(completion: str) -> str:
    """The completion without its reasoning blocks; "" when a block never closes.

    A closing mark without an opening one ends a block that the prompt opened. The blanks between a reasoning and the
    answer belong to neither. Linear whatever the text.
    """
    if "<" not in completion or not _MARK.search(completion):
        return completion
    kept: list[str] = []
    position, inside = 0, False
    for mark in _MARK.finditer(completion):
        if not mark["closing"] and not inside:
            kept.append(completion[position : mark.start()])
            inside = True
        elif mark["closing"]:
            if not inside:  # what stands before is reasoning too
                kept.clear()
            position, inside = mark.end(), False
    return "" if inside else "".join([*kept, completion[position:]]).lstrip()
