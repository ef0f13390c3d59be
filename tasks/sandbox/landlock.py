"""The level for containers that may not make namespaces: Landlock for files, seccomp for all else, a user of its own.

Nothing can be written at all, because nothing here could hold a quota. No socket can be made (Landlock before
version 9 does not stop Unix sockets that have a path), and no mode, time or lock of a file can be changed, which
Landlock does not govern.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.sandbox import confinement, kernel
from tasks.sandbox.seccomp import CHANGES_FILES, Filter

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}  # file rights known since version
_NETWORK = 0b11  # bind, connect: since version 4
_SCOPED = 0b11  # abstract sockets, signals: since version 6

_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache", "/dev/urandom")
_UNUSED_USERS = 2_000_000_000
_SPARE_THREADS = 256  # of the same user, when the limit can only be counted for all its processes together


class Landlock:
    """One worker's; the rules are made once and put on by each session."""

    def settle(self, readable: Sequence[str]) -> None:
        readable = [os.path.realpath(path) for path in readable]
        version = kernel.syscall(_CREATE_RULESET, 0, 0, _VERSION)
        self._rules = _ruleset(version, [path for path in (*_SYSTEM, *readable) if os.path.exists(path)])
        self._filter = Filter(without=CHANGES_FILES)
        self._user = _unused_user()
        self._kept = _needed_to_read(readable) if self._user else 0
        self._threads_already = 0 if self._user else _threads_of(os.getuid())

    def fork(self) -> int:
        self._worker = os.getpid()
        return os.fork()

    def confine(self, limits: Mapping[str, Any]) -> None:
        os.setsid()
        os.chdir("/")
        if self._user:
            kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
            os.setgroups([])
            os.setresgid(self._user, self._user, self._user)
            os.setresuid(self._user, self._user, self._user)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.syscall(_RESTRICT_SELF, self._rules, 0)
        confinement.limit_resources(limits, processes=self._threads_already + limits["threads"] + 1)
        kernel.set_capabilities(self._kept)
        confinement.close_to_others()
        confinement.end_with(self._worker)
        self._filter.install(os.getpid())


def _ruleset(version: int, readable: Sequence[str]) -> int:
    rights = next(bits for since, bits in sorted(_RIGHTS.items(), reverse=True) if since <= version)
    handled = struct.pack(
        "QQQ"[: 1 + (version >= 4) + (version >= 6)],
        *[rights, _NETWORK, _SCOPED][: 1 + (version >= 4) + (version >= 6)],
    )
    rules = kernel.syscall(_CREATE_RULESET, ctypes.c_char_p(handled), len(handled), 0)
    for path in readable:
        _allow(rules, path, _READ_FILE | (_READ_DIR | _EXECUTE if os.path.isdir(path) else 0))
    for device in ("/dev/null", "/dev/zero"):
        _allow(rules, device, _READ_FILE | _WRITE_FILE)
    return rules


def _allow(rules: int, path: str, rights: int) -> None:
    where = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, where)
        kernel.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(where)


def _unused_user() -> int:
    """The user that sessions become, where we are root; 0 where they stay who we are."""
    if os.geteuid() != 0:
        return 0
    if not _held_capabilities() >= {kernel.CAP_SETUID, kernel.CAP_SETGID}:
        # Staying root is no way out: no limit on processes binds it, and every file of root's would be the session's.
        raise OSError(0, "root may not become another user here: run as an unprivileged user")
    first, _, count = map(int, Path("/proc/self/uid_map").read_text().splitlines()[-1].split())
    last = first + count - 1
    return _UNUSED_USERS + os.getpid() if last >= _UNUSED_USERS else max(last - os.getpid() % 4096, 1)


def _needed_to_read(paths: Sequence[str]) -> int:
    """The capability (as a mask) that sessions keep where root's own folders hold the Python that they run.

    It lets them past the modes of files; Landlock's rules still bound what they can open, and that they cannot write.
    """
    if _others_reach(paths):
        return 0
    for capability in (kernel.CAP_DAC_READ_SEARCH, kernel.CAP_DAC_OVERRIDE):
        if capability in _held_capabilities():
            return 1 << capability
    raise OSError(0, f"{sys.prefix} lies in a folder that only root may enter: install Python where others can read it")


def _held_capabilities() -> set[int]:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    mask = int(line.split()[1], 16)
    return {number for number in range(kernel.LAST_CAPABILITY + 1) if mask >> number & 1}


def _others_reach(paths: Sequence[str]) -> bool:
    """Whether any user can enter these directories."""
    return all(
        os.stat(place).st_mode & 0o005 == 0o005 for path in paths for place in (path, *map(str, Path(path).parents))
    )


def _threads_of(user: int) -> int:
    """The kernel counts the threads of a user over all its processes: the limit has to leave room for those."""
    count = _SPARE_THREADS
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == user:
                    count += len(os.listdir(f"{entry.path}/task"))
            except OSError:  # gone meanwhile, or not ours to look into
                continue
    return count
