"""Command line of the embedded stack.

up                  everything, in the foreground, until Ctrl-C; the tour on an empty database unless DEMO=0
run -- COMMAND      everything while COMMAND runs, with the addresses in its environment; exits with its code
services            Postgres and the broker only; prints their addresses, until Ctrl-C (or until --owner's process ends)
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import psutil

from flywheel.embedded import services
from flywheel.embedded.places import Places, places
from flywheel.embedded.process import is_alive
from flywheel.embedded.refusals import AlreadyRunningError, EmbeddedError
from flywheel.embedded.stack import TICK_SECONDS, Ports, Stack


class StopAsked(BaseException):
    """SIGINT or SIGTERM: not an Exception, so that nothing on the way takes it for a fault."""


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    stack = Stack(places(), durable=not getattr(options, "throwaway", False))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ask_to_stop)
    try:
        return int(options.verb(stack, options))
    except AlreadyRunningError as refusal:
        print(refusal, file=sys.stderr)
        return 0 if options.verb is up else 3
    except (EmbeddedError, PermissionError) as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except StopAsked:
        return 0 if options.verb is not run else 130
    finally:
        _stop(stack)


def up(stack: Stack, options: argparse.Namespace) -> int:
    stack.claim()
    ports = Ports(services.claim_port("WEB_PORT", 8000), services.claim_port("MODEL_SERVER_PORT", 8001))
    print("Starting Postgres, the broker and the portal ...", flush=True)
    stack.start_servers()
    stack.start_product(ports)
    if os.environ.get("DEMO", "1") != "0" and stack.nothing_uploaded():
        _tour_marker(stack.places).touch()
    login = stack.manage("first_admin")
    stack.wait_ready("web", "worker", "beat")
    print(
        f"\nPortal: {stack.web_url}\n{login.strip()}\nLogs:   {stack.places.logs}\nCtrl-C stops everything.\n",
        flush=True,
    )
    if os.environ.get("DEMO", "1") != "0" and _tour_marker(stack.places).exists():
        stack.wait_ready("model-server")
        if stack.run_in_foreground(services.manage("tour")) == 0:
            _tour_marker(stack.places).unlink(missing_ok=True)
        else:
            print("The tour stopped before its end; the next `make up` goes on with it.", flush=True)
    while True:
        stack.supervise()
        time.sleep(TICK_SECONDS)


def run(stack: Stack, options: argparse.Namespace) -> int:
    """Ports are free ones unless the environment names them: this may run beside a `make up`."""
    stack.claim(fresh=options.fresh)
    ports = Ports(services.claim_port("WEB_PORT", 0), services.claim_port("MODEL_SERVER_PORT", 0))
    stack.start_servers()
    stack.start_product(ports)
    stack.wait_ready("web", "worker", "beat", "model-server")
    return stack.run_in_foreground(options.command)


def only_services(stack: Stack, options: argparse.Namespace) -> int:
    owner = psutil.Process(options.owner) if options.owner else None
    stack.claim()
    stack.start_servers()
    stack.wait_ready("postgres", "broker")
    print(f"DATABASE_URL={stack.database_url}\nREDIS_URL={stack.redis_url}", flush=True)
    while owner is None or is_alive(owner):
        stack.supervise()
        time.sleep(TICK_SECONDS)
    return 0


def _tour_marker(places: Places) -> Path:
    """Stands from the first start until the tour has come to its end, so that an interrupted one goes on."""
    return places.stack / "tour.pending"


def _ask_to_stop(number: int, frame: FrameType | None) -> None:
    raise StopAsked


def _stop(stack: Stack) -> None:
    """A second signal while stopping means: at once."""
    try:
        stack.stop()
    except StopAsked:
        stack.stop(hurry=True)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flywheel.embedded", description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True, metavar="up | run | services")
    verbs.add_parser("up").set_defaults(verb=up)
    one = verbs.add_parser("run")
    one.add_argument("--fresh", action="store_true", help="empty DATA_DIR first")
    one.add_argument("command", nargs="+", metavar="COMMAND")
    one.set_defaults(verb=run)
    servers = verbs.add_parser("services")
    servers.add_argument("--owner", type=int, metavar="PID", help="stop when this process ends")
    servers.add_argument("--throwaway", action="store_true", help="no fsync: for tests")
    servers.set_defaults(verb=only_services)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
