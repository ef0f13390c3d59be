import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from flywheel.embedded.refusals import AlreadyRunningError
from flywheel.embedded.state import end_leftovers, lock_stack, read_state, write_json


def test_a_second_supervisor_is_told_where_the_first_one_answers(tmp_path: Path):
    first = lock_stack(tmp_path)
    write_json(tmp_path / "state.json", {"web_url": "http://127.0.0.1:8000", "supervisor": 7})

    with pytest.raises(AlreadyRunningError, match=r"http://127.0.0.1:8000 .*supervisor 7"):
        lock_stack(tmp_path)
    first.close()


def test_the_lock_is_free_again_once_its_holder_has_gone(tmp_path: Path):
    lock_stack(tmp_path).close()

    lock_stack(tmp_path).close()


def test_a_missing_or_broken_state_file_reads_as_empty(tmp_path: Path):
    (tmp_path / "state.json").write_text('{"web_')

    assert read_state(tmp_path) == {}
    assert read_state(tmp_path / "nowhere") == {}


def test_what_a_killed_supervisor_left_running_is_ended_with_its_children():
    left = subprocess.Popen(["bash", "-c", "sleep 60 & sleep 60"], start_new_session=True)
    created = psutil.Process(left.pid).create_time()

    end_leftovers({"children": {"web": {"pid": left.pid, "created": created}}})

    assert left.wait(10) != 0
    assert [p for p in psutil.process_iter() if _session(p) == left.pid] == []


def test_a_process_that_merely_has_the_number_of_an_old_child_is_left_alone():
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)

    ended = end_leftovers({"children": {"web": {"pid": stranger.pid, "created": time.time() - 3600}}})

    assert (ended, stranger.poll()) == (0, None)
    stranger.kill()
    stranger.wait()


def _session(process: psutil.Process) -> int:
    try:
        return os.getsid(process.pid) if process.status() != psutil.STATUS_ZOMBIE else 0
    except (ProcessLookupError, psutil.NoSuchProcess):
        return 0
