import errno

import pytest
import torch

from trainer.engine import mishaps


@pytest.mark.parametrize(
    "bug",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
    ],
    ids=["python", "gpu", "processor"],
)
def test_running_out_of_memory_names_the_knobs_to_lower(bug):
    fault = mishaps.fault_of(bug, "training")

    assert (fault.boundary, fault.code) == ("training", "out_of_memory")
    assert "lower prompts_per_step" in fault.sentence


def test_what_the_processor_says_of_no_memory_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)

    assert mishaps.fault_of(caught.value, "loading").code == "out_of_memory"


@pytest.mark.parametrize(
    "bug",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        RuntimeError("basic_ios::clear: iostream error"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["system", "quota", "torch", "torch at the end", "safetensors"],
)
def test_a_full_disk_is_told_at_the_checkpoint(bug):
    fault = mishaps.fault_of(bug, "training")

    assert (fault.boundary, fault.code) == ("checkpoint", "disk_full")
    assert "make room" in fault.sentence


def test_a_file_that_cannot_be_read_before_training_is_the_datas_fault():
    assert mishaps.fault_of(PermissionError("train.jsonl"), "loading").boundary == "data"


@pytest.mark.parametrize(
    ("phase", "boundary"),
    [("loading", "model"), ("training", "training"), ("evaluating", "sampling"), ("done", "engine")],
)
def test_any_other_exception_is_told_by_its_phase(phase, boundary):
    fault = mishaps.fault_of(ValueError("odd\nand more"), phase)

    assert (fault.boundary, fault.code) == (boundary, "ValueError")
    assert fault.sentence == "ValueError: odd (engine.log has the trace)."
