"""What one model server takes on. Each field is a flag and an environment variable of `python -m trainer.server`."""

from dataclasses import dataclass, field

import psutil


def half_of_memory() -> int:
    """The rest is for caches of keys and values, the platform and the engine."""
    return int(psutil.virtual_memory().total // 2)


@dataclass(frozen=True)
class Limits:
    max_models: int = 3  # models in memory at once
    max_memory: int = field(default_factory=half_of_memory)  # bytes of weights in memory at once
    max_body: int = 1 << 20  # bytes of a request
    max_tokens: int = 2048  # tokens of one answer
    max_choices: int = 16  # answers to one request (n)
    max_queue: int = 256  # answers asked for and not yet given; beyond it 429
    max_cached_tokens: int = 1 << 17  # of one model's keys and values, reserved as an answer begins; see README
    max_seconds: float = 120.0  # for a request, loading included; beyond it 504
