"""What a file is, by its first bytes; its name is only a hint between tables and plain text. Never parses a row twice.

Everything that is recognised and cannot be read is refused by its name.
"""

import csv
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import msgspec

from tasks.formats import csv_rows, json_array, jsonl, table
from tasks.formats.block import Layout, Unreadable
from tasks.formats.codes import issue
from tasks.formats.synonyms import KNOWN
from tasks.formats.xlsx import refuse_bad_archive
from tasks.types import Issue

HEAD_BYTES = 2 << 20
_SAMPLE_RECORDS = 50
_BOM = b"\xef\xbb\xbf"
_NAMES: Sequence[tuple[bytes, str]] = (
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
    (b"\x04\x22\x4d\x18", "an lz4 archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"II*\x00", "an image"),
    (b"SQLite format 3", "an SQLite database; export its rows"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file; save it as XLSX or CSV"),
    (b"{\\rtf", "an RTF document"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"ARROW1", "an Arrow (Feather) file; save it as Parquet"),
    (b"ORC", "an ORC file; save it as Parquet"),
    (b"Obj\x01", "an Avro file; save it as Parquet or JSON Lines"),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05](?:\x95|\}|\]|\(|c|q|X|K|\x8c|N|G)|\(dp0\n|\(lp0\n|ccopy_reg\n")
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|\?xml|head|body)", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_CP1252_UNUSED = b"\x81\x8d\x8f\x90\x9d"


class Seen(NamedTuple):
    layout: Layout | None
    problem: Issue | None = None
    notes: tuple[str, ...] = ()


def sniff(stream: BinaryIO, filename: str) -> Seen:
    """Look at the head, unpacked where it is gzip, and at the index of a zip archive."""
    head = stream.read(HEAD_BYTES)
    compressed = head.startswith(b"\x1f\x8b")
    try:
        whole = len(head) < HEAD_BYTES
        if compressed:
            head, whole = _unpacked(head, whole)
        if not compressed and head.startswith(b"PK\x03\x04"):
            seen = _of_zip(stream)
        else:
            seen = _of_bytes(head, whole, filename.lower().removesuffix(".gz"))
    except Unreadable as fault:
        return Seen(None, issue(fault.code, detail=fault.detail))
    if seen.layout is not None and compressed:
        return seen._replace(layout=msgspec.structs.replace(seen.layout, compressed=True))
    return seen


def _unpacked(head: bytes, whole: bool) -> tuple[bytes, bool]:
    unpacker = zlib.decompressobj(31)
    try:
        data = unpacker.decompress(head, HEAD_BYTES)
    except zlib.error as fault:
        raise Unreadable("damaged_file", f"its compressed data cannot be unpacked ({fault})") from None
    if data.startswith(b"\x1f\x8b"):
        raise Unreadable("unknown_format", "it is gzip within gzip; unpack it once")
    if whole and not unpacker.eof and len(data) < HEAD_BYTES and not unpacker.unconsumed_tail:
        raise Unreadable("damaged_file", "its compressed data ends too early")
    return data, unpacker.eof and not unpacker.unused_data


def _refused(what: str) -> Seen:
    return Seen(None, issue("unknown_format", detail=f"it looks like {what}"))


def _of_zip(stream: BinaryIO) -> Seen:
    stream.seek(0)
    try:
        with zipfile.ZipFile(stream) as archive:
            refuse_bad_archive(archive)
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as fault:
        raise Unreadable("damaged_file", f"its archive cannot be read ({fault})") from None
    if "[Content_Types].xml" in names and any(name.startswith("xl/") and name.endswith(".xml") for name in names):
        return Seen(Layout("xlsx"))
    if "word/document.xml" in names:
        return _refused("a Word document")
    if any(name.endswith("data.pkl") for name in names):
        return _refused("a PyTorch file, which is a pickle: reading one runs whatever it says")
    return _refused("a zip archive; unpack it and upload the files in it")


def _of_bytes(head: bytes, whole: bool, name: str) -> Seen:
    if head.startswith(b"PAR1"):
        return Seen(Layout("parquet"))
    if head.startswith(b"PK\x03\x04"):
        if b"xl/" in head[:65536] or b"[Content_Types].xml" in head[:200]:
            return Seen(Layout("xlsx"))
        return _refused("a zip archive; unpack it and upload the files in it")
    for magic, what in _NAMES:
        if head.startswith(magic):
            return _refused(what)
    if head[257:262] == b"ustar":
        return _refused("a tar archive; unpack it and upload the files in it")
    if _PICKLE.match(head):
        return _refused("a Python pickle: reading one runs whatever it says, so none is ever opened")
    if _MARKUP.match(head.removeprefix(_BOM)):
        return _refused("a web page or XML")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _of_utf16(head, whole, name)
    if not head.removeprefix(_BOM).strip():
        return (
            Seen(None, issue("empty_file")) if whole else Seen(None, issue("not_jsonl", detail="it begins with blanks"))
        )
    sign = head.removeprefix(_BOM).lstrip()[:1]
    if sign in (b"{", b"["):
        return _of_json(head, whole, sign)
    if len(_CONTROL.findall(head[:8192])) > len(head[:8192]) // 100:
        return _refused("binary data")
    return _of_text(head, whole, name)


# JSON


def _of_json(head: bytes, whole: bool, sign: bytes) -> Seen:
    body = head.removeprefix(_BOM).lstrip()
    if sign == b"[":
        if not body[1:].lstrip().startswith((b"{", b"]")):
            return Seen(None, issue("unknown_format", detail="it begins with a list that holds no objects"))
        return Seen(Layout("json", array=True))
    first, _, others = body.partition(b"\n")
    several = others.lstrip().startswith(b"{")
    if not several and (member := _enveloping(body)):
        return Seen(Layout("json", member=member))
    if first.rstrip() == b"{" or (not several and others.strip() and not _is_row(first) and _begins_indented(body)):
        return Seen(Layout("json"))
    return Seen(Layout("jsonl"), jsonl.fault_of_the_head(head, whole))


def _enveloping(body: bytes) -> str:
    """The key of the list of rows, where the object is an envelope; "" where it is a row itself."""
    lists = [key for key, _ in json_array.lists_of(body)]
    if not lists or lists[0] in ("messages", "prompt", "conversation", "tools"):
        return ""
    try:
        whole = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        whole = {}
    keys = set(whole) if isinstance(whole, dict) else set()
    return "" if keys & {"prompt", "messages", "question", "instruction", "problem", "input", "query"} else lists[0]


def _is_row(line: bytes) -> bool:
    return isinstance(jsonl.parse(line, 1), dict)


def _begins_indented(body: bytes) -> bool:
    """An object over several lines: the lines after the first go on inside it."""
    lines = body.split(b"\n", 3)[1:3]
    return any(line[:1] in (b" ", b"\t", b"}", b'"') for line in lines)


# Text


def _of_utf16(head: bytes, whole: bool, name: str) -> Seen:
    text = head[: len(head) & ~1].decode("utf-16", "replace")
    if text.lstrip("\ufeff \t\r\n").startswith(("{", "[")):
        return _refused("UTF-16 text; save it as UTF-8")
    return _table(text, whole, "utf-16", name, ("Read as UTF-16, as its first bytes say.",))


def _of_text(head: bytes, whole: bool, name: str) -> Seen:
    if _is_utf8(head, whole):
        text = head.decode("utf-8", "ignore")
        return _table(text.removeprefix("\ufeff"), whole, "utf-8-sig" if head.startswith(_BOM) else "utf-8", name, ())
    encoding = "latin-1" if any(byte in head for byte in _CP1252_UNUSED) else "cp1252"
    shown = "Windows-1252" if encoding == "cp1252" else "Latin-1"
    note = f"Read as {shown}, because it is not UTF-8: look at letters with accents before you go on."
    return _table(head.decode(encoding, "replace"), whole, encoding, name, (note,))


def _is_utf8(head: bytes, whole: bool) -> bool:
    """The last three bytes may be a character that the head cuts."""
    try:
        head.decode()
    except UnicodeDecodeError as fault:
        return not whole and fault.start >= len(head) - 3
    return True


def _table(text: str, whole: bool, encoding: str, name: str, notes: tuple[str, ...]) -> Seen:
    best = max((_tried(text, whole, delimiter) for delimiter in "\t,;|"), key=lambda tried: tried.rank)
    named = name.endswith((".csv", ".tsv"))
    if best.columns < 2:
        first = text.partition("\n")[0].strip().strip('"').lower()
        if not named and first not in KNOWN:
            detail = "it is plain text, neither JSON nor a table with a header"
            return Seen(None, issue("unknown_format", detail=detail))
    elif best.agreement < 0.75 and not named and not table.names_known(best.first):
        return Seen(None, issue("unknown_format", detail="its lines are neither JSON nor the rows of one table"))
    kind = "tsv" if best.delimiter == "\t" else "csv"
    header = table.is_header(best.first)
    if not header:
        notes = (*notes, "Its first row is not a header: the columns are numbered.")
    return Seen(Layout(kind, encoding=encoding, delimiter=best.delimiter, header=header), None, notes)


class _Tried(NamedTuple):
    delimiter: str
    columns: int
    agreement: float  # share of the records with as many cells as the first
    first: list[str]

    @property
    def rank(self) -> tuple[bool, float, int]:
        return self.columns > 1, round(self.agreement, 1), self.columns


def _tried(text: str, whole: bool, delimiter: str) -> _Tried:
    records: list[list[str]] = []
    try:
        for _, cells in csv_rows.records(io.StringIO(text[: 1 << 18], newline=""), delimiter):
            if isinstance(cells, list):
                records.append(cells)
            if len(records) >= _SAMPLE_RECORDS:
                break
        else:
            if not whole and len(records) > 1:
                records.pop()  # the head may end inside it
    except csv.Error:
        pass
    if not records:
        return _Tried(delimiter, 0, 0.0, [])
    widths = Counter(map(len, records))
    return _Tried(delimiter, len(records[0]), widths[len(records[0])] / len(records), records[0])
