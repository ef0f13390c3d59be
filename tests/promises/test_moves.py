"""Every move of the data side is allowed or refused by its table, pair by pair."""

from itertools import product
from typing import Any

import pytest

from tasks.models import FileInParts, ProofRun, Task, Upload
from tasks.models.moves import IllegalMoveError
from tasks.states import (
    PARTS_MOVES,
    PROOF_MOVES,
    TASK_MOVES,
    UPLOAD_MOVES,
    PartsState,
    ProofState,
    TaskState,
    UploadState,
)

TABLES = [
    (Task, TaskState, TASK_MOVES),
    (Upload, UploadState, UPLOAD_MOVES),
    (ProofRun, ProofState, PROOF_MOVES),
    (FileInParts, PartsState, PARTS_MOVES),
]
PAIRS = [(model, old, new, table) for model, states, table in TABLES for old, new in product(states, states)]
NOBODY = 0  # no row has this id


@pytest.mark.parametrize(("model", "states", "table"), TABLES)
def test_every_state_has_its_row_in_the_table(model: Any, states: Any, table: Any):
    assert set(table) == set(states)


@pytest.mark.django_db
@pytest.mark.parametrize(("model", "old", "new", "table"), [pair for pair in PAIRS if pair[2] in pair[3][pair[1]]])
def test_a_move_of_the_table_is_allowed(model: Any, old: Any, new: Any, table: Any):
    assert model.objects.advance(NOBODY, old, new) is False  # nobody was there to move, and nobody objected
    assert model.objects.advance_many([NOBODY], old, new, team=None) == []


@pytest.mark.parametrize(("model", "old", "new", "table"), [pair for pair in PAIRS if pair[2] not in pair[3][pair[1]]])
def test_any_other_move_is_refused(model: Any, old: Any, new: Any, table: Any):
    with pytest.raises(IllegalMoveError):
        model.objects.advance(NOBODY, old, new)
    with pytest.raises(IllegalMoveError):
        model.objects.advance_many([NOBODY], old, new, team=None)


def test_withdrawn_is_final():
    assert not TASK_MOVES[TaskState.WITHDRAWN]


def test_only_withdrawn_tasks_cannot_be_withdrawn():
    assert all(TaskState.WITHDRAWN in new for old, new in TASK_MOVES.items() if old is not TaskState.WITHDRAWN)


def test_nothing_is_approved_that_was_not_proved_or_looked_at():
    approved_from = {old for old, new in TASK_MOVES.items() if TaskState.APPROVED in new}

    assert approved_from == {TaskState.PROVED, TaskState.UNPROVED, TaskState.CONFLICT}
