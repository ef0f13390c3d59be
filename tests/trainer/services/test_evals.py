"""An eval's own rules: who may, what is kept, what is refused."""

from typing import Any

import pytest

from tasks.errors import Forbidden, Invalid
from tasks.models import Event
from tests import cast
from tests.cast import Person
from trainer.models import Eval, EvalItem
from trainer.services import eval_runs, evals

pytestmark = pytest.mark.django_db
SCHEMA = {"type": "object", "required": ["n"]}
CHECK = {
    "type": "string_check",
    "name": "same",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.n }}",
}


@pytest.fixture
def carla() -> Person:
    return cast.of_own_team("carla")


def make(person: Person, **given: Any) -> Eval:
    return evals.create(
        person.team, actor=person.user, **{"name": "Sums", "item_schema": SCHEMA, "criteria": [CHECK], **given}
    )


def rows(*said: str) -> list[dict[str, Any]]:
    return [{"item": {"n": "1"}, "sample": {"output_text": one}} for one in said]


def start(of: Eval, person: Person, **given: Any) -> Any:
    source = {"type": "jsonl", "source": {"type": "file_content"}}
    return eval_runs.start(of, actor=person.user, source=source, **{"rows": rows("1", "2"), **given})


def test_each_verb_leaves_one_event(carla: Person):
    made = make(carla)
    evals.change(made, actor=carla.user, name="Products")
    run = start(made, carla)
    eval_runs.cancel(run, actor=carla.user)
    eval_runs.delete(run, actor=carla.user)
    evals.delete(made, actor=carla.user)

    kinds = Event.objects.filter(kind__startswith="eval").order_by("pk").values_list("kind", flat=True)

    assert list(kinds) == [
        "eval.created",
        "eval.changed",
        "evalrun.created",
        "evalrun.cancelled",
        "evalrun.deleted",
        "eval.deleted",
    ]


def test_a_stranger_may_do_nothing(carla: Person):
    made, sven = make(carla), cast.of_own_team("sven")
    run = start(made, carla)

    for verb in (
        lambda: evals.create(carla.team, actor=sven.user, item_schema=SCHEMA, criteria=[CHECK]),
        lambda: evals.change(made, actor=sven.user, name="mine"),
        lambda: evals.delete(made, actor=sven.user),
        lambda: start(made, sven),
        lambda: eval_runs.cancel(run, actor=sven.user),
        lambda: eval_runs.delete(run, actor=sven.user),
    ):
        with pytest.raises(Forbidden):
            verb()


def test_criteria_get_keys_and_names(carla: Person):
    made = make(carla, criteria=[CHECK, {**CHECK, "name": ""}])

    assert [one["name"] for one in made.criteria] == ["same", "string_check-2"]
    assert len({one["key"] for one in made.criteria}) == 2


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"item_schema": {"type": "thing"}}, "item_schema"),
        ({"item_schema": {"type": "object", "description": "x" * 256_000}}, "item_schema"),
        ({"criteria": []}, "criteria"),
        ({"criteria": [{**CHECK, "reference": "x" * 250_000}] * 4}, "criteria"),
        ({"criteria": [CHECK, {"type": "nothing"}]}, "criteria[1].type"),
        ({"criteria": [{"type": "python", "source": "def grade(:"}]}, "criteria[0]"),
    ],
)
def test_an_eval_that_cannot_work_is_refused_by_its_field(carla: Person, given: Any, param: str):
    with pytest.raises(Invalid) as caught:
        make(carla, **given)

    assert caught.value.param == param


def test_the_rows_of_a_request_are_kept_once(carla: Person):
    run = start(make(carla), carla)

    assert (run.total, run.loaded, EvalItem.objects.filter(run=run).count()) == (2, True, 2)
    assert "content" not in run.source["source"]


def test_a_run_needs_rows(carla: Person):
    with pytest.raises(Invalid, match="from 1 to"):
        start(make(carla), carla, rows=[])


def test_nothing_is_kept_of_a_run_with_one_bad_row(carla: Person):
    made = make(carla)

    with pytest.raises(Invalid, match="Row 2"):
        start(made, carla, rows=[*rows("1"), {"item": {}}])

    assert EvalItem.objects.count() == 0


def test_a_run_is_cancelled_twice_as_once(carla: Person):
    run = start(make(carla), carla)
    eval_runs.cancel(run, actor=carla.user)

    again = eval_runs.cancel(run, actor=carla.user)

    assert again.state == "cancelled"
    assert Event.objects.filter(kind="evalrun.cancelled").count() == 1
