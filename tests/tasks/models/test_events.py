import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from tasks.models import Event, EventSeal, events
from tasks.models.events import Subject

pytestmark = pytest.mark.django_db


def _record(count: int = 1) -> None:
    for number in range(count):
        events.record("thing.happened", subject=Subject("thing", str(number)), team=None, data={"n": number})


def _forge(sql: str) -> None:
    """As somebody with the database's owner rights would."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(sql)
        cursor.execute("SET session_replication_role = DEFAULT")


@pytest.mark.parametrize("table", ["tasks_event", "tasks_eventseal"])
@pytest.mark.parametrize("change", ["UPDATE {} SET id = id", "DELETE FROM {}"])
def test_the_database_refuses_to_change_the_past(table: str, change: str):
    _record()
    events.seal()

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change.format(table))


def test_every_event_gets_a_link():
    _record(3)

    events.seal()

    assert EventSeal.objects.count() == Event.objects.count()
    assert events.verify() == (Event.objects.count(), None)


def test_sealing_goes_on_where_it_stopped():
    _record(3)
    events.seal(limit=2)
    events.seal(limit=100)

    assert events.verify() == (Event.objects.count(), None)


def test_a_changed_event_breaks_the_chain_where_it_stands():
    _record(3)
    events.seal()
    second = Event.objects.order_by("id")[1]

    _forge(f"UPDATE tasks_event SET kind = 'nothing.happened' WHERE id = {second.pk}")

    assert events.verify() == (1, second.pk)


def test_the_command_ends_badly_where_the_chain_breaks(capsys: pytest.CaptureFixture[str]):
    _record(2)
    events.seal()
    _forge("UPDATE tasks_event SET data = '{}'")

    with pytest.raises(SystemExit) as end:
        call_command("verify_audit")

    assert end.value.code == 1
    assert "breaks at event" in capsys.readouterr().err


def test_the_command_tells_the_head_of_a_chain_that_holds(capsys: pytest.CaptureFixture[str]):
    _record(2)
    events.seal()

    call_command("verify_audit")

    assert EventSeal.objects.order_by("-id")[0].digest in capsys.readouterr().out
