"""The local launcher against real processes; the engine is the fake one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from tasks.graders.judges import Endpoint, Judges
from tests.fakes import judge
from trainer import contract
from trainer.launchers import local, protocol
from trainer.launchers.local import LocalLauncher
from trainer.launchers.protocol import Handle, LauncherError, LocalHandle, Status

FAKE = (sys.executable, str(local.REPOSITORY / "tests" / "fakes" / "engine.py"))
SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, sys, time, pathlib;"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "pathlib.Path(sys.argv[1], 'deaf').touch(); time.sleep(600)",
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "spec.json").write_bytes(contract.encode(contract.BaseSpec(steps=4)))
    (tmp_path / "demonstrations.jsonl").write_text("{}\n")
    return tmp_path


@pytest.fixture
def started(run_dir: Path) -> Iterator[Callable[..., tuple[LocalLauncher, Handle]]]:
    """Starts an engine and ends it after the test, whatever became of it."""
    launched: list[tuple[LocalLauncher, Handle]] = []

    def start(command: tuple[str, ...] = FAKE, attempt: int = 1, **settings: object) -> tuple[LocalLauncher, Handle]:
        launcher = LocalLauncher(engine_command=command, **settings)  # type: ignore[arg-type]
        launched.append((launcher, launcher.submit(run_dir, attempt=attempt)))
        return launched[-1]

    yield start
    for launcher, handle in launched:
        launcher.stop(handle, run_dir, 0)


def eventually(look: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "It did not happen."
        time.sleep(0.02)


def zombies() -> set[psutil.Process]:
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.status() == psutil.STATUS_ZOMBIE:
                found.add(child)
    return found


def ended(launcher: LocalLauncher, handle: Handle, run_dir: Path) -> Status:
    eventually(lambda: launcher.poll(handle, run_dir).exit_code is not None)
    return launcher.poll(handle, run_dir)


def knobs(run_dir: Path, **values: object) -> None:
    (run_dir / "fake.json").write_text(json.dumps(values))


def test_an_engine_whose_launch_died_before_it_was_written_down_is_taken_up(run_dir: Path, started: Callable) -> None:
    _, handle = started(SLEEPER)
    (run_dir / "handle.json").unlink()

    _, again = started(SLEEPER)

    assert again == handle


def test_an_engine_that_ends_leaves_result_and_exit_code(run_dir: Path, started: Callable) -> None:
    launcher, handle = started()

    status = ended(launcher, handle, run_dir)

    assert status.result is not None
    assert (status.result.status, status.exit_code, status.alive) == ("succeeded", 0, False)


def test_the_handle_survives_storage_as_json(run_dir: Path, started: Callable) -> None:
    _, handle = started(SLEEPER)

    stored = json.loads(json.dumps(msgspec.to_builtins(handle)))

    assert msgspec.convert(stored, Handle) == handle


def test_another_process_can_poll_the_engine(run_dir: Path, started: Callable) -> None:
    _, handle = started(SLEEPER)
    program = (
        "import sys, msgspec, pathlib; from trainer.launchers.local import LocalLauncher;"
        "from trainer.launchers.protocol import Handle;"
        "handle = msgspec.json.decode(sys.argv[1], type=Handle);"
        "print(LocalLauncher().poll(handle, pathlib.Path(sys.argv[2])).alive)"
    )

    answer = subprocess.run(
        [sys.executable, "-c", program, msgspec.json.encode(handle).decode(), str(run_dir)],
        cwd=local.REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert answer.stdout.strip() == "True"


def test_the_engine_outlives_the_process_that_launched_it(run_dir: Path) -> None:
    program = (
        "import sys, os, signal, pathlib, msgspec; from trainer.launchers.local import LocalLauncher;"
        f"handle = LocalLauncher(engine_command={SLEEPER!r}).submit(pathlib.Path(sys.argv[1]), attempt=1);"
        "sys.stdout.buffer.write(msgspec.json.encode(handle)); sys.stdout.flush();"
        "os.killpg(0, signal.SIGKILL)"
    )

    launching = subprocess.run(
        [sys.executable, "-c", program, str(run_dir)],
        cwd=local.REPOSITORY, capture_output=True, start_new_session=True, check=False,
    )  # fmt: skip

    handle = msgspec.json.decode(launching.stdout, type=Handle)
    assert launching.returncode == -signal.SIGKILL
    assert LocalLauncher().poll(handle, run_dir).alive
    assert LocalLauncher().stop(handle, run_dir, 5)


def test_a_launched_engine_leaves_no_zombie_with_the_caller(run_dir: Path, started: Callable) -> None:
    before = zombies()
    launcher, handle = started()

    ended(launcher, handle, run_dir)

    eventually(lambda: zombies() <= before, seconds=10)  # others' children may be on their way out; a left one stays


def test_a_killed_engine_is_seen_as_gone_with_its_signal(run_dir: Path, started: Callable) -> None:
    launcher, handle = started(SLEEPER)
    os.kill(handle.pid, signal.SIGKILL)

    status = ended(launcher, handle, run_dir)

    assert (status.alive, status.exit_code, status.result) == (False, -signal.SIGKILL, None)


def test_submitting_an_attempt_twice_starts_one_engine(run_dir: Path, started: Callable) -> None:
    launcher, handle = started(SLEEPER)

    assert launcher.submit(run_dir, attempt=1) == handle


def test_a_new_attempt_starts_a_new_engine(run_dir: Path, started: Callable) -> None:
    _, first = started(SLEEPER)
    _, second = started(SLEEPER, attempt=2)

    assert first.pid != second.pid


def test_a_request_to_an_earlier_attempt_does_not_reach_the_next(run_dir: Path, started: Callable) -> None:
    protocol.ask(run_dir, "pause")

    launcher, handle = started()

    assert ended(launcher, handle, run_dir).result.status == "succeeded"


def test_an_engine_asked_to_pause_says_paused(run_dir: Path, started: Callable) -> None:
    knobs(run_dir, seconds=600)
    (run_dir / "spec.json").write_bytes(contract.encode(contract.BaseSpec(steps=60_000)))
    launcher, handle = started()

    eventually(lambda: (beat := launcher.poll(handle, run_dir).heartbeat) and beat.step > 0)
    protocol.ask(run_dir, "pause")

    assert ended(launcher, handle, run_dir).result.status == "paused"


def test_stopping_lets_the_engine_leave_by_itself(run_dir: Path, started: Callable) -> None:
    knobs(run_dir, seconds=600)
    (run_dir / "spec.json").write_bytes(contract.encode(contract.BaseSpec(steps=60_000)))
    launcher, handle = started()
    eventually(lambda: (beat := launcher.poll(handle, run_dir).heartbeat) and beat.step > 0)

    launcher.stop(handle, run_dir, grace_seconds=60)

    assert ended(launcher, handle, run_dir).exit_code == 0


def test_an_engine_deaf_to_sigterm_is_killed_after_the_grace(run_dir: Path, started: Callable) -> None:
    launcher, handle = started(DEAF)
    eventually((run_dir / "deaf").exists)

    gone = launcher.stop(handle, run_dir, grace_seconds=0.1)

    assert gone
    assert ended(launcher, handle, run_dir).exit_code == -signal.SIGKILL


def test_stopping_takes_the_engines_children_along(run_dir: Path, started: Callable) -> None:
    program = (
        "import subprocess, sys, time, pathlib;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True);"
        "pathlib.Path(sys.argv[1], 'child.partial').write_text(str(child.pid));"
        "pathlib.Path(sys.argv[1], 'child.partial').rename(pathlib.Path(sys.argv[1], 'child')); time.sleep(600)"
    )
    launcher, handle = started((sys.executable, "-c", program))
    eventually((run_dir / "child").exists)
    child = int((run_dir / "child").read_text())

    launcher.stop(handle, run_dir, grace_seconds=5)

    eventually(lambda: local.birth(child) is None)


def test_a_process_that_inherited_the_number_is_not_stopped(run_dir: Path, started: Callable) -> None:
    launcher, handle = started(SLEEPER)
    recycled = msgspec.structs.replace(handle, birth="another boot:1")

    launcher.stop(recycled, run_dir, grace_seconds=0)

    assert launcher.poll(handle, run_dir).alive


def test_a_process_that_inherited_the_number_is_not_the_engine(run_dir: Path, started: Callable) -> None:
    launcher, handle = started(SLEEPER)

    assert not launcher.poll(msgspec.structs.replace(handle, birth="another boot:1"), run_dir).alive


@pytest.mark.parametrize(("age_seconds", "alive"), [(1, True), (600, False)])
def test_an_engine_on_another_machine_is_judged_by_its_heartbeat(run_dir: Path, age_seconds: int, alive: bool) -> None:
    beat = contract.Heartbeat(1, 10, time.time() - age_seconds, "training", 3, 9, 0)
    (run_dir / "heartbeat.json").write_bytes(contract.encode(beat))

    assert LocalLauncher().poll(LocalHandle("elsewhere", 10, "x:1", 1), run_dir).alive is alive


def test_the_engine_knows_nothing_of_the_platforms_secrets(
    run_dir: Path, started: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "SECRET_KEY", "MODEL_SERVER_TOKEN", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "secret")
    program = "import os, sys, json, pathlib; pathlib.Path(sys.argv[1], 'env').write_text(json.dumps(dict(os.environ)))"

    launcher, handle = started((sys.executable, "-c", program))

    ended(launcher, handle, run_dir)
    assert "secret" not in (run_dir / "env").read_text()


@pytest.mark.parametrize("name", ["SANDBOX_LEVELS", "SANDBOX_WORKERS"])
def test_the_engine_grades_in_the_sandbox_that_the_platform_was_told_to_use(
    run_dir: Path, started: Callable, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "landlock")
    program = "import os, sys, json, pathlib; pathlib.Path(sys.argv[1], 'env').write_text(json.dumps(dict(os.environ)))"

    launcher, handle = started((sys.executable, "-c", program))

    ended(launcher, handle, run_dir)
    assert json.loads((run_dir / "env").read_text())[name] == "landlock"


def test_the_engine_runs_at_lower_priority(run_dir: Path, started: Callable) -> None:
    _, handle = started(SLEEPER, niceness=5)

    assert psutil.Process(handle.pid).nice() == min(19, psutil.Process().nice() + 5)


def test_the_engine_leads_a_session_of_its_own(run_dir: Path, started: Callable) -> None:
    _, handle = started(SLEEPER)

    assert os.getsid(handle.pid) == handle.pid


def test_what_the_engine_prints_is_kept_in_its_log(run_dir: Path, started: Callable) -> None:
    launcher, handle = started((sys.executable, "-c", "print('hello'); raise SystemExit('bye')"))

    ended(launcher, handle, run_dir)

    assert (run_dir / "engine.log").read_text() == "hello\nbye\n"


def test_a_directory_without_a_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=r"holds no spec\.json"):
        LocalLauncher().submit(tmp_path, attempt=1)


def test_a_command_that_does_not_exist_is_named(run_dir: Path) -> None:
    with pytest.raises(LauncherError, match="no-such-engine"):
        LocalLauncher(engine_command=("/no-such-engine",)).submit(run_dir, attempt=1)


def test_a_command_that_does_not_exist_leaves_no_handle(run_dir: Path) -> None:
    with pytest.raises(LauncherError):
        LocalLauncher(engine_command=("/no-such-engine",)).submit(run_dir, attempt=1)

    assert not (run_dir / "handle.json").exists()


# Judges

SECRET = "a key that nobody may see"
GRADES = """
import json, os, pathlib, sys
from tasks.graders import registry

asks = [{"role": "user", "content": "{{ sample.output_text }}"}]
grade = registry.grade({"type": "score_model", "model": "judge", "input": asks}, "A reply.", {})
told = {"score": grade.score, "reason": grade.reason, "environment": dict(os.environ), "open": []}
for number in os.listdir("/proc/self/fd"):
    try:
        told["open"].append(os.readlink(f"/proc/self/fd/{number}"))
    except FileNotFoundError:  # the listing's own
        pass
pathlib.Path(sys.argv[1], "told").write_text(json.dumps(told))
"""


def told_by_an_engine(run_dir: Path, started: Callable, judges: Judges | None) -> dict[str, Any]:
    launcher, handle = started((sys.executable, "-c", GRADES), judges=judges)
    ended(launcher, handle, run_dir)
    return dict(json.loads((run_dir / "told").read_text()))


def test_an_engine_can_ask_the_judges_that_it_is_given(run_dir: Path, started: Callable) -> None:
    with judge.running() as fake:
        fake.answers = [judge.score(0.75)]

        told = told_by_an_engine(run_dir, started, Judges({"judge": Endpoint(f"{fake.url}/v1", SECRET)}))

    assert told["score"] == 0.75
    assert fake.tokens == [f"Bearer {SECRET}"]


def test_a_judges_key_is_in_no_environment_and_no_file(run_dir: Path, started: Callable) -> None:
    with judge.running() as fake:
        fake.answers = [judge.score(1)]

        told = told_by_an_engine(run_dir, started, Judges({"judge": Endpoint(f"{fake.url}/v1", SECRET)}))

    assert SECRET not in json.dumps(told["environment"])
    assert [path.name for path in run_dir.rglob("*") if path.is_file() and SECRET in path.read_text()] == []


def test_the_judges_descriptor_is_closed_once_it_is_read(run_dir: Path, started: Callable) -> None:
    with judge.running() as fake:
        fake.answers = [judge.score(1)]

        told = told_by_an_engine(run_dir, started, Judges({"judge": Endpoint(f"{fake.url}/v1", SECRET)}))

    assert [name for name in told["open"] if "memfd:judges" in name] == []


def test_the_minder_keeps_no_key(run_dir: Path, started: Callable) -> None:
    _, handle = started(SLEEPER, judges=Judges({"judge": Endpoint("http://127.0.0.1:1/v1", SECRET)}))
    minder = psutil.Process(handle.pid).parent()
    assert minder is not None

    eventually(lambda: not any("memfd:judges" in os.readlink(fd) for fd in Path(f"/proc/{minder.pid}/fd").iterdir()))


def test_an_engine_without_judges_says_so(run_dir: Path, started: Callable) -> None:
    told = told_by_an_engine(run_dir, started, None)

    assert told["reason"].startswith("No judge is known for the model 'judge'")


def test_more_judges_than_a_pipe_holds_arrive_whole(run_dir: Path, started: Callable) -> None:
    with judge.running() as fake:
        fake.answers = [judge.score(1)]
        many = {f"line-{n}/v1": Endpoint(f"{fake.url}/v1", SECRET, "9" * 64) for n in range(2_000)}

        told = told_by_an_engine(run_dir, started, Judges({**many, "judge": Endpoint(f"{fake.url}/v1", SECRET)}))

    assert told["score"] == 1


def test_the_keys_do_not_show_when_a_launcher_is_printed() -> None:
    assert SECRET not in repr(LocalLauncher(judges=Judges({"*": Endpoint("https://judge.example/v1", SECRET)})))


def test_each_process_of_an_engine_on_several_gpus_can_read_the_judges(run_dir: Path, started: Callable) -> None:
    reading = "import os, sys; print(open(os.environ['JUDGES_FD']).read()[:12])"
    program = (
        "import subprocess, sys;"
        f"[subprocess.run([sys.executable, '-c', {reading!r}], check=True) for _ in range(2)]"  # closes descriptors
    )
    judges = Judges({"*": Endpoint("https://judge.example/v1", "a key")})

    launcher, handle = started((sys.executable, "-c", program), gpus=2, judges=judges)

    ended(launcher, handle, run_dir)
    assert (run_dir / "engine.log").read_text().splitlines() == ['{"endpoints"'] * 2
