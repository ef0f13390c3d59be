"""Files of weights, read without the libraries that train."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tasks.errors import Invalid
from trainer import weights


def written(path: Path, **tensors: torch.Tensor) -> Path:
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def test_weights_are_counted_by_the_header(tmp_path: Path):
    assert weights.parameters(written(tmp_path / "a", x=torch.zeros(3, 4), y=torch.zeros(5))) == 17


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_greatest_difference_is_found_in_every_kind_of_number(tmp_path: Path, dtype: torch.dtype):
    one = written(tmp_path / "a", x=torch.zeros(7, dtype=dtype), y=torch.ones(2, dtype=dtype))
    other = written(
        tmp_path / "b", x=torch.tensor([0, 0, -0.25, 0, 0, 0, 0], dtype=dtype), y=torch.ones(2, dtype=dtype)
    )

    assert weights.greatest_difference(one, other) == 0.25


def test_tensors_of_more_numbers_than_are_read_at_once_are_compared_whole(tmp_path: Path, monkeypatch: object):
    monkeypatch.setattr(weights, "AT_ONCE", 10)  # type: ignore[attr-defined]
    changed = torch.zeros(95)
    changed[94] = 2.0

    apart = weights.greatest_difference(written(tmp_path / "a", x=torch.zeros(95)), written(tmp_path / "b", x=changed))

    assert apart == 2.0


def test_the_same_weights_are_not_apart(tmp_path: Path):
    tensor = torch.rand(5)

    assert weights.greatest_difference(written(tmp_path / "a", x=tensor), written(tmp_path / "b", x=tensor)) == 0.0


def test_a_number_that_is_none_is_infinitely_far(tmp_path: Path):
    broken = written(tmp_path / "b", x=torch.tensor([math.nan]))

    assert weights.greatest_difference(written(tmp_path / "a", x=torch.zeros(1)), broken) == math.inf


def test_other_tensors_cannot_be_compared(tmp_path: Path):
    one, other = written(tmp_path / "a", x=torch.zeros(2, 3)), written(tmp_path / "b", x=torch.zeros(3, 2))

    assert weights.greatest_difference(one, other) is None


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 32, (4).to_bytes(8, "little") + b"[1]]"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "a").write_bytes(content)

    with pytest.raises(Invalid, match="no"):
        weights.header(tmp_path / "a")


def test_a_file_that_ends_early_is_refused(tmp_path: Path):
    path = written(tmp_path / "a", x=torch.zeros(100))
    whole = written(tmp_path / "b", x=torch.zeros(100))
    path.write_bytes(path.read_bytes()[:-200])

    with pytest.raises((Invalid, ValueError)):
        weights.greatest_difference(path, whole)
