"""What a launcher's callers read from a run directory."""

import time
from pathlib import Path

import msgspec
import pytest

from trainer import contract
from trainer.launchers import protocol


def test_only_whole_lines_are_read_from_a_growing_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a":1}\n{"a":2}\n{"a"')

    lines, offset = protocol.tail(path, 0)

    assert (lines, offset) == ([b'{"a":1}', b'{"a":2}'], 16)


def test_a_torn_last_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a":1}\n{"a"')
    _, offset = protocol.tail(path, 0)
    path.write_bytes(b'{"a":1}\n{"a":2}\n')

    lines, _ = protocol.tail(path, offset)

    assert lines == [b'{"a":2}']


def test_a_file_that_is_not_there_yet_has_no_lines(tmp_path: Path) -> None:
    assert protocol.tail(tmp_path / "metrics.jsonl", 0) == ([], 0)


def test_a_file_written_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"new\n")

    assert protocol.tail(path, 900) == ([b"new"], 4)


def test_a_line_longer_than_one_read_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "TAIL_BYTES", 4)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"0123456789\nnext\n")

    assert protocol.tail(path, 0) == ([b"0123456789"], 11)


def test_a_line_torn_by_a_killed_engine_is_passed_over(tmp_path: Path) -> None:
    good = contract.encode(contract.StepMetrics(step=2, total_steps=3, at=0.0))
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step":2,"total' + good + b"\n" + good + b"\n")

    metrics, _ = protocol.metrics_after(tmp_path, 0)

    assert [line.step for line in metrics] == [2]


def test_a_request_to_the_engine_is_replaced_by_a_later_one(tmp_path: Path) -> None:
    protocol.ask(tmp_path, "pause")
    protocol.ask(tmp_path, "cancel")

    control = msgspec.json.decode((tmp_path / "control.json").read_bytes(), type=contract.Control)
    assert control.action == "cancel"


def test_asking_leaves_no_temporary_file(tmp_path: Path) -> None:
    protocol.ask(tmp_path, "pause")

    assert [path.name for path in tmp_path.iterdir()] == ["control.json"]


def test_a_heartbeat_of_an_earlier_attempt_is_not_news(tmp_path: Path) -> None:
    beat = contract.Heartbeat(1, 10, time.time(), "training", 3, 9, 0)
    (tmp_path / "heartbeat.json").write_bytes(contract.encode(beat))

    assert protocol.read_heartbeat(tmp_path, 2) is None


def test_a_result_of_an_earlier_attempt_is_not_this_ones(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(contract.encode(contract.Result(status="paused", attempt=1)))

    assert protocol.read_result(tmp_path, 2) is None


def test_a_half_written_result_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(b'{"status":"succ')

    assert protocol.read_result(tmp_path, 1) is None
