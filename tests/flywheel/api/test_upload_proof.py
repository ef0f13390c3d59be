"""The matrix of an upload's graders, proving again, and what judges cost."""

import json

import pytest

from tasks.models import ProofRun, Upload
from tests import cast, world
from tests.cast import Person


def loose(count: int) -> bytes:
    """Rows whose grader accepts whatever contains the answer; the last one's own right answer fails."""
    grader = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "{{ item.reference }}"}
    rows = [
        {"prompt": f"Is {n} odd?", "reference": ("yes", "no")[n % 2], "grader": {**grader, "operation": "like"}}
        for n in range(count)
    ]
    failing = {"prompt": "Add 2 and 3.", "reference": 5, "gold": "It is 6.", "grader": {"type": "number"}}
    return b"".join(json.dumps(row).encode() + b"\n" for row in [*rows, failing])


@pytest.fixture
def proved(contributor: Person) -> Upload:
    return world.imported(world.private_dataset(contributor, "Loose"), loose(8), contributor)


def test_the_matrix_counts_what_a_loose_grader_lets_through(contributor: Person, proved: Upload):
    kinds = contributor.api.get(f"/api/v1/uploads/{proved.pk}/matrix").json()

    cells = {
        (kind["type"], line["name"], cell["outcome"]): (cell["count"], cell["meaning"])
        for kind in kinds
        for line in kind["lines"]
        for cell in line["cells"]
    }
    assert cells["string_check", "every_candidate", "passed"] == (8, "false_accept")
    assert cells["number", "gold", "failed"] == (1, "false_reject")


def test_the_estimate_is_told_without_its_lines(contributor: Person, proved: Upload):
    estimate = {"judged_rows": 9, "sample_rows": 2, "calls": 14, "tokens": 900, "models": ["m"]}
    ProofRun.objects.update(estimate={**estimate, "lines": [1, 5], "candidates": [[1, 1, 60], [5, 1, 60]]})

    assert contributor.api.get(f"/api/v1/uploads/{proved.pk}").json()["proof"]["estimate"] == estimate


def test_a_cell_of_the_matrix_lists_its_rows_page_by_page(contributor: Person, proved: Upload):
    path = f"/api/v1/uploads/{proved.pk}/matrix/rows?grader=string_check&row=every_candidate&cell=passed&limit=5"

    first = contributor.api.get(path).json()
    second = contributor.api.get(f"{path}&after={first['next_after']}").json()

    lines = [row["line"] for page in (first, second) for row in page["rows"]]
    assert (lines, second["next_after"]) == ([1, 2, 3, 4, 5, 6, 7, 8], None)


def test_a_cell_that_the_matrix_does_not_have_is_400(contributor: Person, proved: Upload):
    reply = contributor.api.get(f"/api/v1/uploads/{proved.pk}/matrix/rows?grader=number&row=gold&cell=nothing")

    assert (reply.status_code, reply.json()["code"]) == (400, "unknown_cell")


def test_proving_again_counts_what_could_not_be_graded(contributor: Person, proved: Upload):
    assert contributor.api.post(f"/api/v1/uploads/{proved.pk}/prove", {}, format="json").json() == {"rows": 0}


CELL = "matrix/rows?grader=string_check&row=every_candidate&cell=passed"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "matrix"), ("GET", CELL), ("POST", "prove"), ("POST", "judge")], ids=str
)
def test_the_proof_of_another_teams_upload_is_404(stranger: Person, proved: Upload, method: str, path: str):
    reply = stranger.api.generic(method, f"/api/v1/uploads/{proved.pk}/{path}", "{}", content_type="application/json")

    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["matrix", CELL], ids=str)
def test_who_only_looks_on_sees_the_matrix(onlooker: Person, proved: Upload, path: str):
    assert onlooker.api.get(f"/api/v1/uploads/{proved.pk}/{path}").status_code == 200


@pytest.mark.parametrize("path", ["prove", "judge"])
def test_who_only_looks_on_can_neither_prove_again_nor_spend_tokens(onlooker: Person, proved: Upload, path: str):
    reply = onlooker.api.post(f"/api/v1/uploads/{proved.pk}/{path}", {}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (403, "role_missing")


@pytest.mark.parametrize("path", ["prove", "judge"])
def test_a_key_that_only_reads_can_neither_prove_again_nor_spend_tokens(contributor: Person, proved: Upload, path: str):
    reader = Person(contributor.user, contributor.team, cast.key(contributor.user, contributor.team, ["read"]))

    assert reader.api.post(f"/api/v1/uploads/{proved.pk}/{path}", {}, format="json").status_code == 403


def test_without_judges_there_is_nothing_to_agree_to(contributor: Person, proved: Upload):
    reply = contributor.api.post(f"/api/v1/uploads/{proved.pk}/judge", {"rows": 5}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (409, "nothing_to_confirm")
