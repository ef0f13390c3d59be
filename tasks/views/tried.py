"""The answers that a proof tries, as people know them."""

from tasks.proof import FLATTERY

SAID = {
    "gold": "the right answer",
    "empty": "an empty reply",
    "echo": "the prompt, repeated",
    "other_gold": "another row's right answer",
    "flattery": f"“{FLATTERY}”",
    "every_candidate": "every candidate in a list",
    "over_long": "a wrong answer, over and over",
}
