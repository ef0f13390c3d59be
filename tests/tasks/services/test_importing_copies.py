"""A file comes again as people pass files on: in another order, and with other punctuation."""

import random
import re
from collections.abc import Callable

import pytest

from flywheel.bench.rows import Corpus
from tasks.models import Dataset, TaskFinding, Upload
from tests.tasks.pipeline import imported

QUESTIONS = [question for question, _ in Corpus(seed=5, size=900).rows() if str(question.reference).isdigit()]


def uploaded(dataset: Dataset, dress: Callable[[str], str], order: list[int]) -> Upload:
    return imported(
        dataset, [{"prompt": dress(QUESTIONS[n].prompt), "reference": QUESTIONS[n].reference} for n in order]
    )


def originals(upload: Upload, again: Upload) -> dict[int, int]:
    """{line of the copy: line of the row that it was found to be}."""
    line_of = dict(upload.memberships.filter(duplicate=False).values_list("task_id", "line"))
    rows = again.memberships.values_list("line", "task_id", "duplicate")
    near = TaskFinding.objects.filter(kind=TaskFinding.Kind.NEAR_DUPLICATE).values_list("task_id", "other")
    other = {task: found for task, found in near if found is not None}
    return {
        line: line_of[task if duplicate else other[task]]
        for line, task, duplicate in rows
        if duplicate or task in other
    }


def _typographic(text: str) -> str:
    return text.replace('"', "“").replace("'", "’").replace(" - ", " — ").rstrip(".?") + " …"


def _without_inner_signs(text: str) -> str:
    return re.sub(r"(?<!\d)[,;:!](?=\s)", "", text)


def _with_other_signs(text: str) -> str:
    return text.replace(", ", " - ").replace(". ", "; ")


@pytest.mark.parametrize("dress", [_typographic, _without_inner_signs, _with_other_signs])
def test_every_row_of_a_shuffled_and_repunctuated_copy_is_found_beside_its_original(
    dataset: Dataset, dress: Callable[[str], str]
):
    order = list(range(len(QUESTIONS)))
    upload = uploaded(dataset, str, order)
    random.Random(6).shuffle(order)

    again = uploaded(dataset, dress, order)

    assert again.counts["rows"] == len(QUESTIONS)
    assert originals(upload, again) == {line: original + 1 for line, original in enumerate(order, 1)}
