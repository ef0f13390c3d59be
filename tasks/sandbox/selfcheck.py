"""Does a level hold on this machine? Hostile graders try it; whatever one of them gets out of is not offered."""

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.sandbox import kernel, probes
from tasks.sandbox.pool import Pool
from tasks.sandbox.protocol import Level, Limits, Lost, Unavailable
from tasks.sandbox.worker import SOURCES

PATIENCE_SECONDS = 20.0  # a probe that hangs has not held
DEADLINE_SECONDS = 0.05
# What a session may keep at the level landlock (see there), where not even that lets it write.
_TO_READ = 1 << kernel.CAP_DAC_READ_SEARCH | 1 << kernel.CAP_DAC_OVERRIDE


@dataclass(frozen=True, slots=True)
class Finding:
    probe: str
    aim: str
    held: bool
    detail: str = ""  # of what went wrong


@dataclass(frozen=True, slots=True)
class Report:
    """Of one level. With `refused`, a sentence, it could not be tried at all."""

    level: Level
    findings: tuple[Finding, ...] = ()
    refused: str = ""

    @property
    def holds(self) -> bool:
        return not self.refused and all(finding.held for finding in self.findings)

    @property
    def escaped(self) -> tuple[str, ...]:
        return tuple(finding.probe for finding in self.findings if not finding.held)


def check(level: Level, *, thorough: bool = True) -> Report:
    """Every probe at this level; not thorough: until the first that gets out."""
    if level is Level.PLAIN:  # nothing is confined there, and so nothing of anybody else's is ever run
        return Report(level, refused="it is for the application's own code only")
    pool = Pool(level=level, size=1)
    try:
        pool.start()
    except Unavailable as refusal:
        return Report(level, refused=refusal.sentence)
    try:
        with _bait(pool) as bait:
            findings = []
            for finding in _findings(pool, bait):
                findings.append(finding)
                if not (finding.held or thorough):
                    break
        return Report(level, tuple(findings))
    finally:
        pool.close()


def _findings(pool: Pool, bait: Mapping[str, Any]) -> Iterator[Finding]:
    for probe in probes.PROBES:
        answer = _answer(pool, probe.source, {"sample": {}, "item": bait}, probe.limits)
        yield Finding(probe.name, probe.aim, answer.get("ok") == 1.0, str(answer.get("detail", "")))
    answer = _answer(pool, probes.FORGER, {"sample": {}, "item": {}})
    yield Finding(
        "forged_answers", "write answers to every descriptor", answer.get("error") == "malformed", str(answer)
    )
    answer = _answer(pool, probes.DEAF, {"sample": {}, "item": {}}, seconds=DEADLINE_SECONDS)
    yield Finding("deadline", "run on and ignore signals", answer.get("error") == "timeout", str(answer))
    answer = _answer(pool, probes.BENIGN, probes.BENIGN_CALL)
    held = answer.get("ok") == probes.BENIGN_SCORE
    yield Finding("next_grade", "keep the next grade, a harmless one, from being right", held, str(answer))


def _answer(
    pool: Pool,
    source: str,
    call: Mapping[str, Any],
    limits: Limits | None = None,
    seconds: float = PATIENCE_SECONDS,
) -> dict[str, Any]:
    limits = replace(limits or Limits(), seconds=PATIENCE_SECONDS)
    try:
        with pool.session("grade", {"source": source, "calls": [call]}, limits) as session:
            return session.receive(seconds)
    except Lost as lost:
        return {"error": lost.kind, "detail": lost.detail}
    except Unavailable as refusal:
        return {"error": "unavailable", "detail": refusal.sentence}


@contextmanager
def _bait(pool: Pool) -> Iterator[dict[str, Any]]:
    """Sockets that listen, a secret that could be read: a probe that fails for want of a target would prove nothing."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-bait-")))
        folder.chmod(0o755)
        secret = folder / "secret"
        secret.write_text("secret")
        secret.chmod(0o666)
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        abstract = f"sandbox-bait-{os.getpid()}-{port}"
        addresses = [str(folder / "stream"), str(folder / "datagram"), f"\0{abstract}-s", f"\0{abstract}-d"]
        for address in addresses:
            kind = socket.SOCK_STREAM if address.endswith(("stream", "-s")) else socket.SOCK_DGRAM
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            listener.bind(address)
            if kind is socket.SOCK_STREAM:
                listener.listen()
        for path in addresses[:2]:
            os.chmod(path, 0o777)  # noqa: S103 - that it cannot be reached must not be for want of rights
        yield {
            "host": os.getpid(),
            "worker": pool.worker_pid(),
            "port": port,
            "unix": addresses[:2],
            "abstract": [address[1:] for address in addresses[2:]],
            "secrets": [str(secret), str(SOURCES / "pyproject.toml"), str(Path(__file__).resolve())],
            "folders": [str(folder), str(SOURCES), str(Path.home())],
            "devices": [
                entry.name
                for entry in os.scandir("/dev")
                if not entry.is_symlink() and entry.name not in ("null", "zero", "urandom")
            ],
            "kept": _TO_READ if pool.level is Level.LANDLOCK else 0,
        }
