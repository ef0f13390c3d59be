"""The files under docs/ as pages: the little of Markdown that they use, escaped first.

Headings from the third level on, paragraphs, lists, tables, fenced blocks, `code`, **bold** and [links](to).
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from django.conf import settings
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

_FENCE = re.compile(r"^```([^`\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"\x00(\d+)\x00")
_SHOWN = ("graders", "formats", "errors", "webhooks", "openai", "openai-graders", "openai-evals")
_PAGES = {f"{name}.md": f"/docs/{name}" for name in _SHOWN}


def introduction(name: str) -> str:
    """What stands between the title and the first heading of the second level."""
    return _parts(name)[0].partition("\n")[2]


def sections(name: str) -> dict[str, str]:
    """Heading of the second level → what stands under it, in order; {} where the installation has no docs/."""
    parts = _parts(name)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@cache
def _parts(name: str) -> list[str]:
    """Title and introduction, then headings and what stands under each, by turns."""
    path = Path(settings.BASE_DIR) / "docs" / name
    return re.split(r"^## (.+)$", path.read_text() if path.is_file() else "", flags=re.MULTILINE)


def anchor(heading: str) -> str:
    """As links in the documents write it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def tables(text: str) -> Iterator[list[list[str]]]:
    """Cells of every table, its head first."""
    for table in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
        head, _, *rows = table.strip().splitlines()
        yield [_cells(row) for row in (head, *rows)]


def without_tables(text: str, *heads: str) -> str:
    """The text without the tables whose first heading is one of these."""
    pattern = "|".join(re.escape(head) for head in heads)
    return re.sub(rf"^\| ({pattern}) \|(?:.*\|\n?)(?:^\|.*\|\n?)+", "", text, flags=re.MULTILINE)


def html(text: str) -> SafeString:
    fences: list[str] = []

    def keep(found: re.Match[str]) -> str:
        fences.append(f'<pre tabindex="0"><code>{escape(found[2].rstrip())}</code></pre>')
        return f"\x00{len(fences) - 1}\x00"

    blocks = re.split(r"\n\s*\n", _FENCE.sub(keep, text.replace("\x00", "")).strip())
    told = "\n".join(_block(block) for block in blocks if block.strip())
    return mark_safe(_BLOCK.sub(lambda found: fences[int(found[1])], told))  # noqa: S308  every text was escaped


def inline(text: str) -> SafeString:
    """Code first: nothing inside of it is read any further."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:
        parts = [str(text)]
    told = "".join(f"<code>{escape(part)}</code>" if n % 2 else _marked(part) for n, part in enumerate(parts))
    return mark_safe(told)  # noqa: S308  every part was escaped


def _marked(text: str) -> str:
    bold = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escape(text))
    return re.sub(r"\[([^\]]+)\]\(([\w./#-]+)\)", _link, bold)


def _link(found: re.Match[str]) -> str:
    name, _, anchor = found[2].partition("#")
    page = _PAGES.get(name.rpartition("/")[2], "" if name else "#")
    if not page:
        return found[1]  # a file of the tree, which the portal does not show
    return f'<a href="{page if name else ""}{"#" + anchor if anchor else ""}">{found[1]}</a>'


def _block(block: str) -> str:
    lines = block.strip("\n").splitlines()
    if _BLOCK.fullmatch(block.strip()):
        return block.strip()
    if heading := re.match(r"(#{3,6}) (.+)", lines[0]):
        rest = "\n".join(lines[1:])
        return f"<h3>{inline(heading[2])}</h3>" + (_block(rest) if rest.strip() else "")
    if lines[0].startswith("|"):
        return _table(lines)
    if re.match(r"(- |\d+\. )", lines[0]):
        return _list(lines)
    return f"<p>{inline(' '.join(line.strip() for line in lines))}</p>"


def _list(lines: list[str]) -> str:
    items: list[str] = []
    for line in lines:
        if found := re.match(r"(?:- |\d+\. )(.*)", line):
            items.append(found[1])
        else:
            items[-1] += f" {line.strip()}"
    tag = "ul" if lines[0].startswith("-") else "ol"
    return f"<{tag}>{''.join(f'<li>{inline(item)}</li>' for item in items)}</{tag}>"


def _table(lines: list[str]) -> str:
    head, _, *rows = (line for line in lines if line.startswith("|"))
    top = "".join(f'<th scope="col">{inline(cell)}</th>' for cell in _cells(head))
    body = "".join("<tr>" + "".join(f"<td>{inline(cell)}</td>" for cell in _cells(row)) + "</tr>" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
