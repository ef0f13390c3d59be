import json

from tasks import stretch
from tasks.graders import registry
from tasks.stretch import Row

NUMBER = {"type": "number"}
DIGEST = registry.digest(NUMBER)
CONFIGS = {DIGEST: json.dumps(NUMBER).encode()}


def row(line: int, **changes: object) -> Row:
    messages = json.dumps([{"role": "user", "content": f"What is {line} + 0?"}])
    whole = Row(line, 100 + line, False, "valid", DIGEST, "number", False, None, messages, f'{{"reference": {line}}}')
    return whole._replace(**changes)


def neighbours(rows: list[Row], wanted: list[Row]) -> dict[int, list[str]]:
    claims = [stretch.claims_of(part, CONFIGS) for part in stretch.parts(stretch.rings(rows), wanted)]
    return {pk: list(claim.neighbours) for part in claims for pk, claim in part.items()}


def test_a_row_stands_beside_the_next_eight_of_its_kind_around_the_stretch():
    rows = [row(line) for line in range(1, 21)]

    found = neighbours(rows, rows)

    assert found[101] == ["2", "3", "4", "5", "6", "7", "8", "9"]
    assert found[120] == ["1", "2", "3", "4", "5", "6", "7", "8"]


def test_a_piece_sees_the_neighbours_that_the_whole_stretch_would():
    rows = [row(line) for line in range(1, 21)]
    whole = neighbours(rows, rows)

    pieces = [neighbours(rows, rows[start : start + 3]) for start in range(0, 20, 3)]

    assert {pk: found for piece in pieces for pk, found in piece.items()} == whole


def test_a_row_is_no_neighbour_of_itself():
    rows = [row(line) for line in range(1, 4)]

    assert neighbours(rows, rows)[102] == ["3", "1"]


def test_a_repeated_row_stands_once():
    rows = [row(1), row(2), row(3, task_id=101)]

    assert [one.line for one in stretch.rings(rows)["number"]] == [1, 2]


def test_rows_that_are_proved_are_neighbours_and_are_not_proved_again():
    rows = [row(1), row(2), row(3)]

    _, found = stretch.prove(stretch.parts(stretch.rings(rows), [rows[0], rows[2]]), CONFIGS)

    assert [(one.task_id, one.outcome) for one in found] == [(101, "proved"), (103, "proved")]


def test_graders_with_pools_or_costs_of_their_own_work_elsewhere():
    elsewhere = {kind for kind in registry.types() if stretch.works_elsewhere(kind)}

    assert elsewhere == {"code", "label_model", "math", "multi", "python", "reasoning_gym", "score_model"}
