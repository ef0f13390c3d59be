from tests.contracts import documented
from tests.contracts.scenario import Context, refused, rows


def events_tell_the_whole_story_newest_first(it: Context) -> None:
    job = it.finished()

    events = list(it.client.fine_tuning.jobs.list_events(job.id, limit=3))

    for event in events:
        documented.whole(event, documented.EVENT)
        assert event.id.startswith("ftevent-")
        assert event.object == "fine_tuning.job.event"
    assert events[-1].message.startswith("Created fine-tuning job")
    assert any(one.message.startswith("The job has successfully completed") for one in events)
    assert [one.created_at for one in events] == sorted((one.created_at for one in events), reverse=True)
    assert len({one.id for one in events}) == len(events) >= 8


def pages_of_any_size_tell_the_same(it: Context) -> None:
    job, events = it.finished(), it.client.fine_tuning.jobs.list_events
    whole = [one.id for one in events(job.id, limit=100)]

    page = events(job.id, limit=2)

    assert [one.id for one in events(job.id, limit=1)] == whole
    assert [one.id for one in events(job.id, limit=7)] == whole
    assert [one.id for one in events(job.id, after=whole[3])] == whole[4:]
    assert (page.object, page.has_more, len(page.data)) == ("list", True, 2)


def a_metrics_event_has_every_documented_figure(it: Context) -> None:
    job = it.finished()

    steps = [one.data for one in it.client.fine_tuning.jobs.list_events(job.id) if one.type == "metrics"]

    assert [step["step"] for step in steps] == [4, 3, 2, 1]
    for step in steps:
        documented.has(step, documented.METRICS)
        documented.has(step["scores"], documented.SCORES)
        documented.has(step["usage"], documented.USAGE)
        documented.has(step["timing"]["step"], documented.TIMING_OF_STEP)
        for place, kind in (
            ("scores", documented.SCORES_OF_GRADER),
            ("errors", documented.ERRORS_OF_GRADER),
            ("timing", documented.TIMING_OF_GRADER),
        ):
            assert [one["name"] for one in step[place]["graders"]] == ["same"]
            assert [one["type"] for one in step[place]["graders"]] == ["string_check"]
            documented.has(step[place]["graders"][0], kind)
        assert step["total_steps"] == 4
        assert 0 <= step["train_mean_reward"] <= 1
        assert step["full_valid_mean_reward"] == step["scores"]["valid_reward_mean"]


def without_a_validation_file_a_warning_says_so(it: Context) -> None:
    job = it.dropped()

    warnings = [one for one in it.client.fine_tuning.jobs.list_events(job.id) if one.level == "warn"]

    assert "no validation file" in warnings[0].message
    assert warnings[0].type == "message"


def rows_of_both_files_are_counted_in_a_warning(it: Context) -> None:
    file = it.file()
    job = it.ended(it.job(training_file=file, validation_file=file).id)

    warnings = [one.message for one in it.client.fine_tuning.jobs.list_events(job.id) if one.level == "warn"]

    assert any("8" in message for message in warnings), warnings


def an_alarm_is_a_warning_event(it: Context) -> None:
    job = it.ended(it.job(seed=6).id)

    told = [one for one in it.client.fine_tuning.jobs.list_events(job.id) if one.level == "warn"]

    assert any("kl at step 2" in one.message for one in told), told


def a_failed_job_ends_with_an_error_event(it: Context) -> None:
    job = it.ended(it.job(training_file=it.file([*rows(1), "nothing"], "bad.jsonl")).id)

    newest = it.client.fine_tuning.jobs.list_events(job.id).data[0]

    assert newest.level == "error"
    assert "bad.jsonl" in newest.message


def an_event_that_is_none_of_the_jobs_is_refused(it: Context) -> None:
    events = it.client.fine_tuning.jobs.list_events
    other = events(it.dropped().id).data[0].id

    refused(lambda: events(it.finished().id, after="ftevent-nothing"), 400, param="after")
    refused(lambda: events(it.finished().id, after=other), 400, param="after")
    refused(lambda: events(it.finished().id, limit=0), 400, param="limit")
    refused(lambda: events("ftjob-nothing"), 404, "not_found")
