"""What an effect may be said to be: names alone, so that the models need no statistics library to start."""

from enum import StrEnum


class Claim(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    NOT_SHOWN = "no difference shown"
    TOO_FEW = "too few rows to tell"
