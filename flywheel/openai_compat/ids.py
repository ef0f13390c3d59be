"""Opaque ids of this surface: a prefix and eleven characters for the integer key of a row. Nothing is stored for them.

They are no secret, only no counter: an id says neither how many rows there are nor which came next to it.
"""

import string
import zlib

_ALPHABET = string.digits + string.ascii_letters
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_LENGTH = 11  # 62 ** 11 > 2 ** 64
_SPACE = 1 << 64
_FACTOR = 0x9E3779B97F4A7C15  # odd, so that multiplication by it can be undone modulo 2 ** 64
_INVERSE = pow(_FACTOR, -1, _SPACE)
_LARGEST = (1 << 63) - 1  # what a key of a row can be

FILE, UPLOAD, PART = "file-", "upload_", "part_"
JOB, EVENT, CHECKPOINT, PERMISSION = "ftjob-", "ftevent-", "ftckpt_", "cp_"
EVAL, EVAL_RUN, OUTPUT_ITEM = "eval_", "evalrun_", "outputitem_"
MODEL = ""  # the last part of a fine-tuned model's name


def encode(prefix: str, key: int) -> str:
    number = (key ^ _mask(prefix)) * _FACTOR % _SPACE
    letters = []
    for _ in range(_LENGTH):
        number, value = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[value])
    return prefix + "".join(letters)


def decode(prefix: str, given: str) -> int | None:
    """The key, or None for what is no id of this kind."""
    letters = given[len(prefix) :]
    if not given.startswith(prefix) or len(letters) != _LENGTH or not set(letters) <= _VALUES.keys():
        return None
    number = 0
    for letter in reversed(letters):
        number = number * len(_ALPHABET) + _VALUES[letter]
    key = (number * _INVERSE % _SPACE) ^ _mask(prefix)
    return key if number < _SPACE and 0 < key <= _LARGEST else None


def _mask(prefix: str) -> int:
    """So that a job and a file of the same key do not end alike."""
    return zlib.crc32(prefix.encode())
