"""/ops/runs, and the button that trains on a dataset."""

import json

import pytest

from tests.fixtures_portal import Portal
from tests.portal_client import browser, text
from trainer.models import Line, RunAlarm, TrainingRun

pytestmark = pytest.mark.django_db


def test_the_metrics_are_columns_of_one_length(portal: Portal):
    body = json.loads(browser(portal.operator).get(f"/ops/runs/{portal.run.pk}/metrics").content)

    assert {len(column) for column in body["columns"].values()} == {len(body["steps"])} == {100}


def test_metrics_that_are_known_are_304(portal: Portal):
    client = browser(portal.operator)
    first = client.get(f"/ops/runs/{portal.run.pk}/metrics")

    again = client.get(f"/ops/runs/{portal.run.pk}/metrics", headers={"If-None-Match": first["ETag"]})

    assert again.status_code == 304


def test_samples_of_the_shared_line_are_hidden_from_contributors(portal: Portal):
    page = text(browser(portal.contributor).get(f"/ops/runs/{portal.run.pk}"))

    assert ("reviewers and operators see them" in page, "Matches the reference." in page) == (True, False)


def test_an_error_says_where_it_broke(portal: Portal):
    assert "Broke at training" in text(browser(portal.operator).get(f"/ops/runs/{portal.failed.pk}"))


def test_a_second_attempt_is_told(portal: Portal):
    assert "Attempt 2: the engine was lost" in text(browser(portal.operator).get(f"/ops/runs/{portal.going.pk}"))


def test_an_operator_pauses_a_run(portal: Portal):
    browser(portal.operator).post(f"/ops/runs/{portal.going.pk}/pause")

    assert TrainingRun.objects.get(pk=portal.going.pk).state == "pausing"


def test_somebody_else_does_not(portal: Portal):
    browser(portal.contributor).post(f"/ops/runs/{portal.going.pk}/cancel")

    assert TrainingRun.objects.get(pk=portal.going.pk).state == "running"


def test_the_estimate_comes_before_anything_is_written(portal: Portal):
    before = TrainingRun.objects.count()

    page = browser(portal.contributor).get(f"/datasets/{portal.team.slug}/{portal.private.slug}/train?steps=7")

    assert (page.context["estimate"].steps, TrainingRun.objects.count()) == (7, before)


def test_the_button_queues_a_run_of_the_teams_expert(portal: Portal):
    path = f"/datasets/{portal.team.slug}/{portal.private.slug}/train"

    reply = browser(portal.contributor).post(path, {"preset": "few-shot", "steps": "7"})

    run = TrainingRun.objects.latest("pk")
    assert (reply["Location"], run.line.team, run.spec["steps"]) == (f"/ops/runs/{run.pk}", portal.team, 7)


def test_the_numbers_can_be_had_as_csv(portal: Portal):
    file = text(browser(portal.operator).get(f"/ops/runs/{portal.run.pk}?format=csv"))

    assert len(file.splitlines()) == 101


def test_alarms_are_listed_with_what_was_done_and_repeated_warnings_once(portal: Portal):
    page = browser(portal.operator).get(f"/ops/runs/{portal.going.pk}")

    told = [(alarm["step"], alarm["last"], alarm["badge"], alarm["title"]) for alarm in page.context["alarms"]]
    assert told == [(27, 29, "warn", "Entropy collapsed"), (30, 30, "rolled_back", "Entropy collapsed")]


def test_a_run_that_went_back_says_so_in_a_banner(portal: Portal):
    assert "The run went back at step 30" in text(browser(portal.operator).get(f"/ops/runs/{portal.going.pk}"))


def test_what_an_alarm_did_is_marked_in_the_curves(portal: Portal):
    body = json.loads(browser(portal.operator).get(f"/ops/runs/{portal.going.pk}/metrics").content)

    assert body["marks"] == [{"step": 30, "action": "rolled_back"}]


def test_a_run_that_an_alarm_stopped_says_which_weights_were_kept(portal: Portal):
    data = {"kind": "kl", "level": "stop", "action": "stopped", "sentence": "KL jumped to 9 nats."}
    RunAlarm.objects.create(run=portal.run, step=90, at=90.0, kind="kl", data=data)
    TrainingRun.objects.filter(pk=portal.run.pk).update(kept_step=80)

    page = text(browser(portal.operator).get(f"/ops/runs/{portal.run.pk}"))

    assert "An alarm stopped this run at step 90" in page
    assert "The weights of step 80" in page


def test_after_the_run_the_estimate_stands_beside_what_it_took(portal: Portal):
    TrainingRun.objects.filter(pk=portal.run.pk).update(estimated_seconds=100, estimated_tokens=400_000)

    page = text(browser(portal.operator).get(f"/ops/runs/{portal.run.pk}"))

    assert "(0.80 of the estimate)" in page
    assert "(1.04 of the estimate)" in page


def test_a_run_without_a_kept_step_or_kl_says_so_in_words(portal: Portal):
    assert "not measured yet" in text(browser(portal.operator).get(f"/ops/runs/{portal.going.pk}/status"))


@pytest.fixture
def spent(portal: Portal) -> TrainingRun:
    """The running run, paused by its budget."""
    spec = {**portal.going.spec, "max_steps": 46}
    ending = {"code": "budget_steps", "sentence": "The budget of 46 steps is spent at step 46."}
    TrainingRun.objects.filter(pk=portal.going.pk).update(state="paused", ending=ending, spec=spec)
    return TrainingRun.objects.get(pk=portal.going.pk)


def test_a_run_that_a_budget_paused_goes_on_with_another(portal: Portal, spent: TrainingRun):
    browser(portal.operator).post(f"/ops/runs/{spent.pk}/resume", {"max_steps": "80"})

    spent.refresh_from_db()
    assert (spent.state, spent.spec["max_steps"]) == ("queued", 80)


def test_the_spent_budget_is_said_on_the_page(portal: Portal, spent: TrainingRun):
    page = text(browser(portal.operator).get(f"/ops/runs/{spent.pk}"))

    assert "The budget of 46 steps is spent at step 46." in page
    assert "Go on with another budget" in page


def test_a_clone_is_started_from_the_page_with_what_differs(portal: Portal, spent: TrainingRun):
    form = {"seed": "5", "max_steps": "46", "another": "steps", "value": "60"}

    reply = browser(portal.operator).post(f"/ops/runs/{spent.pk}/clone", form)

    clone = TrainingRun.objects.latest("pk")
    assert (reply["Location"], clone.cloned_from) == (f"/ops/runs/{clone.pk}", spent)
    assert (clone.spec["seed"], clone.spec["steps"], clone.spec["max_steps"]) == (5, 60, 46)


def test_the_clone_form_lists_what_was_set_for_the_run(portal: Portal, spent: TrainingRun):
    form = browser(portal.operator).get(f"/ops/runs/{spent.pk}").context["clone_form"]

    assert list(form.fields) == ["seed", "max_steps", "another", "value"]


def test_settings_are_shown_with_their_reasons(portal: Portal):
    TrainingRun.objects.filter(pk=portal.run.pk).update(reasons={"steps": "two passes over the data"})

    page = browser(portal.operator).get(f"/ops/runs/{portal.run.pk}")

    why = {row["knob"].name: row["why"] for row in page.context["settings"]}
    assert (why["steps"], why["seed"], why["beta"]) == ("two passes over the data", "as asked for", "the default")


def test_every_knob_can_be_set_before_the_start(portal: Portal):
    path = f"/datasets/{portal.team.slug}/{portal.private.slug}/train"
    knobs = {"steps": "7", "group_size": "6", "guard": "no", "vllm": "off", "max_minutes": "2.5"}

    browser(portal.contributor).post(path, {"preset": "expert", **knobs})

    spec = TrainingRun.objects.latest("pk").spec
    assert (spec["preset"], spec["group_size"], spec["guard"], spec["max_minutes"]) == ("expert", 6, False, 2.5)


def test_the_form_has_a_field_for_every_knob(portal: Portal):
    page = browser(portal.contributor).get(f"/datasets/{portal.team.slug}/{portal.private.slug}/train")

    without = [row["knob"].name for row in page.context["settings"] if row["field"] is None]
    assert without == []


def test_an_expert_starts_from_the_version_that_was_chosen(portal: Portal):
    path = f"/datasets/{portal.team.slug}/{portal.private.slug}/train"
    version = portal.line.versions.get(number=2)

    browser(portal.contributor).post(path, {"start_from": str(version.pk)})

    assert TrainingRun.objects.latest("pk").start == version


def test_a_version_of_another_team_is_not_on_offer(portal: Portal):
    path = f"/datasets/{portal.team.slug}/{portal.private.slug}/train"

    page = browser(portal.contributor).get(path)

    offered = {version.line for version in page.context["form"].fields["start_from"].queryset}
    assert offered <= set(Line.objects.for_user(portal.contributor))


def test_a_report_says_whether_the_reward_could_be_hacked(portal: Portal):
    page = text(browser(portal.operator).get(f"/ops/runs/{portal.run.pk}"))

    assert "Could the reward be hacked?" in page
    assert "Look closer: One answer for every row, The prompt repeated" in page


def test_examples_of_a_shared_run_are_hidden_from_contributors(portal: Portal):
    page = text(browser(portal.contributor).get(f"/ops/runs/{portal.run.pk}"))

    assert ("One answer for every row" in page, "5 examples" in page, "Compute 10 + 35." in page) == (
        True,
        False,
        False,
    )


def test_a_run_under_way_says_what_will_be_asked(portal: Portal):
    assert "Asked at the end" in text(browser(portal.operator).get(f"/ops/runs/{portal.going.pk}"))


def test_an_inspection_that_broke_says_why(portal: Portal):
    report = {"checks": [], "step": 1, "rows": 0, "fault": "The inspection broke: OSError: gone."}
    TrainingRun.objects.filter(pk=portal.run.pk).update(report=report)

    assert "The inspection broke" in text(browser(portal.operator).get(f"/ops/runs/{portal.run.pk}"))


def test_a_second_grader_is_shown_with_the_settings(portal: Portal):
    TrainingRun.objects.filter(pk=portal.run.pk).update(second_grader={"type": "choice"})

    assert "Second grader, for the report" in text(browser(portal.operator).get(f"/ops/runs/{portal.run.pk}"))


def test_a_version_of_a_control_run_offers_no_promotion(portal: Portal):
    TrainingRun.objects.filter(line=portal.line).update(spec={**portal.run.spec, "random_rewards": True})

    page = text(browser(portal.operator).get("/ops/models/shared/v2"))

    assert "Make it the champion" not in page


def test_a_control_run_and_its_version_say_that_they_are_one(portal: Portal):
    portal.run.spec["random_rewards"] = True
    TrainingRun.objects.filter(pk=portal.run.pk).update(spec=portal.run.spec)

    for address in (f"/ops/runs/{portal.run.pk}", "/ops/models/shared/v1"):
        assert "A control run." in text(browser(portal.operator).get(address))
