import pytest

from tasks.errors import Invalid
from trainer import hyperparameters
from trainer.hyperparameters import Asked

SMALL = 1_000_000


AUTO = Asked()


def resolved(asked: Asked = AUTO, *, rows: int = 40, validation: int = 10):
    return hyperparameters.resolve(asked, rows=rows, validation=validation, parameters=SMALL, seed=7)


def test_steps_are_epochs_times_the_batches_of_an_epoch():
    settings, _ = resolved(Asked(epochs=3, prompts_per_step=16), rows=40)

    assert settings.spec.steps == 3 * 3


@pytest.mark.parametrize("rows", [1, 7, 40, 99, 100, 5000])
def test_nothing_is_left_to_decide(rows: int):
    settings, told = resolved(rows=rows)

    assert None not in (told.epochs, told.prompts_per_step, told.rate_multiple, told.answers_multiple, told.effort)
    assert settings.spec.steps == (told.epochs or 0) * -(-rows // settings.spec.prompts_per_step)


def test_a_batch_is_no_larger_than_the_file():
    settings, told = resolved(Asked(prompts_per_step=256), rows=20)

    assert (settings.spec.prompts_per_step, told.prompts_per_step) == (20, 20)


def test_a_multiple_of_the_rate_is_of_the_presets_rate():
    usual, _ = resolved()

    twice, told = resolved(Asked(rate_multiple=2.0))

    assert (twice.spec.learning_rate, told.rate_multiple) == (2 * usual.spec.learning_rate, 2.0)


@pytest.mark.parametrize(("multiple", "answers"), [(0.1, 2), (1.0, 4), (2.0, 8), (10.0, 40)])
def test_compute_is_answers_to_each_prompt(multiple: float, answers: int):
    settings, _ = resolved(Asked(answers_multiple=multiple))

    assert settings.spec.group_size == answers


def test_who_names_the_epochs_gets_them_whatever_validation_says():
    settings, _ = resolved(Asked(epochs=2))

    assert settings.spec.patience == 0


def test_each_validation_has_a_checkpoint():
    settings, _ = resolved(Asked(measure_every=3))

    assert (settings.spec.measure_every, settings.spec.save_every) == (3, 3)


def test_effort_is_room_for_an_answer():
    low, _ = resolved(Asked(effort="low"))
    high, _ = resolved(Asked(effort="high"))

    assert high.spec.max_completion_tokens == 4 * low.spec.max_completion_tokens


def test_a_run_that_was_asked_for_otherwise_is_told_in_epochs_too():
    told = hyperparameters.read_back({"steps": 30, "prompts_per_step": 16, "measure_every": 10}, rows=36)

    assert (told.epochs, told.prompts_per_step, told.rate_multiple) == (10, 16, None)


def test_more_steps_than_a_run_can_have_are_refused_by_the_epochs():
    with pytest.raises(Invalid) as caught:
        resolved(Asked(epochs=50, prompts_per_step=1), rows=5000)

    assert (caught.value.code, caught.value.param) == ("too_many_steps", "epochs")
