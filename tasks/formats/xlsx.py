"""XLSX: the rows of the first sheet to JSON rows, in a process of its own (isolated.py).

A row's number is the spreadsheet's. Numbers, texts, true and false are themselves, dates and times are texts, a formula
is the value that was last calculated for it. The texts of a workbook stand in one long list, which is kept in a file
here: a million prompts would not fit into the memory.
"""

import re
import warnings
import zipfile
from array import array
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from tasks.formats import table
from tasks.formats.block import Unreadable
from tasks.formats.isolated import About, Ask
from tasks.types import Issue

MOST_ROWS = 1_048_576  # that a sheet can have
MAX_MEMBERS = 2_000
MAX_UNPACKED_BYTES = 8 << 30  # of all members together; an honest million rows has about one
_HEAD_BYTES = 4096
_DIMENSION = re.compile(rb'<(?:\w+:)?dimension ref="[A-Z]+\d+:[A-Z]+(\d{1,7})"')
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_STRICT = "{http://purl.oclc.org/ooxml/spreadsheetml/main}"


def refuse_bad_archive(archive: zipfile.ZipFile) -> None:
    """What is wrong with a zip archive before anything in it is unpacked."""
    members = archive.infolist()
    outside = next((member.filename for member in members if _leads_outside(member.filename)), None)
    if outside is not None:
        raise Unreadable("unknown_format", f"its archive holds a path that leads outside of it, '{outside[:100]}'")
    if len(members) > MAX_MEMBERS:
        raise Unreadable("unknown_format", f"its archive holds {len(members):,} files, more than {MAX_MEMBERS:,}")
    if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
        raise Unreadable("unpacks_too_large", f"{MAX_UNPACKED_BYTES:,} bytes")
    if any(member.flag_bits & 1 for member in members):
        raise Unreadable("unknown_format", "it is protected by a password")


def _leads_outside(name: str) -> bool:
    return name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or ":" in name


def rows(stream: BinaryIO, ask: Ask) -> Iterator[About | tuple[int, bytes | Issue]]:
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException

    warnings.simplefilter("ignore")  # openpyxl's, about styles
    try:
        with zipfile.ZipFile(stream) as archive:
            refuse_bad_archive(archive)
        yield from _rows(stream, ask)
    except DefusedXmlException:
        raise Unreadable("unknown_format", "its XML defines entities, which no spreadsheet needs") from None
    except (zipfile.BadZipFile, ParseError, KeyError, ValueError, TypeError, OSError, EOFError) as fault:
        raise Unreadable("damaged_file", f"it is no workbook that can be read ({str(fault)[:200]})") from None


def _rows(stream: BinaryIO, ask: Ask) -> Iterator[About | tuple[int, bytes | Issue]]:
    book = _opened(stream)
    sheet, *others = (
        [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"] or book.worksheets[:1] or [None]
    )
    if sheet is None:
        raise Unreadable("empty_file")
    names = ", ".join(f"'{other.title}'" for other in others)
    left = f"Only the first sheet, '{sheet.title}', is read; left out: {names}. Save another one as a file of its own."
    notes = [left] if others else []
    columns: list[str] | None = None
    passed = 0
    for number, cells in _cells(book, sheet):
        if columns is None:
            header = table.is_header(cells) if ask.header is None else ask.header
            columns = table.names(cells, header)
            yield About(_claimed(sheet, header), notes, header)
            if header:
                continue
        row = table.row(columns, cells + [None] * (len(columns) - len(cells)), number)
        if row is None:
            continue
        passed += 1
        if passed > ask.position:
            yield number, row
    if columns is None:
        raise Unreadable("empty_file")


def _claimed(sheet: Any, header: bool) -> int | None:
    """Rows that the sheet says it has: for progress, never for more."""
    last = sheet._max_row
    return last - header if isinstance(last, int) and 1 < last <= MOST_ROWS else None


def _opened(stream: BinaryIO) -> Any:
    from openpyxl.packaging.manifest import Manifest
    from openpyxl.reader.excel import ExcelReader
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

    class Reader(ExcelReader):  # type: ignore[misc]
        package: Manifest

        def read_strings(self) -> None:
            from openpyxl.xml.constants import SHARED_STRINGS

            part = self.package.find(SHARED_STRINGS)
            if part is not None:
                with self.archive.open(part.PartName[1:]) as source:
                    self.shared_strings = Strings(source)

        def read_worksheets(self) -> None:
            for sheet, relation in self.parser.find_sheets():
                if relation.target in self.valid_files and "chartsheet" not in relation.Type:
                    found = Sheet(self.wb, sheet.name, relation.target, self.shared_strings)
                    found.sheet_state = sheet.state
                    self.wb._sheets.append(found)

    class Sheet(ReadOnlyWorksheet):  # type: ignore[misc]
        def _get_size(self) -> None:
            """At the beginning or nowhere: openpyxl would look through the whole sheet for it, seconds for nothing."""
            with self._get_source() as source:
                found = _DIMENSION.search(source.read(_HEAD_BYTES))
            self._max_row = int(found[1]) if found else None

    reader = Reader(stream, read_only=True, data_only=True, keep_links=False)
    reader.read()
    return reader.wb


class Strings:
    """A workbook's texts by their number, in a file without a name."""

    def __init__(self, source: Any) -> None:
        from defusedxml.ElementTree import iterparse

        self._file = TemporaryFile()  # noqa: SIM115 - goes with the workbook
        self._ends = array("Q", [0])
        root = None
        end = 0
        for event, node in iterparse(source, events=("start", "end"), forbid_dtd=True):
            root = node if root is None else root
            if event == "end" and node.tag in (f"{_MAIN}si", f"{_STRICT}si"):
                text = "".join(_texts(node)).encode("utf-8", "surrogatepass")
                end += self._file.write(text)
                self._ends.append(end)
                node.clear()
                root.clear()
        self._file.flush()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, place: int) -> str:
        if not 0 <= place < len(self):
            raise ValueError(f"there is no text {place}")
        start, end = self._ends[place], self._ends[place + 1]
        self._file.seek(start)
        return self._file.read(end - start).decode("utf-8", "surrogatepass")


def _texts(node: Any) -> Iterator[str]:
    """The text itself, plain or in runs, without its phonetic guide."""
    for child in node:
        tag = child.tag.rpartition("}")[2]
        if tag == "t":
            yield child.text or ""
        elif tag == "r":
            yield from _texts(child)


def _cells(book: Any, sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """Row by row as they stand in the XML: openpyxl's own rows fill every gap, and a gap may be a million rows."""
    from openpyxl.worksheet._reader import WorkSheetParser

    with sheet._get_source() as source:
        parser = WorkSheetParser(
            source,
            sheet._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        for number, cells in parser.parse():
            if cells:
                yield number, _in_places(cells)


def _in_places(cells: list[dict[str, Any]]) -> list[Any]:
    width = max(cell["column"] for cell in cells)
    if width > table.MAX_COLUMNS:
        raise Unreadable("unknown_format", f"it has more than {table.MAX_COLUMNS:,} columns")
    found: list[Any] = [None] * width
    for cell in cells:
        found[cell["column"] - 1] = cell["value"]
    return found
