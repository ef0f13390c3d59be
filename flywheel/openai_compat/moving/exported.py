"""A folder of what somebody has saved of their account elsewhere: files, graders, jobs, evals. Only read here.

    files.json          the saved list of files; without it every *.jsonl is a file of training rows
    files/              their contents, each called as its id or as itself
    graders/*.json      a grader each
    jobs.json           the saved list of jobs
    evals.json          the saved list of evals; or evals/*.json, one each

A list is an array or the envelope in which the API sends it. samples/openai_export.py writes such a folder. Whoever
saved it may be somebody else, and what a link leads to is not theirs to give: links are passed over.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.states import FilePurpose

LARGEST = 256 * 1024 * 1024  # bytes of a JSON file: it is read as a whole
_ENDINGS = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class SavedFile:
    id: str  # where it came from; its name where there is no list of files
    filename: str
    purpose: str
    path: Path

    @property
    def label(self) -> str:
        return self.filename if self.id == self.filename else f"{self.filename} ({self.id})"


@dataclass(frozen=True, slots=True)
class Saved:
    """A definition, and the words for where it stands."""

    where: str
    body: dict[str, Any]


@dataclass(slots=True)
class Export:
    files: list[SavedFile] = field(default_factory=list)
    graders: list[Saved] = field(default_factory=list)
    jobs: list[Saved] = field(default_factory=list)
    evals: list[Saved] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # sentences: what cannot be read, and what to do

    @property
    def is_empty(self) -> bool:
        return not (self.files or self.graders or self.jobs or self.evals)


def read(folder: Path) -> Export:
    export = Export()
    export.files = _files(folder, export.problems)
    export.graders = list(_each(folder, "graders", export.problems))
    export.jobs = list(_list(folder, "jobs.json", export.problems))
    export.evals = [*_list(folder, "evals.json", export.problems), *_each(folder, "evals", export.problems)]
    export.evals = list({str(saved.body.get("id", saved.where)): saved for saved in export.evals}.values())
    if export.is_empty and not export.problems:
        export.problems.append(
            f"{folder} holds no export: it needs files.json, *.jsonl, jobs.json, graders/*.json or evals.json."
        )
    return export


def _files(folder: Path, problems: list[str]) -> list[SavedFile]:
    """Those of the list, and where there is none what looks like rows."""
    contents = [path for name in ("files", "") for path in _inside(folder, name, problems)]
    if not (folder / "files.json").exists():
        return [
            SavedFile(path.name, path.name, FilePurpose.FINE_TUNE, path) for path in contents if path.suffix in _ENDINGS
        ]
    found = []
    for saved in _list(folder, "files.json", problems):
        known, filename, purpose = (saved.body.get(name) for name in ("id", "filename", "purpose"))
        if not (isinstance(known, str) and isinstance(filename, str) and isinstance(purpose, str)):
            problems.append(f"{saved.where} is no file: it needs id, filename and purpose, as GET /files tells them.")
        elif (path := _content(contents, known, filename)) is None:
            problems.append(f"{filename} ({known}) has no content in the folder: save it as files/{known}.jsonl.")
        else:
            found.append(SavedFile(known, filename, purpose, path))
    return found


def _content(contents: Iterable[Path], known: str, filename: str) -> Path | None:
    """By its id before its name, which several may have."""
    named = [path for path in contents if path.stem == known or path.name in (known, filename)]
    return next((path for path in named if filename != path.name), next(iter(named), None))


def _each(folder: Path, name: str, problems: list[str]) -> Iterator[Saved]:
    """The definitions in the files of a folder."""
    for path in _inside(folder, name, problems):
        if path.suffix == ".json":
            yield from _objects(path, f"{name}/{path.name}", problems)


def _list(folder: Path, name: str, problems: list[str]) -> Iterator[Saved]:
    if _is_own(folder / name):
        yield from _objects(folder / name, name, problems)


def _objects(path: Path, where: str, problems: list[str]) -> Iterator[Saved]:
    given = _json(path, where, problems)
    if isinstance(given, dict) and isinstance(given.get("data"), list):
        given = given["data"]
    for place, body in enumerate(given if isinstance(given, list) else [] if given is None else [given]):
        named = f"{where}[{place}]" if isinstance(given, list) else where
        if isinstance(body, dict):
            yield Saved(named, body)
        else:
            problems.append(f"{named} is no JSON object: save it as the API sends it.")


def _json(path: Path, where: str, problems: list[str]) -> Any:
    try:
        if path.stat().st_size > LARGEST:
            problems.append(f"{where} is larger than {LARGEST >> 20} MiB: cut it into several folders.")
            return None
        return json.loads(path.read_bytes())
    except OSError as fault:
        problems.append(f"{where} cannot be read: {fault.strerror}.")
    except (ValueError, RecursionError) as fault:
        problems.append(f"{where} is not JSON ({str(fault)[:80]}): save it again.")
    return None


def _inside(folder: Path, name: str, problems: list[str]) -> list[Path]:
    """The files of the folder itself, or of the one of this name in it. A link where something is read is a problem."""
    place = folder / name
    is_link = bool(name) and place.is_symlink()
    given = sorted(place.iterdir()) if place.is_dir() and not is_link else []
    links = [path for path in given if path.is_symlink() and path.suffix in (".json", *_ENDINGS)]
    problems += [
        f"{path.relative_to(folder)} is a link, which is not followed: put there what it leads to."
        for path in ([place] if is_link else links)
    ]
    return [path for path in given if _is_own(path)]


def _is_own(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
