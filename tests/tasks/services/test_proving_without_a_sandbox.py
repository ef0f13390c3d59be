"""A machine that cannot confine anything today refuses nobody's rows for ever."""

from typing import Any

import pytest

from tasks.models import Dataset
from tasks.services import proving, reproving
from tests.tasks.pipeline import proved, states, sums, tasks

pytestmark = pytest.mark.django_db

SOURCE = "def grade(sample, item):\n    return float(sample['output_text'] == item['reference'])\n"


def _rows(count: int) -> list[dict[str, Any]]:
    """Their own python grader; their answers are as different as their prompts."""
    return [
        {
            "prompt": f"Say word {number} of the list.",
            "reference": f"word-{number}",
            "gold": f"word-{number}",
            "grader": {"type": "python", "source": SOURCE},
        }
        for number in range(count)
    ]


@pytest.fixture
def without_sandbox(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("SANDBOX_LEVELS", "none")
    return monkeypatch


def test_rows_that_need_a_sandbox_are_left_undecided_and_the_others_are_proved(
    dataset: Dataset, without_sandbox: pytest.MonkeyPatch
):
    upload = proved(dataset, [*sums(3), *_rows(2)])

    assert upload.counts.get("rejected", {}) == {}
    assert states(dataset)[:3] == ["proved"] * 3
    assert not {"proved", "approved", "rejected"} & set(states(dataset)[3:])


def test_with_a_sandbox_again_they_are_proved_without_a_new_upload(
    dataset: Dataset, without_sandbox: pytest.MonkeyPatch
):
    upload = proved(dataset, [*sums(3), *_rows(2)])
    without_sandbox.delenv("SANDBOX_LEVELS")

    reproving.again(upload, actor=None)
    proving.prove_upload(upload.pk)

    assert states(dataset) == ["proved"] * 5


def test_a_row_that_waits_for_a_sandbox_says_so(dataset: Dataset, without_sandbox: pytest.MonkeyPatch):
    upload = proved(dataset, [*sums(3), *_rows(2)])

    said = [tasks(dataset)[-1].reason, *upload.proof.refusals]
    assert any("The sandbox is switched off" in sentence for sentence in said)
