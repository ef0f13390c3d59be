"""Croissant 1.0 metadata (http://mlcommons.org/croissant/1.0): the files of an export, and the records in them.

Fields are those whose values every row of a dialect has in one form; `mlcroissant` reads records by them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tasks.formats.card import DataFile, Facts

ENCODINGS = {"jsonl": "application/jsonlines", "csv": "text/csv", "parquet": "application/x-parquet"}
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


class Column(NamedTuple):
    name: str
    meaning: str
    kind: str = "text"  # text | texts | messages | other: not the same form in every row
    path: str = ""  # into the column's object
    source: str = ""  # the column, where it is not called like the field


_MESSAGES = Column("messages", "The prompt: instructions and the user's question.", "messages")
_PROMPT = Column("prompt", "The prompt as messages: instructions and the user's question.", "messages")
_ITEM = Column("item", "What the grader reads, its reference among it.", "other")
COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "native": (
        _MESSAGES,
        _ITEM,
        Column("gold", "An answer that earns full score, where one was given.", "other"),
        Column("grader", "The grader's configuration.", "other"),
        Column("domain", "The subject.", "other"),
        Column("metadata", "What else its contributor said.", "other"),
    ),
    "openai_rft": (_MESSAGES, Column("…", "Every other key is the item that the grader reads.", "other")),
    "trl": (
        _PROMPT,
        Column("solution", "The reference, as text."),
        Column("…", "Every other column goes to the reward function.", "other"),
    ),
    "open_instruct": (
        _MESSAGES,
        Column("ground_truth", "What the verifier compares with."),
        Column("dataset", "The verifier's name."),
    ),
    "dolci": (
        _MESSAGES,
        Column("ground_truth", "What the verifiers compare with.", "texts"),
        Column("dataset", "The verifiers' names.", "texts"),
    ),
    "verl": (
        Column("data_source", "Names the reward function."),
        _PROMPT,
        Column("ability", "The subject."),
        Column("ground_truth", "What the reward function compares with.", "text", "ground_truth", "reward_model"),
        Column("split", "The split of the row.", "text", "split", "extra_info"),
    ),
    "verifiers": (
        _PROMPT,
        Column("answer", "The reference, as text."),
        Column("info", "The rest of what the grader reads.", "other"),
        Column("task", "The subject."),
    ),
    "nemo_gym": (
        Column("responses_create_params", "The request: its `input` is the prompt.", "other"),
        Column("expected_answer", "The reference, as text."),
        Column("verifier_metadata", "The rest of what the verifier reads.", "other"),
    ),
    "reasoning_gym": (
        Column("question", "The prompt."),
        Column("answer", "The reference."),
        Column("metadata", "What the library's own rule reads.", "other"),
    ),
    "csv": (
        Column("prompt", "The user's question."),
        Column("system", "Instructions in front of it."),
        Column("reference", "The right answer, as text."),
        Column("gold", "An answer that earns full score, where one was given."),
        Column("grader", "The grader's configuration, as JSON."),
        Column("domain", "The subject."),
        Column("item", "The rest of what the grader reads, as JSON."),
        Column("metadata", "What else its contributor said, as JSON."),
    ),
    "parquet": (
        _MESSAGES,
        Column("reference", "The right answer, as text."),
        Column("gold", "An answer that earns full score, where one was given."),
        Column("grader", "The grader's configuration, as JSON."),
        Column("domain", "The subject."),
        Column("item", "The rest of what the grader reads, as JSON."),
        Column("metadata", "What else its contributor said, as JSON."),
    ),
}


def write(facts: Facts, container: str) -> dict[str, Any]:
    """croissant.json, for files that lie beside it."""
    return {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": facts.slug,
        "alternateName": facts.name,
        "description": facts.description or f"{facts.rows:,} verifiable tasks of {facts.team}/{facts.slug}.",
        "license": f"https://spdx.org/licenses/{facts.licence}.html" if facts.licence else "private to its team",
        "url": facts.address,
        "version": f"{facts.version or 0}.0.0",
        "datePublished": facts.date,
        "creator": {"@type": "Organization", "name": facts.team},
        "citeAs": f"{facts.team}/{facts.slug}, {facts.state}. {facts.address}",
        "keywords": ["verifiable tasks", "reinforcement learning", *facts.graders],
        "distribution": [_file(file, container) for file in facts.files],
        "recordSet": [_records(file, facts.dialect) for file in facts.files],
    }


def _file(file: DataFile, container: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path.rpartition("/")[2],
        "contentUrl": file.path,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": ENCODINGS[container],
        "sha256": file.sha256,
    }


def _records(file: DataFile, dialect: str) -> dict[str, Any]:
    fields = [_field(column, file) for column in COLUMNS[dialect] if column.kind != "other"]
    told = f"The {file.rows:,} tasks of the split {file.split}."
    return {"@type": "cr:RecordSet", "@id": file.split, "name": file.split, "description": told, "field": fields}


def _field(column: Column, file: DataFile) -> dict[str, Any]:
    name = f"{file.split}/{column.name}"
    found: dict[str, Any] = {"@type": "cr:Field", "@id": name, "name": column.name, "description": column.meaning}
    if column.kind == "messages":
        parts = [_part(name, column.name, part, file) for part in ("role", "content")]
        return {**found, "repeated": True, "subField": parts}
    source = _source(file, column.source or column.name, column.path)
    return {**found, "dataType": "sc:Text", "source": source} | ({"repeated": True} if column.kind == "texts" else {})


def _part(above: str, column: str, part: str, file: DataFile) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{above}/{part}",
        "name": part,
        "dataType": "sc:Text",
        "source": _source(file, column, part),
    }


def _source(file: DataFile, column: str, path: str) -> dict[str, Any]:
    transform = {"transform": {"jsonPath": path}} if path else {}
    return {"fileObject": {"@id": file.path}, "extract": {"column": column}, **transform}
