import pytest

from trainer.contract import Demonstration
from trainer.engine import rows
from trainer.engine.faults import Fault


def test_a_broken_line_is_named_by_its_number(tmp_path):
    path = tmp_path / "demonstrations.jsonl"
    path.write_text('{"messages":[],"completion":"4"}\n{"messages":[]}\n')

    with pytest.raises(Fault, match=r"Line 2 of demonstrations.jsonl .*completion"):
        rows.read(path, Demonstration)


def test_a_missing_file_is_a_fault_of_the_data(tmp_path):
    with pytest.raises(Fault) as caught:
        rows.read(tmp_path / "train.jsonl", Demonstration)

    assert caught.value.record.boundary == "data"


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "train.jsonl").touch()

    with pytest.raises(Fault, match="no rows"):
        rows.read(tmp_path / "train.jsonl", Demonstration)
