import os
import signal
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest

from flywheel.embedded.broker import Broker
from flywheel.embedded.places import Places


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    places = Places(tmp_path)
    server = Broker(places.broker, run=places.run, log=places.logs / "broker.log")
    server.start()
    yield server
    server.stop()


def test_a_message_goes_through_as_celery_sends_it(broker: Broker):
    with kombu.Connection(broker.url) as connection, connection.SimpleQueue("jobs") as queue:
        queue.put({"upload": 7})

        assert queue.get(timeout=5).payload == {"upload": 7}


def test_it_starts_again_after_a_kill(broker: Broker):
    assert broker.process is not None
    os.kill(broker.process.pid, signal.SIGKILL)
    broker.process.wait()
    dead = broker.is_running()

    broker.start()

    assert (dead, broker.is_running()) == (False, True)


def test_only_the_owner_may_use_its_socket(broker: Broker):
    assert broker.socket.stat().st_mode & 0o777 == 0o700
