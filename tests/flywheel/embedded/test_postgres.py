import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flywheel.embedded import privileges
from flywheel.embedded.places import Places
from flywheel.embedded.postgres import Postgres


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    places = Places(tmp_path)
    server = Postgres(places.postgres, run=places.run, log=places.logs / "postgres.log")
    yield server
    server.stop()


def _ask(server: Postgres, query: str) -> str:
    with psycopg.connect(server.url, autocommit=True) as connection:
        cursor = connection.execute(query)  # type: ignore[call-overload]
        return str(cursor.fetchone()[0]) if cursor.description else ""


def test_it_is_durable_and_speaks_utf8(postgres: Postgres):
    postgres.start()

    answers = {name: _ask(postgres, f"SHOW {name}") for name in ("fsync", "synchronous_commit", "server_encoding")}

    assert answers == {"fsync": "on", "synchronous_commit": "on", "server_encoding": "UTF8"}


def test_it_listens_on_no_network_address(postgres: Postgres):
    postgres.start()

    assert _ask(postgres, "SHOW listen_addresses") == ""
    assert postgres.run.stat().st_mode & 0o777 == 0o700


def test_what_was_committed_survives_a_kill_of_the_server(postgres: Postgres):
    process = postgres.start()
    _ask(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    postgres.start()

    assert _ask(postgres, "SELECT answer FROM kept") == "42"


def test_a_stopped_server_is_not_running(postgres: Postgres):
    postgres.start()
    running = postgres.is_running()

    postgres.stop()

    assert (running, postgres.is_running()) == (True, False)


def test_a_lock_file_that_names_a_stranger_is_not_believed(postgres: Postgres):
    postgres.start()
    postgres.stop()
    (postgres.data / "postmaster.pid").write_text(f"{os.getpid()}\n{postgres.data}\n")  # Postgres alone would refuse

    postgres.start()

    assert _ask(postgres, "SELECT 1") == "1"


def test_a_server_left_over_from_before_is_replaced(postgres: Postgres):
    left = postgres.start()
    again = Postgres(postgres.data, run=postgres.run, log=postgres.log)

    again.start()

    assert left.wait(10) == 0
    assert _ask(again, "SELECT 1") == "1"
    again.stop()


def test_a_first_start_that_was_killed_half_way_is_done_again(postgres: Postgres):
    unfinished = postgres.data.with_name("postgres.new")
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")

    postgres.start()

    assert _ask(postgres, "SELECT 1") == "1"


def test_root_without_user_namespaces_starts_it_under_another_uid(postgres: Postgres, monkeypatch: pytest.MonkeyPatch):
    if os.geteuid() == 0:  # an ordinary user starts it directly: the same promise, with nothing to get around
        monkeypatch.setattr(privileges, "_prefix_for_root", lambda: privileges._OTHER_UID)

    postgres.start()

    assert _ask(postgres, "SELECT 1") == "1"


def test_under_another_uid_programs_run_from_folders_that_are_closed_to_others(tmp_path: Path):
    prefix = privileges._OTHER_UID if os.geteuid() == 0 else ()
    program = tmp_path / "closed" / "program"
    program.parent.mkdir(mode=0o700)
    program.touch(mode=0o755)

    done = subprocess.run([*prefix, "test", "-x", str(program)], check=False)

    assert done.returncode == 0
