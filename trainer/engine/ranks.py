"""Which process of several this is. `accelerate launch` starts one for each accelerator and says so in the environment.

The first process (rank 0) holds the directory: it alone writes files, beats, saves and publishes. The others compute.
What differs between them (a request to stop, a clock) is decided by the first and told to the others.
"""

import os
from typing import TypeVar

Told = TypeVar("Told")


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def first() -> bool:
    return rank() == 0


def told_by_first(value: Told) -> Told:
    """The first process's value, on every process; each must call it at the same place."""
    if processes() == 1:
        return value
    from accelerate.utils import broadcast_object_list

    found: Told = broadcast_object_list([value])[0]
    return found
