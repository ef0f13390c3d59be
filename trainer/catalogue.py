"""Published evaluation sets, described as data (public_suites.toml). The file is read once, and nothing is fetched."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from tasks.errors import NotFound

PATH = Path(__file__).with_name("public_suites.toml")


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    title: str
    hub: str  # id of the repository that it is published in
    file: str  # in that repository
    licence: str
    about: str
    columns: dict[str, str]
    grader: dict[str, Any]
    dialect: str = "columns"
    reference_after: str = ""

    @property
    def mapping(self) -> dict[str, Any]:
        """What its columns are, as an upload takes it."""
        chosen = {"dialect": self.dialect, "columns": self.columns, "grader": self.grader}
        return {**chosen, "reference_after": self.reference_after} if self.reference_after else chosen

    @property
    def source(self) -> str:
        return f"{self.hub}: {self.file}"


@cache
def entries() -> Mapping[str, Entry]:
    """By name, in the order of the file."""
    described = tomllib.loads(PATH.read_text(encoding="utf-8"))
    return {name: msgspec.convert({"name": name, **fields}, Entry) for name, fields in described.items()}


def find(name: str) -> Entry:
    if name not in entries():
        raise NotFound("not_found", f"The catalogue has no {name[:80]}: it has {', '.join(entries())}.", "catalogue")
    return entries()[name]
