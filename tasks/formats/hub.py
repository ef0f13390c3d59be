"""Files of a Hugging Face dataset, by its id and a pinned revision. Data files only: nothing of a repository is run.

HF_ENDPOINT names another hub, HF_TOKEN opens private datasets. A hub that cannot be reached, a dataset that is not
there and one that is too large are refused in a sentence.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from tasks.errors import Busy, Invalid, NotFound, TooLarge

READ = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".xlsx")
MAX_FILES = 1_000
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?")
_REVISION = re.compile(r"[\w./-]{1,100}")
_SECONDS = 20.0


class _Sibling(msgspec.Struct):
    rfilename: str
    size: int | None = None


class _About(msgspec.Struct):
    """The parts that are read of what the hub's API tells of a dataset."""

    sha: str | None = None
    siblings: list[_Sibling] = []
    card: dict[str, Any] | None = msgspec.field(default=None, name="cardData")


@dataclass(frozen=True, slots=True)
class HubFile:
    path: str  # in the repository: data/train-00000-of-00001.parquet
    size: int  # bytes
    url: str


@dataclass(frozen=True, slots=True)
class HubDataset:
    id: str
    revision: str  # the commit that was found: asking for it again gives the same bytes
    files: tuple[HubFile, ...]  # the ones that can be read here, by name
    licence: str  # as its card says; "" where it says nothing


def look_up(dataset: str, revision: str = "main") -> HubDataset:
    """What a dataset holds. Raises NotFound, Invalid or Busy with a sentence."""
    if not _ID.fullmatch(dataset) or not _REVISION.fullmatch(revision) or ".." in dataset + revision:
        raise Invalid("bad_dataset", "Write a dataset as owner/name, with a branch, tag or commit.", "dataset")
    import httpx

    endpoint = _endpoint()
    with _refusals(dataset, endpoint):
        reply = httpx.get(
            f"{endpoint}/api/datasets/{dataset}/revision/{quote(revision, safe='')}",
            params={"blobs": "true"},  # sizes
            headers=_headers(),
            follow_redirects=True,
            timeout=_SECONDS,
        )
        reply.raise_for_status()
        found = msgspec.json.decode(reply.content, type=_About)
    commit = found.sha or revision
    files = [
        HubFile(
            entry.rfilename,
            entry.size or 0,
            f"{endpoint}/datasets/{dataset}/resolve/{quote(commit, safe='')}/{quote(entry.rfilename)}",
        )
        for entry in found.siblings
        if _is_read(entry.rfilename)
    ]
    if not files:
        raise NotFound("no_files", f"The dataset {dataset} holds no Parquet, JSON or CSV file that can be read here.")
    licence = (found.card or {}).get("license")
    in_order = tuple(sorted(files, key=lambda file: file.path)[:MAX_FILES])
    return HubDataset(dataset, commit, in_order, licence if isinstance(licence, str) else "")


def download(file: HubFile, folder: Path, *, max_bytes: int) -> Path:
    """One file into a folder, under its last name; never more than `max_bytes`, whatever its size was said to be."""
    import httpx

    if file.size > max_bytes:
        raise TooLarge("file_too_large", f"{file.path} has {file.size:,} bytes, more than {max_bytes:,}.")
    target, part = folder / Path(file.path).name, folder / f"{Path(file.path).name}.part"
    with (
        _refusals(file.path, _endpoint()),
        httpx.stream("GET", file.url, headers=_headers(), follow_redirects=True, timeout=_SECONDS) as reply,
        part.open("wb") as sink,
    ):
        reply.raise_for_status()
        written = 0
        for piece in reply.iter_bytes(1 << 20):
            written += len(piece)
            if written > max_bytes:
                part.unlink()
                raise TooLarge("file_too_large", f"{file.path} has more than {max_bytes:,} bytes.")
            sink.write(piece)
    part.replace(target)
    return target


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _is_read(path: str) -> bool:
    name = Path(path).name.lower()
    return name.removesuffix(".gz").endswith(READ) and not name.startswith(".") and name not in _NOT_ROWS


_NOT_ROWS = frozenset({"dataset_infos.json", "dataset_info.json", "state.json", "config.json"})


def _headers() -> dict[str, str]:
    token = os.environ.get("HF_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


@contextmanager
def _refusals(what: str, endpoint: str) -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.HTTPStatusError as fault:
        status = fault.response.status_code
        if status in (401, 403, 404):
            sentence = f"{what} is not at {endpoint} in this revision, or it is private: set HF_TOKEN to read it."
            raise NotFound("dataset_not_found", sentence, "dataset") from None
        raise Busy("hub_refuses", f"The hub at {endpoint} answers {status} for {what}: try again later.") from None
    except (httpx.HTTPError, httpx.InvalidURL):
        sentence = f"No hub is reachable at {endpoint}: upload the files, or set HF_ENDPOINT to a hub that is."
        raise Busy("hub_unreachable", sentence) from None
    except msgspec.DecodeError:
        raise Busy("hub_refuses", f"What answers at {endpoint} is no hub: set HF_ENDPOINT to one.") from None
