"""What an exception that nobody foresaw means to the person who started the run: a boundary, a code, one sentence.

Memory and disk run out in the libraries below, each of which says so in its own words; none of them shares a type.
"""

import errno

from trainer.contract import EngineFault

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
# torch.save drops the system's error and speaks of its own stream; safetensors quotes the number.
DISK_FULL = (
    "no space left on device",
    "(os error 28)",
    "(os error 27)",
    "(os error 122)",
    "inline_container.cc",
    "iostream error",
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BOUNDARIES = {"loading": "model", "sampling": "sampling", "evaluating": "sampling", "training": "training"}
WRITING = ("training", "saving", "building")  # phases that write checkpoints or models
LESS_MEMORY = {
    "training": "lower prompts_per_step, group_size or max_completion_tokens, or set gradient_checkpointing to on",
    "sampling": "lower max_completion_tokens, validation_prompts or probe_prompts",
    "evaluating": "lower max_completion_tokens or the answers to each item",
    "building": "lower batch_size",
}


def fault_of(bug: Exception, phase: str) -> EngineFault:
    """`phase` is the heartbeat's, in which the exception came."""
    if _is_out_of_memory(bug):
        boundary = BOUNDARIES.get(phase, "engine")
        remedy = LESS_MEMORY.get(phase, "take a smaller model or a larger machine")
        return EngineFault(boundary, "out_of_memory", f"Memory ran out while {phase}: {remedy}.")
    if _is_disk_full(bug):
        kept = "; the last good checkpoint is kept" if phase in ("training", "saving") else ""
        return EngineFault(_file_boundary(phase), "disk_full", f"The disk is full: make room and run again{kept}.")
    boundary = _file_boundary(phase) if isinstance(bug, OSError) else BOUNDARIES.get(phase, "engine")
    return EngineFault(boundary, type(bug).__name__, _sentence(bug))


def _file_boundary(phase: str) -> str:
    return "checkpoint" if phase in WRITING else "data"


def _is_out_of_memory(bug: Exception) -> bool:
    return isinstance(bug, MemoryError) or _says(bug, OUT_OF_MEMORY)


def _is_disk_full(bug: Exception) -> bool:
    return (isinstance(bug, OSError) and bug.errno in FULL) or _says(bug, DISK_FULL)


def _says(bug: Exception, phrases: tuple[str, ...]) -> bool:
    return any(phrase in str(bug).lower() for phrase in phrases)


def _sentence(bug: Exception) -> str:
    first_line = str(bug).strip().splitlines()[0] if str(bug).strip() else "no message"
    return f"{type(bug).__name__}: {first_line[:300]} (engine.log has the trace)."
