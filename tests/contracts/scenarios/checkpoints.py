from tests.contracts import documented
from tests.contracts.scenario import Context, refused


def checkpoints_are_told_with_every_field(it: Context) -> None:
    job = it.finished()

    found = list(it.client.fine_tuning.jobs.checkpoints.list(job.id))

    assert 1 <= len(found) <= 3
    for one in found:
        documented.whole(one, documented.CHECKPOINT)
        documented.has(documented.sent(one)["metrics"], documented.CHECKPOINT_METRICS)
        assert one.id.startswith("ftckpt_")
        assert (one.object, one.fine_tuning_job_id) == ("fine_tuning.job.checkpoint", job.id)
        assert one.fine_tuned_model_checkpoint == f"{job.fine_tuned_model}:ckpt-step-{one.step_number}"
        assert one.metrics.step == one.step_number


def checkpoints_are_listed_to_the_end(it: Context) -> None:
    job, found = it.finished(), it.client.fine_tuning.jobs.checkpoints.list
    whole = [one.id for one in found(job.id)]

    page = found(job.id, limit=1)

    assert [one.id for one in found(job.id, limit=1)] == whole
    assert page.object == "list"
    raw = documented.sent(page)
    assert (raw["first_id"], raw["last_id"], raw["has_more"]) == (whole[0], whole[0], len(whole) > 1)


def a_checkpoint_answers_as_a_model(it: Context) -> None:
    job = it.finished()
    name = it.client.fine_tuning.jobs.checkpoints.list(job.id).data[-1].fine_tuned_model_checkpoint

    answer = it.client.chat.completions.create(
        model=name, messages=[{"role": "user", "content": "hello"}], max_completion_tokens=4
    )

    assert answer.model == name
    assert answer.usage.completion_tokens == 4
    assert it.client.models.retrieve(name).id == name


def a_deleted_checkpoint_is_gone_and_the_model_of_its_job_is_not(it: Context) -> None:
    job = it.ended(it.job(suffix="thinned").id)
    found = it.client.fine_tuning.jobs.checkpoints.list
    name = found(job.id).data[-1].fine_tuned_model_checkpoint

    gone = documented.whole(it.client.models.delete(name), documented.DELETED)

    assert (gone.id, gone.object, gone.deleted) == (name, "model", True)
    refused(lambda: it.client.models.retrieve(name), 404, "model_not_found", "model")
    assert name not in [one.fine_tuned_model_checkpoint for one in found(job.id)]
    assert it.client.models.retrieve(job.fine_tuned_model).id == job.fine_tuned_model


def another_teams_checkpoints_are_not_there(it: Context) -> None:
    job = it.finished()
    name = it.client.fine_tuning.jobs.checkpoints.list(job.id).data[0].fine_tuned_model_checkpoint
    hello = [{"role": "user", "content": "hello"}]

    refused(lambda: it.stranger.fine_tuning.jobs.checkpoints.list(job.id), 404, "not_found")
    refused(lambda: it.stranger.chat.completions.create(model=name, messages=hello), 404, "model_not_found")
    refused(lambda: it.stranger.models.retrieve(name), 404, "model_not_found")


def a_step_that_is_not_kept_is_no_model(it: Context) -> None:
    name = f"{it.finished().fine_tuned_model}:ckpt-step-999"

    refused(lambda: it.client.models.retrieve(name), 404, "model_not_found")
