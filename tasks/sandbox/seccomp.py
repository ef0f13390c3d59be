"""The system calls a session may make: an allow-list, assembled by hand into the kernel's filter language (BPF).

Threads yes, processes no; no sockets but a connected stream pair; nothing that traces, mounts, loads or changes its own
limits. What is not listed answers EPERM; clone3 and calls newer than the tables answer ENOSYS, so that the C library
falls back to what can be judged by its arguments. The 32-bit and x32 entries of x86 are not answered at all.
"""

import ctypes
import errno
import platform
from collections.abc import Mapping, Sequence

from tasks.sandbox import kernel

# name: numbers on x86_64 and aarch64 (None: not there). Unlike the names, the numbers never change.
_NUMBERS: Mapping[str, tuple[int | None, int | None]] = {
    # bytes and descriptors
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "pwrite64": (18, 68),
    "preadv": (295, 69), "pwritev": (296, 70), "close": (3, 57), "close_range": (436, 436), "lseek": (8, 62),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "pipe": (22, None), "pipe2": (293, 59),
    "eventfd": (284, None), "eventfd2": (290, 19), "sendfile": (40, 71), "fadvise64": (221, 223),
    "copy_file_range": (326, 285), "fsync": (74, 82), "fdatasync": (75, 83), "fcntl": (72, 25), "ioctl": (16, 29),
    # waiting
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72), "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "restart_syscall": (219, 128), "sched_yield": (24, 124),
    # memory
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "brk": (12, 214),
    "madvise": (28, 233), "msync": (26, 227), "membarrier": (324, 283),
    # files: reading
    "openat": (257, 56), "open": (2, None), "stat": (4, None), "lstat": (6, None), "fstat": (5, 80),
    "newfstatat": (262, 79), "statx": (332, 291), "access": (21, None), "faccessat": (269, 48),
    "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61),
    "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "statfs": (137, 43), "fstatfs": (138, 44),
    # files: changing
    "creat": (85, None), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None),
    "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None),
    "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "utime": (132, None), "utimes": (235, None), "utimensat": (280, 88), "truncate": (76, 45),
    "ftruncate": (77, 46), "fallocate": (285, 47), "flock": (73, 32), "umask": (95, 166),
    # signals and timers of its own
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132), "kill": (62, 129),
    "tgkill": (234, 131), "alarm": (37, None), "setitimer": (38, 103), "getitimer": (36, 102),
    # threads
    "clone": (56, 220), "clone3": (435, 435), "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293),
    "set_tid_address": (218, 96), "gettid": (186, 178), "exit": (60, 93), "exit_group": (231, 94),
    "sched_getaffinity": (204, 123), "sched_getparam": (143, 121), "sched_getscheduler": (145, 120),
    # asking
    "getpid": (39, 172), "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150),
    "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156), "getrlimit": (97, 163), "getrusage": (98, 165),
    "prlimit64": (302, 261), "prctl": (157, 167), "uname": (63, 160), "sysinfo": (99, 179), "times": (100, 153),
    "time": (201, None), "gettimeofday": (96, 169), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "getrandom": (318, 278), "wait4": (61, 260),
    # a connected pair of its own
    "socketpair": (53, 199), "sendto": (44, 206), "recvfrom": (45, 207), "shutdown": (48, 210),
}  # fmt: skip

# Where files outside /tmp are reachable (Landlock governs neither modes, nor times, nor locks)
CHANGES_FILES = frozenset(
    {"creat", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2",
     "link", "linkat", "symlink", "symlinkat", "chmod", "fchmod", "fchmodat", "utime",
     "utimes", "utimensat", "truncate", "ftruncate", "fallocate", "flock", "copy_file_range"}
)  # fmt: skip

_WORD = 0xFFFFFFFF
_ANY_PID = 0x7FFFFFFF  # stands for the session's process id until that is known
_F_LOCKS = (5, 6, 7)  # F_GETLK, F_SETLK, F_SETLKW
_FCNTL = (0, 1, 2, 3, 4, 1030)  # duplicate, get and set flags; never F_SETOWN or F_SETPIPE_SZ
_IOCTL = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
_PRCTL = (3, 15, 16, 21, 23, 39)  # PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_GET_SECCOMP, PR_CAPBSET_READ, …
_THREAD = (0x3D0F00, 0x7D0F00)  # flags of clone in pthread_create: glibc, musl
_O_TRUNC, _O_ACCMODE = 0o1000, 3
_AF_UNIX, _SOCK_STREAM, _SOCK_FLAGS = 1, 1, 0o2004000

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_NEWEST = 450  # later calls than these tables know answer ENOSYS

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand
Test = tuple[int, int, int]  # 32-bit word of the arguments (2 n: low half of argument n), mask, value


def supported() -> bool:
    return platform.machine() in _ARCHITECTURES


class Filter:
    """Assembled once in a worker. Only the session's own process id differs: the one process it may signal."""

    def __init__(self, *, without: frozenset[str] = frozenset()) -> None:
        column, architecture = _ARCHITECTURES[platform.machine()]
        numbers = {name: pair[column] for name, pair in _NUMBERS.items() if name not in without}
        self._allowed = {name: number for name, number in numbers.items() if number is not None}
        self._architecture = architecture
        self._may_change = "flock" not in without
        program = self.program(_ANY_PID)
        self._packed = (ctypes.c_uint64 * len(program))(*(_packed(instruction) for instruction in program))
        self._pid_at = [place for place, instruction in enumerate(program) if instruction[3] == _ANY_PID]
        self._header = _Program(len(program), ctypes.addressof(self._packed))

    def install(self, pid: int) -> None:
        """For good, on this thread and those it starts. Needs no_new_privs."""
        for place in self._pid_at:
            self._packed[place] = self._packed[place] & _WORD | pid << 32
        kernel.prctl(kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, ctypes.addressof(self._header))

    def program(self, pid: int) -> list[Instruction]:
        narrowed = self._narrowed(pid)
        program: list[Instruction] = [
            (_LOAD, 0, 0, _ARCHITECTURE_AT),
            (_EQUAL, 1, 0, self._architecture),
            (_RETURN, 0, 0, _KILL_PROCESS),
            (_LOAD, 0, 0, _NUMBER_AT),
        ]
        for name, number in self._allowed.items():
            if name == "clone3":
                answer: list[Instruction] = [(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
            elif name in narrowed:
                answer = _any_of(narrowed[name])
            else:
                answer = [(_RETURN, 0, 0, _ALLOW)]
            program += [(_EQUAL, 0, len(answer), number), *answer]
        program += [(_AT_LEAST, 0, 1, _NEWEST), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
        program.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
        return program

    def _narrowed(self, pid: int) -> Mapping[str, Sequence[Sequence[Test]]]:
        """name -> alternatives, each a list of tests that must all hold."""
        commands = (*_FCNTL, *_F_LOCKS) if self._may_change else _FCNTL
        # Landlock before version 3 takes opening to read and to truncate for mere reading.
        opening = {} if self._may_change else {"open": _never_truncating(2), "openat": _never_truncating(4)}
        return opening | {
            "clone": [[(0, _WORD, flags), (1, _WORD, 0)] for flags in _THREAD],
            "kill": [[(0, _WORD, pid)]],
            "tgkill": [[(0, _WORD, pid)]],
            "fcntl": [[(2, _WORD, command)] for command in commands],
            "ioctl": [[(2, _WORD, request)] for request in _IOCTL],
            "prctl": [[(0, _WORD, option)] for option in _PRCTL],
            "prlimit64": [[(0, _WORD, target), (4, _WORD, 0), (5, _WORD, 0)] for target in (0, pid)],  # only to read
            # A datagram pair could send to the address of any Unix socket, and so could sendto with an address.
            "socketpair": [[(0, _WORD, _AF_UNIX), (2, _WORD & ~_SOCK_FLAGS, _SOCK_STREAM)]],
            "sendto": [[(8, _WORD, 0), (9, _WORD, 0)]],
        }


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _never_truncating(flags: int) -> Sequence[Sequence[Test]]:
    """For the word with open's flags: whoever truncates must ask to write as well."""
    return [[(flags, _O_TRUNC, 0)], *([(flags, _O_ACCMODE, mode)] for mode in (1, 2))]


def _any_of(alternatives: Sequence[Sequence[Test]]) -> list[Instruction]:
    block: list[Instruction] = []
    for tests in alternatives:
        rest = 3 * len(tests)
        for word, mask, value in tests:
            rest -= 3
            block += [(_LOAD, 0, 0, _ARGUMENTS_AT + 4 * word), (_AND, 0, 0, mask), (_EQUAL, 0, rest + 1, value)]
        block.append((_RETURN, 0, 0, _ALLOW))
    return [*block, (_RETURN, 0, 0, _ERRNO | errno.EPERM)]


def _packed(instruction: Instruction) -> int:
    """struct sock_filter: u16 code, u8 jump if true, u8 jump if false, u32 operand; little-endian."""
    code, if_true, if_false, operand = instruction
    return code | if_true << 16 | if_false << 24 | operand << 32
