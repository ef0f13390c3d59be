"""The best level: user, process, network, mount … namespaces of its own, and a root with nothing of this machine in it.

A worker enters its namespaces once and builds the root that all its sessions see; each session adds a process
namespace (whatever it leaves behind ends with it) and a /tmp of its own. A worker started by root maps a second,
unprivileged user and its sessions run as that one, so that they are root neither inside nor outside.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.sandbox import confinement, kernel
from tasks.sandbox.seccomp import Filter

_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32")
_TMP = "/tmp"  # noqa: S108 - a mount of its own
_OLD = f"{_TMP}/.old"
_BESIDE_TMP = "/scratch"  # where Python itself lies in /tmp, which a mount there would hide
_DEVICES = ("null", "zero", "urandom")
_OWN = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWCGROUP
    | kernel.CLONE_NEWPID
)
_READ_ONLY = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
_ROOT_BYTES = 1 << 20
_NOBODY = 65534
_OUTSIDE = 0  # what the first process of a process namespace is told of its parent
_UNUSED_USERS = 2_000_000_000  # outer ids from here on belong to nobody; one per worker, by process id


class Namespaces:
    """One worker's; made in its process while that has a single thread, before it has loaded anything."""

    def __init__(self) -> None:
        self._user = _enter()
        _go_on_inside()
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def settle(self, readable: Sequence[str]) -> None:
        """readable: directories that sessions may read at their own paths, besides the system's."""
        shown = {path: os.path.realpath(path) for path in (*_SYSTEM, *readable) if os.path.exists(path)}
        self._scratch = _BESIDE_TMP if any(path.startswith(f"{_TMP}/") for path in shown) else _TMP
        os.environ.update(HOME=self._scratch, TMPDIR=self._scratch)
        _build_root(shown, self._scratch)
        socket.sethostname("sandbox")
        confinement.drop_bounding_set()
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        self._filter = Filter()

    def fork(self) -> int:
        """As os.fork, but the child is the first process of a new process namespace: all in it end with it."""
        kernel.unshare(kernel.CLONE_NEWPID)  # of the children to come
        session = os.fork()
        if session:
            kernel.setns(self._own_pids, kernel.CLONE_NEWPID)  # or the next one would be its brother
        return session

    def confine(self, limits: Mapping[str, Any]) -> None:
        kernel.unshare(kernel.CLONE_NEWNS)
        room = f"size={limits['disk_bytes']},nr_inodes={limits['files']},mode=0700,uid={self._user},gid={self._user}"
        kernel.mount("tmpfs", self._scratch, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, room)
        os.chdir(self._scratch)
        if os.getuid() != self._user:
            os.setgroups([])
            os.setresgid(self._user, self._user, self._user)
            os.setresuid(self._user, self._user, self._user)
        confinement.limit_resources(limits, processes=limits["threads"] + 1)
        kernel.set_capabilities()
        confinement.close_to_others()
        confinement.end_with(_OUTSIDE)
        self._filter.install(os.getpid())


def _enter() -> int:
    """Unshare, map users; returns the id (inside) that sessions run as."""
    user, group = os.geteuid(), os.getegid()
    if user != 0:
        kernel.unshare(_OWN)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        return user
    outer = _unused_user()
    _map_from_outside(f"0 0 1\n{_NOBODY} {outer} 1", lambda: kernel.unshare(_OWN))
    return _NOBODY


def _go_on_inside() -> None:
    """A process is never itself in the process namespace that it makes: its child goes on as the worker."""
    worker = os.fork()
    if worker:
        _, status = os.waitpid(worker, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)


def _unused_user() -> int:
    """An id that this namespace may map and that nobody else has."""
    first, _, count = map(int, Path("/proc/self/uid_map").read_text().splitlines()[-1].split())
    last = first + count - 1
    return min(_UNUSED_USERS + os.getpid(), last) if last >= _UNUSED_USERS else max(last - os.getpid() % 4096, 1)


def _map_from_outside(ids: str, enter: Any) -> None:
    """Only a process that is still outside may map more than its own id: a child that waits until we are in."""
    entered, tell = os.pipe()
    worker = os.getpid()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(tell)
            if os.read(entered, 1):
                for kind in ("uid_map", "gid_map"):
                    Path(f"/proc/{worker}/{kind}").write_text(ids)
                status = 0
        finally:
            os._exit(status)
    os.close(entered)
    try:
        enter()
        os.write(tell, b"1")
    finally:
        os.close(tell)
        _, status = os.waitpid(child, 0)
    if status:
        raise OSError(0, "the users could not be mapped")


def _build_root(readable: Mapping[str, str], scratch: str) -> None:
    """A new tmpfs becomes the root; what sessions may read is bound into it, then the old root is let go.

    readable: path -> where that really is, with no link on the way; scratch: where each session mounts its own tmpfs
    """
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", _TMP, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, f"size={_ROOT_BYTES},mode=0755")
    os.mkdir(_OLD, 0o700)
    kernel.pivot_root(_TMP, _OLD)
    os.chdir("/")
    for path, real in readable.items():
        _show(path, real)
    os.mkdir("/dev", 0o755)
    for name in _DEVICES:
        Path(f"/dev/{name}").touch(0o666)
        kernel.mount(f"/.old/dev/{name}", f"/dev/{name}", flags=kernel.MS_BIND)
        kernel.set_mount_flags(f"/dev/{name}", kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NOEXEC)  # its times
    os.mkdir(scratch, 0o755)
    kernel.unmount("/.old")
    os.rmdir("/.old")
    kernel.mount("none", "/", flags=kernel.MS_REMOUNT | kernel.MS_BIND | _READ_ONLY)


def _show(path: str, real: str) -> None:
    if path in _SYSTEM and real != path:  # /bin -> usr/bin
        os.symlink(os.readlink(f"/.old{path}"), path)
        return
    if os.path.isdir(path):  # below one that is shown already
        return
    os.makedirs(path, 0o755)
    kernel.mount(f"/.old{real}", path, flags=kernel.MS_BIND | kernel.MS_REC)
    kernel.set_mount_flags(path, _READ_ONLY)
