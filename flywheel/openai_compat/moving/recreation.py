"""Saved evals and fine-tuning jobs as the requests that make them again here, and a script that sends those of jobs."""

import pprint
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.openai_compat import job_requests
from tasks.errors import Invalid

MARK = "imported_from"  # in the metadata of what was made again: the id that it had
MOST_METADATA = 16


@dataclass(frozen=True, slots=True)
class Call:
    """`arguments` of fine_tuning.jobs.create."""

    was: str  # the job's old id
    about: str
    arguments: Mapping[str, Any]
    notes: tuple[str, ...] = ()  # what is different, in sentences
    eval_id: str | None = None  # of the eval that it had, where it brings one here too


def call_of(job: Mapping[str, Any], *, files: Mapping[str, str], models: Mapping[str, str], default: str) -> Call:
    """Raises Invalid with what stands against it. `files`, `models`: what the old names are called here."""
    was, model = str(job.get("id") or ""), str(job.get("model") or "")
    if not was:
        raise Invalid("no_job", "it has no id: save the list of jobs as the API sends it.", None)
    arguments: dict[str, Any] = {"model": models.get(model, default)}
    for param in ("training_file", "validation_file"):
        if given := job.get(param):
            arguments[param] = _file(str(given), param, files)
    if suffix := job.get("user_provided_suffix") or _suffix_of(str(job.get("fine_tuned_model") or "")):
        arguments["suffix"] = suffix
    arguments |= {name: job[name] for name in ("seed", "method") if job.get(name) is not None}
    if isinstance(arguments.get("method"), Mapping):
        arguments["method"] = _method(arguments["method"])
    metadata = job.get("metadata")
    arguments["metadata"] = _marked(metadata if isinstance(metadata, Mapping) else {}, was)
    job_requests.create_of(arguments)
    about = f"{was}, {job.get('status') or 'without a status'}, of {model or 'no model'}"
    notes = tuple(_notes(job, model, models, arguments["model"]))
    return Call(was, about, arguments, notes, job.get("eval_id") if "validation_file" in arguments else None)


def _file(given: str, param: str, files: Mapping[str, str]) -> str:
    if given not in files:
        sentence = f"its {param} {given} was not taken: repair that file, or save it into the folder, and call again."
        raise Invalid("no_file", sentence, param)
    return files[given]


def _suffix_of(name: str) -> str:
    """The fourth part of ft:BASE:ORGANISATION:SUFFIX:ID."""
    parts = name.split(":")
    return parts[3] if len(parts) == 5 else ""


def _method(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of its own kind only, and without what is null: a job tells more than its request said."""
    kind = str(given.get("type"))
    part = given.get(kind)
    if not isinstance(part, Mapping):
        return dict(given)
    kept = {name: value for name, value in part.items() if value is not None}
    if isinstance(numbers := kept.get("hyperparameters"), Mapping):
        kept["hyperparameters"] = {name: value for name, value in numbers.items() if value is not None}
    return {"type": kind, kind: kept}


def _marked(metadata: Mapping[str, Any], was: str) -> dict[str, Any]:
    """Where there is no room for one more, what was there stays."""
    room = len(metadata) < MOST_METADATA or MARK in metadata
    return {**metadata, MARK: was} if room else dict(metadata)


def _notes(job: Mapping[str, Any], model: str, models: Mapping[str, str], chosen: str) -> list[str]:
    notes = []
    if job.get("integrations"):
        notes.append("its integrations are left out: let a webhook tell you of the run.")
    if model.startswith("ft:") and model not in models:
        notes.append(f"it went on from {model}, and starts from {chosen} now: name what that is here by --model.")
    return notes


def eval_body_of(saved: Mapping[str, Any]) -> dict[str, Any]:
    """What creates an eval like the one that is told here. Raises Invalid."""
    metadata, was = saved.get("metadata"), str(saved.get("id") or "")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    if not was:
        raise Invalid("no_eval", "it has no id: save the list of evals as the API sends it.", None)
    if len(metadata) >= MOST_METADATA and MARK not in metadata:
        sentence = (
            f"its {MOST_METADATA} metadata leave no room for `{MARK}`, by which it is known again: take one away."
        )
        raise Invalid("no_room", sentence, "metadata")
    criteria = saved.get("testing_criteria")
    return {
        "name": str(saved.get("name") or ""),
        "data_source_config": _data_of(saved.get("data_source_config")),
        "testing_criteria": [_criterion(given) for given in criteria] if isinstance(criteria, list) else criteria,
        "metadata": _marked(metadata, was),
    }


def _data_of(told: Any) -> Any:
    """A reply has one schema of whole rows, a request the item's."""
    schema = told.get("schema") if isinstance(told, Mapping) else None
    if not isinstance(schema, Mapping) or told.get("type") != "custom":
        return told
    parts = schema.get("properties")
    parts = parts if isinstance(parts, Mapping) else {}
    return {
        "type": "custom",
        "item_schema": parts.get("item", {"type": "object"}),
        "include_sample_schema": "sample" in parts,
    }


def _criterion(given: Any) -> Any:
    return {name: value for name, value in given.items() if name != "id"} if isinstance(given, Mapping) else given


def script(calls: Sequence[Call]) -> str:
    """Text of a program that needs the client only."""
    jobs = "\n".join(_told(call) for call in calls)
    return _SCRIPT.format(jobs=jobs, mark=MARK)


def _told(call: Call) -> str:
    written = pprint.pformat(dict(call.arguments), width=100, sort_dicts=False)
    lines = [f"# {_in_a_line(call.about)}", *(f"# {_in_a_line(note)}" for note in call.notes)]
    return "\n".join(f"    {line}" for line in [*lines, f"({call.was!r}, {written}),".replace("\n", "\n    ")])


def _in_a_line(text: str) -> str:
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())[:200]


_SCRIPT = '''\
"""Makes saved fine-tuning jobs again. Written by manage.py import_openai, which writes it anew the next time.

python THIS_FILE --base-url http://127.0.0.1:8000/openai/v1 --api-key fw_…    (or OPENAI_BASE_URL and OPENAI_API_KEY)

What this script has made before is passed over; --again makes it once more.
"""

import argparse

from openai import OpenAI, OpenAIError

JOBS = [  # (id that the job had, arguments of fine_tuning.jobs.create)
{jobs}
]


def made_before(client: OpenAI, was: str) -> bool:
    return bool(client.fine_tuning.jobs.list(limit=1, extra_query={{"metadata[{mark}]": was}}).data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", help="default: OPENAI_BASE_URL")
    parser.add_argument("--api-key", help="default: OPENAI_API_KEY")
    parser.add_argument("--again", action="store_true", help="also what was made before")
    given = parser.parse_args()
    client, refused = OpenAI(base_url=given.base_url, api_key=given.api_key), 0
    for was, arguments in JOBS:
        if not given.again and made_before(client, was):
            print(f"{{was}}: made before")
            continue
        try:
            job = client.fine_tuning.jobs.create(**arguments)
            print(f"{{was}}: {{job.id}}, {{job.status}}")
        except OpenAIError as fault:
            refused += 1
            print(f"{{was}}: {{fault}}")
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main())
'''
