import platform
import re
from pathlib import Path

import pytest

from tasks.sandbox import seccomp

ALLOW, PERMISSION, MISSING, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
X86_64 = 0xC000003E
PID = 4711


def judged(program: list[seccomp.Instruction], number: int, *arguments: int, architecture: int = X86_64) -> int:
    """Runs the filter as the kernel does."""
    words = [number, architecture, 0, 0]
    for argument in (*arguments, *[0] * (6 - len(arguments))):
        words += [argument & 0xFFFFFFFF, argument >> 32 & 0xFFFFFFFF]
    at = accumulator = 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        if code == 0x20:
            accumulator = words[operand // 4]
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x15:
            at += if_true if accumulator == operand else if_false
        elif code == 0x35:
            at += if_true if accumulator >= operand else if_false
        else:
            return operand


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> list[seccomp.Instruction]:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return seccomp.Filter().program(PID)


def test_reading_is_allowed(program):
    assert judged(program, 0) == ALLOW


@pytest.mark.parametrize(
    "number", [41, 42, 49, 50, 43, 288, 46, 47, 57, 58, 59, 322, 101, 165, 272, 308, 310, 321, 425, 319, 250, 160]
)
def test_what_is_not_listed_is_refused(program, number: int):
    assert judged(program, number) == PERMISSION


def test_a_thread_is_allowed(program):
    assert judged(program, 56, 0x3D0F00) == ALLOW


@pytest.mark.parametrize("flags", [17, 0x3D0F00 | 0x10000000, 0x3D0F00 | 1 << 32, 0x3D0F00 & ~0x10000, 0x4111])
def test_a_process_is_not_a_thread(program, flags: int):
    assert judged(program, 56, flags) == PERMISSION


def test_clone3_is_said_not_to_be_there(program):
    assert judged(program, 435) == MISSING


def test_a_call_newer_than_the_tables_is_said_not_to_be_there(program):
    assert judged(program, 463) == MISSING


def test_the_x32_entry_is_refused(program):
    assert judged(program, 0x40000000 | 0) == MISSING


def test_the_32_bit_entry_ends_the_process(program):
    assert judged(program, 3, architecture=0x40000003) == KILL


def test_a_session_may_signal_itself(program):
    assert judged(program, 62, PID, 15) == ALLOW


@pytest.mark.parametrize("pid", [0, 1, PID + 1, -1 & 0xFFFFFFFF, -PID & 0xFFFFFFFF])
def test_a_session_may_signal_nobody_else(program, pid: int):
    assert judged(program, 62, pid, 0) == PERMISSION


def test_a_stream_pair_is_allowed(program):
    assert judged(program, 53, 1, 1 | 0o2000000, 0) == ALLOW


@pytest.mark.parametrize(("family", "kind"), [(1, 2), (1, 5), (2, 1), (16, 3)])
def test_any_other_pair_is_refused(program, family: int, kind: int):
    assert judged(program, 53, family, kind) == PERMISSION


@pytest.mark.parametrize("address", [0x1000, 1 << 32])
def test_bytes_cannot_be_sent_to_an_address(program, address: int):
    assert judged(program, 44, 3, 0x1000, 1, 0, address, 16) == PERMISSION


def test_limits_can_be_read(program):
    assert judged(program, 302, 0, 4, 0, 0x1000) == ALLOW


def test_limits_cannot_be_set(program):
    assert judged(program, 302, 0, 4, 0x1000, 0) == PERMISSION


@pytest.mark.parametrize("option", [1, 4, 8, 22, 24, 0x59616D61])
def test_what_it_is_cannot_be_changed_by_prctl(program, option: int):
    assert judged(program, 157, option, 1) == PERMISSION


@pytest.mark.parametrize("command", [8, 10, 1031, 1033])
def test_nobody_can_be_made_to_receive_signals_by_fcntl(program, command: int):
    assert judged(program, 72, 3, command, 1) == PERMISSION


def test_a_filter_without_changes_to_files_refuses_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")

    program = seccomp.Filter(without=seccomp.CHANGES_FILES).program(PID)

    assert {judged(program, number) for number in (90, 91, 268, 82, 87, 280, 73, 76, 77)} == {PERMISSION}


@pytest.mark.parametrize("number", [2, 257])
@pytest.mark.parametrize(
    ("flags", "answer"),
    [(0, ALLOW), (0o1000, PERMISSION), (0o1003, PERMISSION), (0o1101, ALLOW), (0o1002, ALLOW), (0o2000000, ALLOW)],
)
def test_without_changes_to_files_none_is_opened_to_read_and_truncated(
    monkeypatch: pytest.MonkeyPatch, number: int, flags: int, answer: int
):
    """Which Landlock before version 3 takes for reading; to write, it has to be allowed."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    program = seccomp.Filter(without=seccomp.CHANGES_FILES).program(PID)
    arguments = (0, flags) if number == 2 else (0, 0, flags)

    assert judged(program, number, *arguments) == answer


def test_every_jump_stays_inside_the_program(program):
    assert all(at + max(i[1], i[2]) + 1 < len(program) for at, i in enumerate(program) if i[0] != 6)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_no_number_is_listed_twice(monkeypatch: pytest.MonkeyPatch, machine: str):
    column = ["x86_64", "aarch64"].index(machine)

    numbers = [pair[column] for pair in seccomp._NUMBERS.values() if pair[column] is not None]

    assert len(numbers) == len(set(numbers))


def test_the_numbers_are_those_of_the_kernels_headers():
    header = Path("/usr/include/asm-generic/unistd.h")  # of 64-bit ARM; with the C library's headers only
    text = header.read_text() if header.exists() else "#define __NR_read 63\n"
    told = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", text, re.M)}
    told["newfstatat"] = told.get("fstatat", 79)

    wrong = {name for name, (_, ours) in seccomp._NUMBERS.items() if ours is not None and told.get(name, ours) != ours}

    assert not wrong
