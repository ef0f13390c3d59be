"""`python -m trainer.server`: serves the model artifacts of one directory.

Every flag can also be given by environment. The token comes by environment only, so that no process list shows it.
"""

import argparse
import dataclasses
import ipaddress
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

from trainer.server.limits import Limits

REPOSITORY = Path(__file__).resolve().parents[2]
KEEP_ALIVE_SECONDS = 75  # longer than clients keep an idle connection: who closes first must not be us
GRACE_SECONDS = 15  # after SIGTERM, for the answers being written

log = logging.getLogger("trainer.server")


def main() -> None:
    arguments = parse_arguments()
    token = os.environ.pop("MODEL_SERVER_TOKEN", "") or None
    if token is None and not is_loopback(arguments.host):
        sys.exit(f"Set MODEL_SERVER_TOKEN: without it the model server does not listen on {arguments.host}.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    listening = _listen(arguments.host, arguments.port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again once it has shut down
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    serve(arguments, token, listening)


def serve(arguments: argparse.Namespace, token: str | None, listening: socket.socket) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch reads it as it is imported
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"  # an artifact is complete: nothing is ever fetched
    before = time.perf_counter()
    import torch
    import uvicorn

    from trainer.server.app import Server
    from trainer.server.store import Store

    import_seconds = time.perf_counter() - before
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    limits = Limits(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Limits)})
    server = Server(Store(arguments.models.resolve()), limits, token, device, import_seconds)
    port = listening.getsockname()[1]
    log.info("Serving %s on http://%s:%d (%s, libraries imported in %.1f s)", arguments.models, arguments.host, port,
             device, import_seconds)  # fmt: skip
    config = uvicorn.Config(
        server.app(),
        log_config=None,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listening])


def parse_arguments(given: list[str] | None = None) -> argparse.Namespace:
    data = Path(os.environ.get("DATA_DIR") or REPOSITORY / "var" / "data")
    parser = argparse.ArgumentParser(prog="python -m trainer.server", description=__doc__)

    def flag(name: str, kind: type, default: object, text: str) -> None:
        variable = f"MODEL_SERVER_{name.upper()}"
        value = os.environ.get(variable) or str(default)  # argparse converts strings, so both are checked alike
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=kind, default=value, help=f"{text} [{variable}={default}]"
        )

    flag("models", Path, data / "models", "the artifact store: one directory a model, named by its digest")
    flag("host", str, "127.0.0.1", "address to listen on; beyond loopback MODEL_SERVER_TOKEN must be set")
    flag("port", int, 8001, "port to listen on; 0 takes a free one")
    flag("device", str, "", "cpu, cuda, mps; empty: cuda where there is one")
    flag("threads", int, 0, "threads of one computation; 0 leaves it to torch")
    defaults = Limits()
    for field in dataclasses.fields(Limits):
        default = getattr(defaults, field.name)
        flag(field.name, type(default), default, "see trainer/server/limits.py")
    return parser.parse_args(given)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    """Taken before torch is imported: a port in use is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        sys.exit(f"Port {port} on {host} cannot be used ({error.strerror}). Choose another with --port.")
    return listening


if __name__ == "__main__":
    main()
