"""Finds the code in a reply, by lines and in linear time.

The last block between ``` marks counts: of those marked as Python, or of the unmarked ones where none is, the last that
defines something (a block of example calls after it is no answer), or the last. A block that is never closed ends with
the reply. Without any such block the whole reply is the code, so that prose around bare code does not compile.
"""

import re
from collections.abc import Iterator

_MARK = re.compile(r" {0,3}(`{3,})[ \t]*([\w+#.-]*)[^`\n]*\n?\Z")
_PYTHON = frozenset(("python", "python3", "py", "py3"))
_DEFINES = re.compile(r"^(?:async[ \t]+def|def|class)[ \t]", re.MULTILINE)


def code_of(reply: str) -> str:
    blocks = list(_blocks(reply))
    marked = [text for language, text in blocks if language in _PYTHON]
    fitting = marked or [text for language, text in blocks if not language]
    if not fitting:
        return reply
    return next((text for text in reversed(fitting) if _DEFINES.search(text)), fitting[-1])


def _blocks(reply: str) -> Iterator[tuple[str, str]]:
    """(language in small letters, text) of every block."""
    opened, language = "", ""
    inside: list[str] = []
    for line in reply.splitlines(keepends=True):
        mark = _MARK.match(line)
        if not opened:
            if mark:
                opened, language = mark[1], mark[2].lower()
        elif mark and len(mark[1]) >= len(opened) and not mark[2]:
            yield language, "".join(inside)
            opened, inside = "", []
        else:
            inside.append(line)
    if opened:
        yield language, "".join(inside)


def fenced(code: str) -> str:
    """A reply that holds nothing but this code."""
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    mark = "`" * (longest + 1)
    return f"{mark}python\n{code.rstrip()}\n{mark}"
