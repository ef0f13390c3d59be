"""What hostile graders try. After each, the `attempt` fixture asserts that the same worker grades on, rightly."""

import os
import select
import socket
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from tasks.sandbox import probes
from tasks.sandbox.pool import Pool
from tasks.sandbox.protocol import Level, Limits, Lost
from tests.tasks.sandbox.conftest import Try, opened

REPOSITORY = Path(__file__).resolve().parents[3]
PROBES = {probe.name: probe for probe in probes.PROBES}
CALL = {"sample": {}, "item": {}}

CONNECT = """
import socket
def grade(sample, item):
    s = socket.socket(getattr(socket, item["family"]), getattr(socket, item["kind"]))
    s.connect(tuple(item["address"]) if isinstance(item["address"], list) else item["address"])
    s.send(b"out")
    return 1.0
"""


@pytest.fixture
def listener():
    """A server on this machine that remembers what reached it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


def unreached(server: socket.socket) -> bool:
    try:
        server.accept()
    except TimeoutError:
        return True
    return False


def refused(answer: dict) -> bool:
    return answer.get("error") == "raised" and answer["detail"].startswith(
        ("PermissionError", "OSError", "FileNotFound")
    )


def test_a_port_of_this_machine_cannot_be_reached(attempt: Try, listener: socket.socket):
    address = {"family": "AF_INET", "kind": "SOCK_STREAM", "address": list(listener.getsockname())}

    answer = attempt(CONNECT, address)

    assert refused(answer)
    assert unreached(listener)


def test_a_datagram_cannot_be_sent(attempt: Try):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        answer = attempt(CONNECT, {"family": "AF_INET", "kind": "SOCK_DGRAM", "address": list(server.getsockname())})

    assert refused(answer)


def test_a_name_cannot_be_looked_up(attempt: Try):
    answer = attempt("import socket\ndef grade(s, i):\n    return len(socket.getaddrinfo('localhost', 80)) and 1.0")

    assert answer["error"] == "raised"


@pytest.mark.parametrize("abstract", [False, True], ids=["by path", "by abstract name"])
def test_a_unix_socket_cannot_be_reached(attempt: Try, tmp_path: Path, abstract: bool):
    address = f"\0attack-{os.getpid()}" if abstract else str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        server.settimeout(0.2)

        answer = attempt(CONNECT, {"family": "AF_UNIX", "kind": "SOCK_STREAM", "address": address})

        assert refused(answer)
        assert unreached(server)


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("variable", ["DATABASE_URL", "REDIS_URL"])
def test_the_sockets_of_our_own_servers_cannot_be_reached(attempt: Try, variable: str):
    url = urlsplit(os.environ[variable])
    folder = parse_qs(url.query).get("host", [""])[0]
    path = f"{folder}/.s.PGSQL.5432" if folder else url.path
    with socket.socket(socket.AF_UNIX) as ours:
        ours.connect(path)  # it is there: we get in

    answer = attempt(CONNECT, {"family": "AF_UNIX", "kind": "SOCK_STREAM", "address": path})

    assert refused(answer)


def test_a_datagram_pair_cannot_be_bent_to_another_address(attempt: Try, tmp_path: Path):
    source = """
import ctypes, socket, struct
libc = ctypes.CDLL(None)
def grade(sample, item):
    pair = (ctypes.c_int * 2)()
    libc.socketpair(1, 2, 0, pair)
    address = struct.pack("H", 1) + item["path"].encode() + b"\\0"
    for fd in (pair[0], 3):
        libc.sendto(fd, b"out", 3, 0, address, len(address))
    return 0.0
"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "s"))
        server.settimeout(0.2)

        attempt(source, {"path": str(tmp_path / "s")})

        with pytest.raises(TimeoutError):
            server.recv(10)


@pytest.mark.parametrize("name", PROBES)
def test_the_probe_is_held(attempt: Try, pool: Pool, tmp_path: Path, name: str, listener: socket.socket):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    bait = {
        "host": os.getpid(),
        "worker": pool.worker_pid(),
        "port": listener.getsockname()[1],
        "unix": [],
        "abstract": [],
        "secrets": [str(secret)],
        "folders": [str(REPOSITORY)],
        "devices": [],
        "kept": 0b110 if pool.level is Level.LANDLOCK else 0,
    }

    assert attempt(PROBES[name].source, bait, PROBES[name].limits) == {"ok": 1.0}


@pytest.mark.parametrize("path", ["README.md", "tasks/sandbox/pool.py", "var"])
def test_files_of_the_application_cannot_be_read(attempt: Try, path: str):
    source = (
        "import os\ndef grade(s, i):\n    return float(bool(os.listdir(i) if os.path.isdir(i) else open(i).read()))"
    )

    assert refused(attempt(source.replace("(i)", "(i['p'])"), {"p": str(REPOSITORY / path)}))


def test_the_password_file_cannot_be_read(attempt: Try):
    assert refused(attempt("def grade(s, i):\n    return float(bool(open('/etc/shadow').read()))"))


def test_the_environment_holds_nothing_of_the_host(attempt: Try, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("A_SECRET", "swordfish")
    source = "import os\ndef grade(s, i):\n    return 'A_SECRET' in os.environ or 'SECRET_KEY' in os.environ"

    assert attempt(source) == {"ok": 0.0}


def test_a_worker_is_started_without_the_environment_of_its_host(pool: Pool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("A_SECRET", "swordfish")

    with opened(pool.level) as fresh:
        environment = Path(f"/proc/{fresh.worker_pid()}/environ").read_bytes()

    assert environment in (b"PYTHONHASHSEED=0\0", b"PYTHONHASHSEED=0\0LC_CTYPE=C.UTF-8\0")


def test_the_memory_of_the_worker_holds_no_secret_of_the_host(attempt: Try):
    """The worker is a new program, not a copy of its host: what its sessions inherit never saw a secret."""
    secret = "sword" + "fish-of-the-host"
    source = """
import gc
def grade(sample, item):
    return any(isinstance(o, (str, bytes)) and item["a"] in str(o) and item["b"] in str(o) for o in gc.get_objects())
"""

    assert attempt(source, {"a": secret[:5], "b": "fish-of-the-host"[:7]}) == {"ok": 0.0}


def test_a_loop_that_ignores_signals_is_ended(attempt: Try):
    assert attempt(probes.DEAF, seconds=0.1)["error"] == "timeout"


def test_a_long_operation_inside_of_an_integer_is_ended(attempt: Try):
    assert attempt("def grade(s, i):\n    return 9 ** 9 ** 9 ** 9", seconds=0.3)["error"] == "timeout"


def test_processor_time_is_limited_even_without_a_deadline_of_the_host(attempt: Try):
    source = """
import threading
def burn():
    while True: sum(range(100000))
def grade(sample, item):
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    return float(soft == hard and hard < 100)
"""

    assert attempt(source, limits=Limits(seconds=10)) == {"ok": 1.0}


def test_a_fork_bomb_starts_nothing(attempt: Try):
    source = """
import os
def grade(sample, item):
    while True:
        os.fork()
"""

    assert refused(attempt(source))


def test_a_thread_bomb_stays_inside_its_limit(attempt: Try):
    source = """
import threading, time
def grade(sample, item):
    count = 0
    try:
        while True:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            count += 1
    except RuntimeError:
        return count <= item["most"]
"""

    assert attempt(source, {"most": 2000}, Limits(threads=16)) == {"ok": 1.0}


def test_threads_left_running_end_with_their_session(attempt: Try, pool: Pool):
    source = """
import threading
def burn():
    while True: pass
def grade(sample, item):
    for _ in range(4): threading.Thread(target=burn, daemon=True).start()
    return 1.0
"""

    assert attempt(source) == {"ok": 1.0}
    assert descendants_without_a_session(pool) == []


def test_a_memory_bomb_is_the_graders_own_error(attempt: Try):
    assert attempt("def grade(s, i):\n    return len(bytearray(3 << 30))")["error"] == "memory"


def test_a_slowly_growing_memory_is_ended(attempt: Try):
    source = "def grade(s, i):\n    a = []\n    while True:\n        a.append(bytearray(1 << 20))"

    assert attempt(source, limits=Limits(memory_bytes=256 << 20))["error"] == "memory"


@pytest.mark.parametrize("how", ["os.setsid()", "os.setpgid(0, 0)"])
def test_no_daemon_is_left_behind(attempt: Try, pool: Pool, how: str):
    source = f"""
import os, time
def grade(sample, item):
    try:
        {how}
    except OSError:
        pass
    for _ in range(2):
        try:
            if os.fork(): break
        except OSError:
            return 0.5
    time.sleep(60)
"""

    assert attempt(source) == {"ok": 0.5}
    assert descendants_without_a_session(pool) == []


def test_a_worker_of_a_host_with_many_open_files_passes_none_on(level: Level):
    source = """
import os
def grade(sample, item):
    open_ones = []
    for number in range(4, 4096):
        try:
            os.fstat(number)
            open_ones.append(number)
        except OSError:
            pass
    return float(not open_ones)
"""
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(400)]
    try:
        with opened(level) as pool, pool.session("grade", {"source": source, "calls": [CALL]}) as session:
            answer = session.receive(20)
    finally:
        for number in held:
            os.close(number)

    assert answer == {"ok": 1.0}


def test_a_flood_of_answers_does_not_fill_the_host(attempt: Try, pool: Pool):
    source = """
import gc
from tasks.sandbox.channel import Channel
channel = next(o for o in gc.get_objects() if isinstance(o, Channel))
while True:
    channel.send({"ok": 1.0})
"""

    with pytest.raises(Lost) as lost, pool.session("grade", {"source": source, "calls": []}) as session:
        session.finish(20)

    assert lost.value.kind == "too_large"


def test_large_answers_that_nobody_asked_for_do_not_fill_the_host(attempt: Try, pool: Pool):
    """A frame of 64 KB is more than a megabyte of lists."""
    source = """
import gc, os
from tasks.sandbox.channel import Channel
channel = next(o for o in gc.get_objects() if isinstance(o, Channel))
raw = b'{"a":[' + b'[],' * 21000 + b'0]}'
while True:
    left = memoryview(len(raw).to_bytes(4, "big") + channel._nonce + raw)
    while left:
        left = left[os.write(3, left):]
"""
    before = psutil.Process().memory_info().rss

    with pytest.raises(Lost) as lost, pool.session("program", {"sources": [source], "stdin": ""}) as session:
        session.finish(20)

    assert lost.value.kind == "too_large"
    assert psutil.Process().memory_info().rss - before < 200 << 20


TRICKLE = """
import os, time
def {head}:
    os.write({descriptor}, {first})
    until = time.monotonic() + 4
    while time.monotonic() < until:
        os.write({descriptor}, b"a")
        pause = time.monotonic() + 0.0001
        while time.monotonic() < pause: pass
"""


class Eager:
    """A poll that finds something whenever there is somebody who goes on writing, however busy the machine is."""

    def __init__(self) -> None:
        self._poll = POLL()

    def __getattr__(self, name: str):
        return getattr(self._poll, name)

    def poll(self, milliseconds: float) -> list[tuple[int, int]]:
        return self._poll.poll(max(milliseconds, 500))


POLL = select.poll


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tasks.sandbox.session.select.poll", Eager)


@pytest.mark.usefixtures("eager")
def test_who_always_has_something_more_to_print_has_a_deadline(attempt: Try, pool: Pool):
    source = TRICKLE.format(head="f()", descriptor=1, first=b"a") + "f()\n"
    started = time.monotonic()

    with pytest.raises(Lost) as lost, pool.session("program", {"sources": [source], "stdin": ""}) as session:
        session.finish(0.3)

    assert lost.value.kind == "timeout"
    assert time.monotonic() - started < 2


@pytest.mark.usefixtures("eager")
def test_who_never_comes_to_the_end_of_an_answer_has_a_deadline(attempt: Try):
    source = TRICKLE.format(head="grade(sample, item)", descriptor=3, first=b"\0\0\xff\xff")
    started = time.monotonic()

    answer = attempt(source, seconds=0.3)

    assert answer["error"] == "timeout"
    assert time.monotonic() - started < 2


def test_flags_of_an_open_file_are_not_left_to_the_next_session(attempt: Try):
    source = """
import fcntl, os
def grade(sample, item):
    found = [fcntl.fcntl(number, fcntl.F_GETFL) for number in range(4)]
    for number in range(4):
        fcntl.fcntl(number, fcntl.F_SETFL, found[number] | os.O_APPEND)
    return float(any(flags & os.O_APPEND for flags in found))
"""

    assert [attempt(source), attempt(source)] == [{"ok": 0.0}, {"ok": 0.0}]


def test_not_even_the_times_of_a_device_can_be_changed(attempt: Try):
    source = """
import os
def grade(sample, item):
    changed = []
    for place in (0, 1, 2, "/dev/null", "/dev/zero", "/dev/urandom"):
        try:
            os.utime(place)
            changed.append(place)
        except OSError:
            pass
    return float(changed in ([], [1]))  # its own pipe is its own
"""

    assert attempt(source) == {"ok": 1.0}


def test_the_name_of_the_machine_is_not_told(attempt: Try, pool: Pool):
    answer = attempt(
        "import os\ndef grade(s, i):\n    return os.uname().nodename == i['name']", {"name": os.uname()[1]}
    )

    assert answer == {"ok": float(pool.level is Level.LANDLOCK)}  # which has no namespace to hide it in


def test_what_is_written_to_tmp_is_gone_in_the_next_session(pool: Pool, attempt: Try):
    attempt("import os\ndef grade(s, i):\n    open(os.environ['TMPDIR'] + '/left', 'w').write('x')\n    return 1.0")

    found = attempt("import os\ndef grade(s, i):\n    return os.path.exists(os.environ['TMPDIR'] + '/left')")

    assert found == {"ok": 0.0}


def test_a_file_can_be_written_where_the_level_has_a_quota(pool: Pool, attempt: Try):
    source = (
        "import os\ndef grade(s, i):\n    name = os.environ['TMPDIR'] + '/a'\n"
        "    open(name, 'w').write('x')\n    return float(open(name).read() == 'x')"
    )

    answer = attempt(source)

    assert answer == {"ok": 1.0} if pool.level is Level.NAMESPACES else refused(answer)


def test_a_frame_with_another_nonce_is_no_answer(attempt: Try):
    assert attempt(probes.FORGER)["error"] == "malformed"


def test_a_frame_that_announces_gigabytes_is_not_waited_for(attempt: Try):
    source = "import os, time\ndef grade(s, i):\n    os.write(3, b'\\xff' * 8)\n    time.sleep(60)"

    assert attempt(source)["error"] == "too_large"


def test_a_frame_that_is_not_json_is_no_answer(attempt: Try):
    source = """
import gc, os
from tasks.sandbox.channel import Channel
def grade(sample, item):
    channel = next(o for o in gc.get_objects() if isinstance(o, Channel))
    raw = item["raw"].encode("latin-1")
    os.write(3, len(raw).to_bytes(4, "big") + channel._nonce + raw)
    return 1.0
"""
    deep = "[" * 60_000

    answers = [attempt(source, {"raw": raw})["error"] for raw in ('{"ok": NaN}', "[1]", deep, "\x80", '{"a":' * 9)]

    assert answers == ["malformed"] * 5


def test_a_process_that_closes_its_channel_is_ended(attempt: Try, pool: Pool):
    source = "import os, time\ndef grade(s, i):\n    os.close(3)\n    time.sleep(60)"

    assert attempt(source)["error"] == "died"
    assert descendants_without_a_session(pool) == []


@pytest.mark.parametrize("end", ["os._exit(0)", "os.abort()", "ctypes.string_at(0)"])
def test_a_process_that_ends_without_an_answer_is_an_error(attempt: Try, end: str):
    assert attempt(f"import ctypes, os\ndef grade(s, i):\n    {end}")["error"] == "died"


@pytest.mark.parametrize("status", [0, 1, 2, 78])
def test_no_exit_status_makes_its_end_our_fault(attempt: Try, pool: Pool, status: int):
    source = f"import os\nos._exit({status})"

    with pytest.raises(Lost) as lost, pool.session("grade", {"source": source, "calls": []}) as session:
        session.receive(20)

    assert not lost.value.ours


def test_an_endless_line_of_output_does_not_end_a_grader(attempt: Try):
    source = "def grade(s, i):\n    print('x' * (8 << 20))\n    return 1.0"

    assert attempt(source) == {"ok": 1.0}


def test_the_supervisor_cannot_be_traced_by_native_code(attempt: Try, pool: Pool):
    source = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def grade(sample, item):
    return float(all(libc.ptrace(16, pid, 0, 0) == -1 for pid in item["pids"]))
"""

    assert attempt(source, {"pids": [pool.worker_pid(), os.getpid(), os.getppid(), 1]}) == {"ok": 1.0}


def test_a_32_bit_system_call_ends_the_process(attempt: Try):
    """int 0x80 asks for 32-bit calls under other numbers, which a filter of 64-bit ones would let through."""
    if os.uname().machine != "x86_64":
        return
    source = """
import ctypes, mmap
def grade(sample, item):
    room = mmap.mmap(-1, 4096, prot=7)
    room.write(bytes([0xb8, 2, 0, 0, 0, 0xcd, 0x80, 0xc3]))  # mov eax, 2 (fork); int 0x80; ret
    return float(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(room)))() >= 0)
"""

    assert attempt(source)["error"] == "died"


def test_many_sessions_at_once_answer_each_for_themselves(level: Level):
    answers = {}
    with opened(level, size=2) as pool:

        def grade(number: int) -> None:
            source = "def grade(s, i):\n    return 1 / i['b']"
            job = {"source": source, "calls": [{"sample": {}, "item": {"b": number}}]}
            with pool.session("grade", job) as session:
                answers[number] = session.receive(20)

        threads = [threading.Thread(target=grade, args=(number,)) for number in range(1, 33)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert answers == {number: {"ok": 1 / number} for number in range(1, 33)}


def descendants_without_a_session(pool: Pool) -> list[str]:
    """Processes below the worker that are no part of it, once the last session is over."""
    worker = psutil.Process(pool.worker_pid())
    own = 1 if pool.level is Level.NAMESPACES else 0
    return [str(process) for process in worker.children(recursive=True)[own:]]
