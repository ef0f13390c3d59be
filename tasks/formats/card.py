"""What a dataset says of itself when it leaves: a card with a header that the Hugging Face hub reads.

The licence is an SPDX id; the hub spells the ones that it knows in small letters and calls every other one "other".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# https://huggingface.co/docs/hub/repositories-licenses: those under which data is shared
_HUB = """
apache-2.0 mit bsd bsd-2-clause bsd-3-clause c-uda cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 ecl-2.0 eupl-1.1 eupl-1.2
gfdl isc mpl-2.0 odc-by odbl pddl unlicense zlib artistic-2.0 bsl-1.0 afl-3.0
"""
HUB_LICENCES = frozenset(_HUB.split())
_SPELLED = {
    "odc-by-1.0": "odc-by",
    "odbl-1.0": "odbl",
    "pddl-1.0": "pddl",
    "c-uda-1.0": "c-uda",
    "gfdl-1.3-or-later": "gfdl",
}
_SIZES = (
    *((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")),
    *((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B")),
)


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of an archive."""

    path: str
    split: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is said of a dataset. Nothing here names a person."""

    name: str
    slug: str
    team: str
    address: str  # of its page
    dialect: str
    date: str  # ISO, of the version or of now
    version: int | None = None  # None: the dataset as it was on that day
    digest: str = ""
    description: str = ""
    licence: str = ""  # SPDX id
    contributed: bool = False
    domains: Mapping[str, int] = field(default_factory=dict)  # rows of each
    graders: Mapping[str, int] = field(default_factory=dict)  # rows by type
    proofs: Mapping[str, int] = field(default_factory=dict)  # rows by outcome
    reviewed: int = 0  # rows that a person has approved
    uploads: int = 0  # that the rows came with
    left_out: int = 0  # rows of the version that have been withdrawn or rejected since
    sealed: bool = False  # whether sealed rows are among them
    columns: Sequence[tuple[str, str]] = ()  # (name, meaning)
    files: Sequence[DataFile] = ()

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def state(self) -> str:
        return f"version {self.version}" if self.version is not None else f"the state of {self.date}"


def hub_licence(spdx: str) -> dict[str, str]:
    """The header's fields for a licence."""
    small = _SPELLED.get(spdx.lower(), spdx.lower())
    if small in HUB_LICENCES:
        return {"license": small}
    if not spdx:
        return {"license": "unknown"}
    return {"license": "other", "license_name": spdx.lower(), "license_link": f"https://spdx.org/licenses/{spdx}.html"}


def size_category(rows: int) -> str:
    return next((name for limit, name in _SIZES if rows < limit), "n>1T")


def header(facts: Facts) -> dict[str, Any]:
    """The YAML in front of the card, as a value."""
    return {
        **hub_licence(facts.licence),
        "pretty_name": facts.name,
        "task_categories": ["text-generation"],
        "tags": ["verifiable", "reinforcement-learning", *sorted(f"grader:{kind}" for kind in facts.graders)],
        "size_categories": [size_category(facts.rows)],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": file.split, "path": file.path} for file in facts.files],
            }
        ],
    }


def write(facts: Facts) -> str:
    """README.md."""
    parts = [
        f"---\n{yaml(header(facts))}---\n",
        f"# {facts.name}\n",
        _about(facts),
        _files(facts),
        "## Columns\n\n" + _rows(("column", "meaning"), [(f"`{name}`", meaning) for name, meaning in facts.columns]),
        "## Where it comes from\n\n" + _provenance(facts),
        "## Graders\n\n" + _graders(facts),
        "## How the tasks were proved\n\n" + _proved(facts),
        "## Splits\n\n" + _splits(facts),
    ]
    return "\n".join(parts)


def yaml(value: Mapping[str, Any], indent: str = "") -> str:
    """Block style for mappings and lists, JSON (which is YAML) for every text."""
    lines = []
    for name, inner in value.items():
        if isinstance(inner, list):
            lines.append(f"{indent}{name}:")
            lines += [_entry(entry, indent) for entry in inner]
        else:
            lines.append(f"{indent}{name}: {_text(inner)}")
    return "\n".join(lines) + "\n"


def _entry(entry: Any, indent: str) -> str:
    if not isinstance(entry, Mapping):
        return f"{indent}- {_text(entry)}"
    block = yaml(entry, f"{indent}  ").rstrip("\n")
    return f"{indent}- {block[len(indent) + 2 :]}"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(text: str) -> str:
    """A text that comes from people, as one paragraph without markup of its own."""
    flat = " ".join(text.split())
    for sign in "\\`*_[]<>|#":
        flat = flat.replace(sign, f"\\{sign}")
    return flat


def _about(facts: Facts) -> str:
    told = f"{_plain(facts.description)}\n\n" if facts.description else ""
    content = f" Content: `{facts.digest}`." if facts.digest else ""
    return (
        f"{told}{facts.rows:,} verifiable tasks: a prompt, and a grader that decides whether an answer to it is right. "
        f"This is {facts.state} of `{facts.team}/{facts.slug}` ({facts.address}).{content}\n"
    )


def _files(facts: Facts) -> str:
    rows = [(f"`{file.path}`", file.split, f"{file.rows:,}", f"{file.bytes:,}") for file in facts.files]
    return "## Files\n\n" + _rows(("file", "split", "rows", "bytes"), rows) + f"\nDialect: `{facts.dialect}`.\n"


def _provenance(facts: Facts) -> str:
    who = f"Uploaded by the team {_plain(facts.team)} in {facts.uploads:,} file{'s' * (facts.uploads != 1)}."
    licence = f" Licence: {facts.licence}." if facts.licence else " It has no licence: it is private to its team."
    consent = " Its contributors have agreed to sharing and training under it." if facts.contributed else ""
    domains = [(_plain(name) or "none given", f"{count:,}") for name, count in facts.domains.items()]
    return f"{who}{licence}{consent}\n\n" + _rows(("domain", "rows"), domains)


def _graders(facts: Facts) -> str:
    rows = [(f"`{kind}`", f"{count:,}") for kind, count in facts.graders.items()]
    return _rows(("grader", "rows"), rows) + "\nConfigurations are in `graders.json`, by their SHA-256.\n"


def _proved(facts: Facts) -> str:
    rows = [(outcome, f"{count:,}") for outcome, count in facts.proofs.items()]
    return (
        "Before a task counts, its right answer must earn full score from its grader and plausible wrong answers must "
        "not. What that leaves open, a person decides. Copies were found by their normalised prompts, and prompts of "
        f"held-out suites were refused.\n\n{_rows(('proof', 'rows'), rows)}\n"
        f"Approved by a person: {facts.reviewed:,}.\n"
    )


def _splits(facts: Facts) -> str:
    told = "A prompt's split is drawn once, when its space first sees it, and never changes. "
    told += (
        "The sealed split, on which gates measure models, is in these files: keep them to the team.\n"
        if facts.sealed
        else "The sealed split, on which gates measure models, is not in these files.\n"
    )
    if facts.left_out:
        told += (
            f"Rows of the version that have been withdrawn or rejected since, and are left out: {facts.left_out:,}.\n"
        )
    return told


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"
