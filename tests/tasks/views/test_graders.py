"""/submit/<id>/grader: what got through, with its rows, and the bench to try a better grader on them."""

from typing import Any

import pytest

from tasks import proof
from tasks.models import Dataset, ProofRun, Task, Upload
from tasks.services import trying
from tests.fixtures_portal import Portal
from tests.portal_client import browser, text

pytestmark = pytest.mark.django_db


@pytest.fixture
def address(portal: Portal) -> str:
    return f"/submit/{portal.upload.pk}/grader"


def bench(portal: Portal, address: str, verb: str, **fields: Any) -> Any:
    return browser(portal.contributor).post(address, {"verb": verb, "at": "1", **fields})


def first(upload: Upload) -> Task:
    return upload.memberships.select_related("task").order_by("line")[0].task


def test_the_matrix_has_a_line_for_the_right_answer_and_each_decoy(portal: Portal, address: str):
    kinds = browser(portal.contributor).get(address).context["kinds"]

    assert [line["name"] for line in kinds[0]["lines"]] == [
        "gold", "empty", "echo", "other_gold", "flattery", "every_candidate", "over_long",
    ]  # fmt: skip


def test_a_cell_opens_its_rows(portal: Portal, address: str):
    reply = browser(portal.contributor).get(f"{address}?grader=number&row=other_gold&cell=skipped")

    assert reply.context["cell"]["line"] == "other_gold"


def test_a_cell_that_is_not_there_is_said_so(portal: Portal, address: str):
    page = text(browser(portal.contributor).get(f"{address}?grader=number&row=gold&cell=nothing"))

    assert "The matrix lists no rows there" in page


def test_the_bench_begins_with_the_first_row_and_its_grader(portal: Portal, address: str):
    found = browser(portal.contributor).get(address).context["bench"]

    assert (found.member.line, '"type": "number"' in found.form.initial["grader"]) == (1, True)


def test_a_text_is_graded_with_the_rows_own_grader(portal: Portal, address: str):
    answer = first(portal.upload).item["reference"]

    grade = bench(portal, address, "try", completion=f"It is {answer}.").context["bench"].grade

    assert (grade.outcome, grade.read) == ("correct", str(answer))


def test_a_text_is_graded_with_the_grader_in_the_editor(portal: Portal, address: str):
    grader = '{"type": "number", "reference": "7"}'

    grade = bench(portal, address, "try", completion="7", use="edited", grader=grader).context["bench"].grade

    assert grade.outcome == "correct"


def test_next_and_previous_move_by_one_row(portal: Portal, address: str):
    ahead = bench(portal, address, "next").context["bench"]
    back = bench(portal, address, "previous", at=str(ahead.member.line)).context["bench"]

    assert (ahead.member.line > 1, back.member.line) == (True, 1)


def test_what_was_typed_stays_when_the_row_changes(portal: Portal, address: str):
    page = text(bench(portal, address, "next", completion="my own words", grader='{"type": "number", "name": "mine"}'))

    assert ("my own words" in page, "mine" in page) == (True, True)


def test_a_row_is_found_by_the_id_of_its_task(portal: Portal, address: str):
    task = portal.upload.memberships.order_by("line")[3].task_id

    assert bench(portal, address, "show", at=f"#{task}").context["bench"].member.task_id == task


def test_a_row_that_is_not_there_is_said_so(portal: Portal, address: str):
    assert "There is no such row here" in text(bench(portal, address, "show", at="9999999"))


def test_a_task_of_another_upload_is_no_row_of_this_one(portal: Portal, address: str):
    other = Task.objects.filter(memberships__dataset=portal.private).earliest("pk")

    assert bench(portal, address, "show", at=f"#{other.pk}").context["bench"].member is None


def test_a_configuration_that_is_not_json_is_refused_beside_its_field(portal: Portal, address: str):
    reply = bench(portal, address, "check", grader="{number")

    assert "This is not JSON" in str(reply.context["bench"].form.errors["grader"])


def test_a_configuration_that_cannot_be_right_is_refused_beside_its_field(portal: Portal, address: str):
    reply = bench(portal, address, "check", grader='{"type": "numbr"}')

    assert "no grader of type" in str(reply.context["bench"].form.errors["grader"])


PYTHON = '{"type": "python"}'


def test_source_that_cannot_work_is_refused_beside_the_source(portal: Portal, address: str):
    reply = bench(portal, address, "check", grader=PYTHON, source="def grade(sample, item)\n    return 1")

    assert (reply.context["bench"].checked, list(reply.context["bench"].form.errors)) == (None, ["source"])


def test_source_that_works_is_checked_with_the_rest(portal: Portal, address: str):
    found = bench(portal, address, "check", grader=PYTHON, source="def grade(sample, item):\r\n    return 1.0")

    assert found.context["bench"].checked.grader["source"] == "def grade(sample, item):\n    return 1.0"


def test_a_text_is_graded_by_source_from_the_editor(portal: Portal, address: str):
    source = "def grade(sample, item):\n    return 1.0 if 'seven' in sample['output_text'] else 0.0"

    found = bench(portal, address, "try", grader=PYTHON, source=source, use="edited", completion="seven")

    assert found.context["bench"].grade.outcome == "correct"


def test_the_text_of_a_cells_row_waits_at_the_bench(portal: Portal, address: str):
    found = browser(portal.contributor).get(f"{address}?at=7&say=no, yes").context["bench"]

    assert (found.member.line, found.form["completion"].value()) == (7, "no, yes")


def test_a_change_under_way_is_told(portal: Portal, address: str):
    client = browser(portal.contributor)
    client.post(f"{address}/use", {"grader": '{"type": "number", "absolute_tolerance": 1}'})

    assert "is being changed" in text(client.get(address))


def test_an_empty_editor_is_told_what_to_do(portal: Portal, address: str):
    reply = bench(portal, address, "check", grader="")

    assert (reply.status_code, "insert an example" in text(reply)) == (400, True)


def test_a_checked_configuration_tells_what_using_it_would_do(portal: Portal, address: str):
    page = text(bench(portal, address, "check", grader='{"type": "number", "absolute_tolerance": 1}'))

    assert "No row changes: none goes by the dataset's grader now" in page


def test_an_example_is_inserted(portal: Portal, address: str):
    found = bench(portal, address, "example", example="set_match").context["bench"]

    assert '"type": "set_match"' in found.form.data["grader"]


def test_the_right_answers_of_the_first_rows_are_timed(portal: Portal, address: str):
    timing = bench(portal, address, "time").context["bench"].timing

    assert (len(timing.rows), timing.failed) == (20, [])


def test_nothing_is_stored_by_trying(portal: Portal, address: str):
    before = list(Task.objects.order_by("pk").values_list("pk", "state", "grader"))

    bench(portal, address, "try", completion="7", use="edited", grader='{"type": "number", "reference": "7"}')

    assert list(Task.objects.order_by("pk").values_list("pk", "state", "grader")) == before


def test_the_checked_grader_becomes_the_datasets(portal: Portal, address: str):
    grader = '{"type": "number", "absolute_tolerance": 1}'

    browser(portal.contributor).post(f"{address}/use", {"grader": grader})

    config = Dataset.objects.get(pk=portal.contributed.pk).default_grader.config
    assert config["absolute_tolerance"] == 1


def test_a_pools_reviewer_may_look_but_not_change(portal: Portal, address: str):
    client = browser(portal.reviewer)

    reply = client.post(f"{address}/use", {"grader": '{"type": "number"}'})

    assert (client.get(address).context["may_write"], reply.status_code) == (False, 403)


@pytest.mark.parametrize("verb", ["", "/progress"])
def test_a_stranger_gets_404(portal: Portal, address: str, verb: str):
    assert browser(portal.stranger).get(f"{address}{verb}").status_code == 404


@pytest.mark.parametrize("verb", ["", "/use", "/again", "/cost"])
def test_a_stranger_changes_nothing(portal: Portal, address: str, verb: str):
    assert browser(portal.stranger).post(f"{address}{verb}", {"verb": "try", "completion": "7"}).status_code == 404


def test_a_finished_proof_is_not_asked_for_again(portal: Portal, address: str):
    assert browser(portal.contributor).get(f"{address}/progress")["X-Finished"] == "1"


def test_a_second_text_while_the_first_is_graded_is_turned_away(
    portal: Portal, address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trying, "runs_elsewhere", lambda config: True)
    monkeypatch.setattr(trying, "_busy", {portal.contributor.pk})
    monkeypatch.setattr(trying, "QUEUE_SECONDS", 0.01)

    reply = bench(portal, address, "try", completion="7")

    assert (reply.status_code, "still being graded" in text(reply)) == (429, True)


def test_a_task_page_leads_to_its_row_at_the_bench(portal: Portal):
    task = first(portal.upload)

    page = text(browser(portal.contributor).get(f"/tasks/{task.pk}"))

    assert f"/submit/{portal.upload.pk}/grader?at=%23{task.pk}#row" in page


def test_an_upload_whose_judges_wait_shows_what_they_cost(portal: Portal, address: str):
    estimate = {"judged_rows": 60, "sample_rows": 50, "calls": 350, "tokens": 135100, "models": ["judge"], "lines": []}
    ProofRun.objects.filter(upload=portal.upload).update(state="waiting", estimate=estimate)

    page = text(browser(portal.contributor).get(address))

    assert "350 calls and 135,100 tokens of judge" in page


def test_agreeing_to_the_cost_without_judges_is_refused(portal: Portal, address: str):
    reply = browser(portal.contributor).post(f"{address}/cost", {"rows": 5})

    assert (reply.status_code, "No judge of this upload waits" in text(reply)) == (409, True)


def test_a_number_of_rows_that_is_none_is_refused(portal: Portal, address: str):
    assert browser(portal.contributor).post(f"{address}/cost", {"rows": "many"}).status_code == 400


def test_what_could_not_be_graded_can_be_proved_again(portal: Portal, address: str):
    page = text(browser(portal.contributor).post(f"{address}/again", follow=True))

    assert "0 rows that could not be graded are proved again." in page


def test_a_grader_that_could_grade_nothing_leaves_its_rows_waiting_and_says_what_to_do(portal: Portal, address: str):
    sentence = "python: 20 of 20 rows could not be graded, so its rows wait: repair the grader."
    ProofRun.objects.filter(upload=portal.upload).update(counts={}, refusals=[sentence])

    page = text(browser(portal.contributor).get(address))

    assert (sentence in page, "its rows are then proved" in page, "none was valid" in page) == (True, True, False)
    assert "Prove the ungradable again" in page


def test_answers_that_could_not_be_graded_are_not_said_to_pass(portal: Portal, address: str):
    run = ProofRun.objects.get(upload=portal.upload)
    tally = proof.tally([])
    tally["gold"].update(earned=39, ungradable=1)
    run.counts = {"matrix": {"python": tally}}
    run.save()

    page = text(browser(portal.contributor).get(address))

    assert "1 answer could not be graded. Of the others, every right one passes and no wrong one does." in page


def test_a_grader_that_was_tried_on_nothing_is_not_said_to_pass(portal: Portal, address: str):
    tally = proof.tally([])
    tally["gold"].update(absent=30)
    ProofRun.objects.filter(upload=portal.upload).update(counts={"matrix": {"multi": tally}})

    page = text(browser(portal.contributor).get(address))

    assert ("No row has a right answer to try" in page, "no wrong one does" in page) == (True, False)
