"""What a hostile grader would try, as graders: each returns 1.0 where the sandbox held, and where it got out, 0.0.

They run as any user's source does. `item` is the bait that the host has laid (selfcheck.py): addresses of sockets that
listen, a secret file, the host's process. They use ctypes, because whoever wants out does. None of them does harm where
it does get out: calls have arguments that make them fail after the question whether they are allowed, modes are set
to what they are, signals have number 0, and what was made is removed.
"""

from dataclasses import dataclass, field

from tasks.sandbox.protocol import Limits

_PRELUDE = '''
import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
X86 = os.uname().machine == "x86_64"

def call(x86_64, aarch64, *arguments):
    """Whether the system call was carried out."""
    number = x86_64 if X86 else aarch64
    if number is None:
        return False
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return libc.syscall(ctypes.c_long(number), *passed) >= 0

def allowed(x86_64, aarch64, *arguments):
    """Whether the kernel went on to look at the arguments."""
    done = call(x86_64, aarch64, *arguments)
    return done or ctypes.get_errno() not in (errno.EPERM, errno.EACCES, errno.ENOSYS)

def works(function, *arguments, **named):
    try:
        function(*arguments, **named)
    except (OSError, MemoryError, ValueError):
        return False
    return True
'''


@dataclass(frozen=True, slots=True)
class Probe:
    name: str
    aim: str  # what it tries
    source: str
    limits: Limits = field(default_factory=Limits)


_SMALL = Limits(seconds=10, memory_bytes=512 << 20, disk_bytes=1 << 20, files=32, threads=8)

_SOURCES = {
    "network": (
        "reach a port of this machine, or make any socket at all",
        """
def grade(sample, item):
    families = [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET, socket.AF_VSOCK]
    kinds = [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW]
    made = any(works(socket.socket, family, kind) for family in families for kind in kinds)
    reached = works(socket.create_connection, ("127.0.0.1", item["port"]), 1)
    named = works(socket.getaddrinfo, "example.com", 80)
    raw = call(41, 198, socket.AF_INET, socket.SOCK_STREAM, 0)
    return float(not (made or reached or named or raw))
""",
    ),
    "unix_sockets": (
        "reach a Unix socket, by path or by abstract name, as a stream or as a datagram",
        """
def reaches(kind, address):
    try:
        with socket.socket(socket.AF_UNIX, kind) as s:
            s.connect(address)
        return True
    except OSError:
        return False

def sends(address):
    try:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        one.sendto(b"out", address)
        return True
    except OSError:
        return False

def grade(sample, item):
    addresses = [*item["unix"], *("\\0" + name for name in item["abstract"])]
    out = any(reaches(kind, a) for a in addresses for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
    return float(not (out or any(sends(a) for a in addresses)))
""",
    ),
    "files": (
        "read a file of this machine or of the application",
        """
def grade(sample, item):
    others = ["/etc/passwd", "/etc/shadow", "/etc/hostname", "/var/log", "/root/.ssh", "/home", "/run", "/sys", "/boot"]
    tried = [*item["secrets"], *others]
    return float(not any(works(os.listdir if os.path.isdir(p) else open, p) for p in tried))
""",
    ),
    "secrets_of_processes": (
        "read the environment, memory or command line of any process",
        """
def grade(sample, item):
    allowed = {"HOME", "LANG", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PATH", "TMPDIR"}
    processes = ["self", "1", str(os.getppid()), str(item["host"])]
    names = ("environ", "mem", "maps", "cmdline", "status", "root/")
    paths = ["/proc/%s/%s" % (process, name) for process in processes for name in names]
    for path in ["/proc", "/proc/self/fd", "/proc/mounts", *paths]:
        if works(os.listdir if os.path.isdir(path) else open, path):
            return 0.0
    return float(set(os.environ) <= allowed)
""",
    ),
    "writes": (
        "write, rename, link or change modes anywhere but in its own scratch folder",
        """
def undone(made, name):
    undo = {os.mkdir: os.rmdir}.get(made, os.unlink)
    undo(name)
    return True

def touch(name):
    open(name, "x").close()

def grade(sample, item):
    folders = ["/", "/usr", "/usr/lib", "/dev", "/dev/shm", "/var/tmp", "/run", sys.prefix, *item["folders"]]
    folders += [path for path in sys.path if os.path.isdir(path)]
    for folder in folders:
        name = os.path.join(folder, "sandbox-probe-%d" % item["host"])
        for make in (os.mkdir, touch, lambda n: os.symlink("x", n)):
            if works(make, name) and undone(make, name):
                return 0.0
        if works(lambda: os.chmod(folder, os.stat(folder).st_mode & 0o7777)):
            return 0.0
    for path in (item["secrets"][0], os.__file__):
        if works(open, path, "r+") or works(os.utime, path) or works(lambda: os.truncate(path, os.stat(path).st_size)):
            return 0.0
        if works(lambda: os.chmod(path, os.stat(path).st_mode & 0o7777)) or works(os.rename, path, path):
            return 0.0
    return 1.0
""",
    ),
    "disk": (
        "fill the disk: more bytes or more files than the limits allow",
        """
def grade(sample, item):
    written = files = 0
    try:
        with open(os.environ["TMPDIR"] + "/big", "wb", buffering=0) as big:
            for _ in range(64):
                written += big.write(bytes(1 << 16))
    except OSError:
        pass
    try:
        for number in range(64):
            os.mkdir(os.environ["TMPDIR"] + "/%d" % number)
            files += 1
    except OSError:
        pass
    in_memory = call(319, 279, ctypes.c_char_p(b"unbounded"), 0)
    return float(written <= 1 << 20 and files <= 32 and not in_memory)
""",
    ),
    "processes": (
        "start another process, by any system call",
        """
def grade(sample, item):
    try:
        if os.fork() == 0:
            os._exit(0)
        return 0.0
    except OSError:
        pass
    SIGCHLD, CLONE_VFORK, CLONE_NEWUSER = 17, 0x4000, 0x10000000
    for flags in (SIGCHLD, SIGCHLD | CLONE_NEWUSER):
        if call(56, 220, flags, 0, 0, 0, 0) or call(435, 435, (ctypes.c_uint64 * 8)(flags), 64):
            return 0.0
    return float(not (call(57, None) or works(os.posix_spawn, "/usr/bin/true", ["true"], {})))
""",
    ),
    "programs": (
        "become another program, a setuid one included",
        """
def grade(sample, item):
    for path in ("/usr/bin/su", "/usr/bin/mount", "/bin/sh", sys.executable):
        if works(os.execv, path, [path, "--version"]):
            return 0.0
    return float(not (allowed(59, 221, 0, 0, 0) or allowed(322, 281, -1, 0, 0, 0, 0)))
""",
    ),
    "threads": (
        "start threads without end",
        """
import threading
def grade(sample, item):
    threading.stack_size(1 << 16)
    stop = threading.Event()
    count = 0
    try:
        while count < 2000:
            threading.Thread(target=stop.wait, daemon=True).start()
            count += 1
    except RuntimeError:
        pass
    finally:
        stop.set()
    return float(count < 2000)
""",
    ),
    "memory": (
        "take more memory than the limit, private or shared",
        """
import mmap
def grade(sample, item):
    return float(not (works(bytearray, 600 << 20) or works(mmap.mmap, -1, 600 << 20)))
""",
    ),
    "signals": (
        "signal or kill any other process",
        """
import fcntl
def grade(sample, item):
    information = ctypes.create_string_buffer(128)
    for other in {item["host"], os.getppid(), -1, 0, item["worker"], 2} - {os.getpid()}:
        if works(os.kill, other, 0) or call(200, 130, other, 0) or call(129, 138, other, 0, information):
            return 0.0
        if call(434, 434, other, 0) or works(fcntl.fcntl, 3, fcntl.F_SETOWN, other):
            return 0.0
    return 1.0
""",
    ),
    "tracing": (
        "trace or read the memory of the supervisor or of the host",
        """
def grade(sample, item):
    PTRACE_TRACEME, PTRACE_SEIZE = 0, 0x4206  # which does not stop it, as PTRACE_ATTACH does
    room = ctypes.create_string_buffer(64)
    vector = (ctypes.c_uint64 * 2)(ctypes.addressof(room), 8)
    for other in (os.getppid(), 1, item["host"], item["worker"]):
        if call(101, 117, PTRACE_SEIZE, other, 0, 0):
            return 0.0
        if call(310, 270, other, vector, 1, vector, 1, 0) or call(312, 272, other, other, 0, 0, 0):
            return 0.0
    return float(not (allowed(101, 117, PTRACE_SEIZE, -1, 0, 0) or call(101, 117, PTRACE_TRACEME, 0, 0, 0)))
""",
    ),
    "kernel": (
        "mount, change namespaces or root, load or trace in the kernel",
        """
DOORS = {
    "mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51),
    "pivot_root": (155, 41), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "mount_setattr": (442, 442), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "reboot": (169, 142), "sethostname": (170, 161), "setdomainname": (171, 162),
    "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "memfd_secret": (447, 447), "inotify_add_watch": (254, 27), "fanotify_init": (300, 262), "syslog": (103, 116),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "clock_adjtime": (305, 266), "seccomp": (317, 277), "swapon": (167, 224),
    "acct": (163, 89), "quotactl": (179, 60), "mknodat": (259, 33), "ptrace": (101, 117), "kcmp": (312, 272),
    "landlock_create_ruleset": (444, 444), "process_madvise": (440, 440), "migrate_pages": (256, 238),
    "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept4": (288, 242), "sendmsg": (46, 211),
    "sendmmsg": (307, 269), "recvmsg": (47, 212), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "clone3": (435, 435),
}

def grade(sample, item):
    open_doors = [name for name, numbers in DOORS.items() if allowed(*numbers, -1, -1, -1, -1, -1, -1)]
    if open_doors:
        raise AssertionError(" ".join(open_doors))
    return 1.0
""",
    ),
    "rights": (
        "be root, hold a capability, or take one back",
        """
def grade(sample, item):
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    told = call(125, 90, header, sets)
    held = any(sets[i] & ~item["kept"] for i in (0, 1)) if told else False
    back = any(works(f, 0) for f in (os.setuid, os.setgid)) or works(os.setgroups, [0]) or works(os.setresuid, 0, 0, 0)
    all_of_them = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    return float(not (os.getuid() == 0 or os.geteuid() == 0 or held or back or call(126, 91, header, all_of_them)))
""",
    ),
    "limits": (
        "raise its limits, become dumpable or leave a core file",
        """
import resource
def grade(sample, item):
    PR_SET_DUMPABLE, PR_GET_DUMPABLE, PR_SET_PDEATHSIG, PR_SET_SECCOMP = 4, 3, 1, 22
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0) or libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        return 0.0
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NPROC):
        if works(resource.setrlimit, kind, (1 << 40, 1 << 40)) or works(resource.prlimit, item["host"], kind):
            return 0.0
    options = [(PR_SET_DUMPABLE, 1), (PR_SET_PDEATHSIG, 0), (PR_SET_SECCOMP, 0), (0x59616D61, -1)]
    return float(not any(libc.prctl(option, value, 0, 0, 0) == 0 for option, value in options))
""",
    ),
    "descriptors": (
        "find a descriptor that it was not given",
        """
def grade(sample, item):
    return float(not any(works(os.fstat, number) for number in range(4, 1024)))
""",
    ),
    "devices": (
        "open a device other than null, zero and urandom",
        """
def grade(sample, item):
    names = "mem kmem kmsg port tty console ptmx full fuse kvm net/tun sda vda nvme0n1 dri nvidia0 mqueue random"
    paths = ["/dev/" + name for name in [*names.split(), *item["devices"]]]
    return float(not any(works(os.listdir if os.path.isdir(p) else open, p) for p in paths))
""",
    ),
}

PROBES = tuple(Probe(name, aim, _PRELUDE + source, _SMALL) for name, (aim, source) in _SOURCES.items())

BENIGN = """
import json, threading
def grade(sample, item):
    said = []
    thread = threading.Thread(target=lambda: said.append(json.loads(sample["output_text"])["a"]))
    thread.start()
    thread.join()
    return said[0] / item["b"]
"""
BENIGN_CALL = {"sample": {"output_text": '{"a": 1}'}, "item": {"b": 4}}
BENIGN_SCORE = 0.25

DEAF = """
import signal
def grade(sample, item):
    for number in range(1, 64):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True:
        pass
"""

FORGER = """
import os
def grade(sample, item):
    frame = b'{"ok":1.0}'
    for number in range(3, 16):
        try:
            os.write(number, len(frame).to_bytes(4, "big") + bytes(16) + frame)
        except OSError:
            pass
    return 0.0
"""
