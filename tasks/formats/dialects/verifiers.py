"""verifiers: {question | prompt, answer, info, task}, the rows of Prime Intellect's environments."""

from collections.abc import Sequence
from typing import Any

from tasks.formats.targets import Mapping


def guess(names: frozenset[str], samples: Sequence[dict[str, Any]]) -> Mapping | None:
    asked = "prompt" if "prompt" in names else "question"
    if not {asked, "answer"} <= names or not names & {"info", "task"}:
        return None
    columns = {asked: "prompt", "answer": "reference", "info": "item.info", "task": "domain", "question": "ignore"}
    columns |= {"id": "metadata.id", "example_id": "metadata.example_id", "completion": "ignore", "reward": "ignore"}
    columns[asked] = "prompt"
    return Mapping("verifiers", {source: target for source, target in columns.items() if source in names})
