"""The split of a prompt: 10 % sealed, 10 % validation, 80 % train, by a salted hash, decided once and then stored."""

import hashlib

from tasks.states import Split

SEALED_PERCENT = 10
VALIDATION_PERCENT = 10


def split_of(exact_key: str, salt: str) -> Split:
    """The salt is the space team's and stays in the database: nobody can tell from a prompt where it will land."""
    draw = int.from_bytes(hashlib.sha256(f"{salt}:{exact_key}".encode()).digest()[:8]) % 100
    if draw < SEALED_PERCENT:
        return Split.SEALED
    return Split.VALIDATION if draw < SEALED_PERCENT + VALIDATION_PERCENT else Split.TRAIN
