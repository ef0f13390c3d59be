"""Saves what an OpenAI account holds of fine-tuning and evals into a folder, with nothing but OpenAI's client.

python openai_export.py FOLDER    (OPENAI_API_KEY; the account's own address is the client's default)

files.json, files/ID.jsonl: files and their contents. jobs.json, events/ID.json, checkpoints/ID.json: jobs and what they
told. evals.json, runs/ID.json: evals and their runs. The content of a file that is there already is not
fetched again. `manage.py import_openai` reads the folder.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from openai import OpenAI, OpenAIError

PURPOSES = ("fine-tune", "fine-tune-results", "evals")


class Export:
    def __init__(self, client: OpenAI, folder: Path) -> None:
        self.client, self.folder, self.faults = client, folder, 0

    def everything(self, purposes: Iterable[str]) -> None:
        jobs, files = self.client.fine_tuning.jobs, self.client.files
        self.listed("files", lambda: [file for file in files.list() if file.purpose in purposes], self.content)
        self.listed("jobs", lambda: jobs.list(limit=100), self.job)
        self.listed("evals", lambda: self.client.evals.list(limit=100), self.runs)

    def listed(self, name: str, ask: Callable[[], Iterable[Any]], each: Callable[[dict[str, Any]], None]) -> None:
        """NAME.json, with what belongs to each of its rows beside it."""
        rows = self.asked(name, lambda: [row.to_dict(mode="json", warnings=False) for row in ask()])
        if rows is None:
            return
        self.write(f"{name}.json", {"object": "list", "data": rows})
        for row in rows:
            each(row)
        print(f"{name}: {len(rows)}")

    def content(self, file: dict[str, Any]) -> None:
        path = self.folder / "files" / (file["id"] + Path(file["filename"]).suffix)
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.part")

        def fetch() -> bool:
            with self.client.files.with_streaming_response.content(file["id"]) as reply:
                reply.stream_to_file(partial)
            return True

        if self.asked(f"{file['filename']} ({file['id']})", fetch):
            partial.replace(path)

    def job(self, job: dict[str, Any]) -> None:
        jobs, known = self.client.fine_tuning.jobs, job["id"]
        self.beside("events", known, lambda: jobs.list_events(known, limit=100))
        self.beside("checkpoints", known, lambda: jobs.checkpoints.list(known, limit=100))

    def runs(self, eval_: dict[str, Any]) -> None:
        self.beside("runs", eval_["id"], lambda: self.client.evals.runs.list(eval_["id"], limit=100))

    def beside(self, name: str, known: str, ask: Callable[[], Iterable[Any]]) -> None:
        rows = self.asked(f"{name} of {known}", lambda: [row.to_dict(mode="json", warnings=False) for row in ask()])
        if rows is not None:
            self.write(f"{name}/{known}.json", {"object": "list", "data": rows})

    def asked(self, what: str, ask: Callable[[], Any]) -> Any:
        """The answer; None, and a line that says so, where there is none."""
        try:
            return ask()
        except OpenAIError as fault:
            self.faults += 1
            print(f"{what}: left out: {fault}", file=sys.stderr)
            return None

    def write(self, name: str, body: Any) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.part")
        partial.write_text(json.dumps(body, indent=1), encoding="utf-8")
        partial.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--purpose", action="append", help=f"of files (default: {', '.join(PURPOSES)})")
    given = parser.parse_args()
    export = Export(OpenAI(), given.folder)
    export.everything(given.purpose or PURPOSES)
    return 1 if export.faults else 0


if __name__ == "__main__":
    sys.exit(main())
