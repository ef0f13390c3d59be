"""The product's own processes as command lines, and the environment that they share."""

import os
import socket
import sys
from pathlib import Path

from flywheel.embedded.places import Places
from flywheel.embedded.refusals import EmbeddedError

PYTHON = sys.executable
WEB_PROBE = "/static/favicon.svg"  # answered without the database, a session or a line in the log


def web(port: int) -> list[str]:
    """Threads within two processes: a request that waits for the database or the model server holds up no other. Chats
    wait longest, hold nothing meanwhile, and come by the dozen.

    An idle connection is kept longer than clients keep theirs: one that the server closes just as the next request
    comes is an error to its client.

    Preloaded: the code is imported once and shared by both.
    """
    command = [PYTHON, "-m", "gunicorn", "flywheel.wsgi:application", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", "gthread", "--workers", "2", "--threads", "64", "--timeout", "120"]
    command += ["--keep-alive", "75"]
    command += ["--preload", "--graceful-timeout", "4", "--no-control-socket"]
    return command + (["--worker-tmp-dir", "/dev/shm"] if Path("/dev/shm").is_dir() else [])  # noqa: S108


def worker() -> list[str]:
    """A pool process over the memory limit (KiB) is replaced after its job.

    "engines" is a queue of its own so that elsewhere it can be consumed where the accelerator is.
    """
    command = [PYTHON, "-m", "celery", "-A", "flywheel", "worker", "--hostname", "worker@%h", "--loglevel", "INFO"]
    command += ["--pool", "prefork", "--concurrency", "2", "--max-memory-per-child", "400000"]
    command += ["-Ofair", "--prefetch-multiplier", "1", "--queues", "celery,engines"]
    return [*command, "--without-gossip", "--without-mingle", "--without-heartbeat"]


def beat() -> list[str]:
    """The settings name the scheduler (rows in the database)."""
    return [PYTHON, "-m", "celery", "-A", "flywheel", "beat", "--loglevel", "INFO", "--pidfile="]


def model_server(models: Path, port: int) -> list[str]:
    return [PYTHON, "-m", "trainer.server", "--models", str(models), "--host", "127.0.0.1", "--port", str(port)]


def manage(*words: str) -> list[str]:
    return [PYTHON, "manage.py", *words]


def environment(
    places: Places, *, database_url: str, redis_url: str, web_port: int, model_server_url: str
) -> dict[str, str]:
    """What every process of the product is told. The secret key is read from its file, never passed around."""
    return {
        **os.environ,
        "DATA_DIR": str(places.data),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "WEB_PORT": str(web_port),
        "WEB_URL": f"http://127.0.0.1:{web_port}",
        "MODEL_SERVER_URL": model_server_url,
        "MODEL_SERVER_TOKEN": os.environ.get("MODEL_SERVER_TOKEN")
        or (places.data / "model_server_token").read_text().strip(),
        "PYTHONUNBUFFERED": "1",
    }


def claim_port(variable: str, default: int) -> int:
    """The port named by the environment variable, free to bind on the loopback; 0 stands for any free one."""
    wanted = os.environ.get(variable, "") or str(default)
    if not wanted.isdigit() or int(wanted) > 65535:
        raise EmbeddedError(f"{variable} must be a port number from 0 to 65535, not {wanted!r}.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(wanted)))
        except OSError:
            raise EmbeddedError(
                f"Port {wanted} is already in use: stop what uses it, or choose another port with {variable}."
            ) from None
        return int(probe.getsockname()[1])
