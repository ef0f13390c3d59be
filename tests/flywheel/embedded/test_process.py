import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from flywheel.embedded.process import end_process, is_alive, start_process, wait_until

PARENT = """
import os, signal, sys
from pathlib import Path
from flywheel.embedded.process import start_process
child = start_process(["sleep", "60"], env=os.environ, log=Path(sys.argv[1]))
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", PARENT, str(tmp_path / "log")], capture_output=True, text=True)

    child = int(done.stdout)

    assert done.returncode == -signal.SIGKILL
    assert wait_until(lambda: not _lives(child), timeout_seconds=10)


def test_a_child_leads_a_session_of_its_own(tmp_path: Path):
    child = start_process(["sleep", "60"], env=os.environ, log=tmp_path / "log")

    session = os.getsid(child.pid)
    child.kill()
    child.wait()

    assert session == child.pid


def test_a_child_appends_to_its_log(tmp_path: Path):
    log = tmp_path / "log"
    for word in ("one", "two"):
        start_process(["echo", word], env=os.environ, log=log).wait()

    assert log.read_text() == "one\ntwo\n"


def test_a_process_that_ignores_the_request_is_killed():
    command = [
        sys.executable,
        "-c",
        "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()",
    ]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    process = psutil.Process(child.pid)

    end_process(process, signal.SIGTERM, timeout_seconds=0.2)

    assert child.wait(10) == -signal.SIGKILL


def test_a_zombie_counts_as_dead():
    child = subprocess.Popen(["true"])
    process = psutil.Process(child.pid)

    assert wait_until(lambda: not is_alive(process), timeout_seconds=10)  # nobody has waited for it yet
    child.wait()


def _lives(pid: int) -> bool:
    try:
        return is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False
