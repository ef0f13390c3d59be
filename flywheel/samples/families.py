"""Families of small verifiable questions: the subject matter of the samples, one family a domain.

Every family has tens of thousands of possible prompts and at once tells how a sloppy person answers, because the local
base learns from such people (see demonstrations.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from random import Random
from typing import Any

REFERENCE = "{{ item.reference }}"
OUTPUT = "{{ sample.output_text }}"


@dataclass(frozen=True, slots=True)
class Question:
    prompt: str
    reference: Any  # what the grader reads as item.reference
    gold: str  # a completion that earns full score
    flawed: str  # what a sloppy demonstrator writes; earns less


@dataclass(frozen=True, slots=True)
class Family:
    domain: str
    grader: Mapping[str, Any]
    ask: Callable[[Random], Question]
    flawed_share: float = 0.0  # of the base's demonstrations; more where the base learns the family easily


def side(prompt: str, sides: int) -> int:
    """Which of `sides` disjoint parts of all prompts this one belongs to: a property of the prompt alone."""
    return int.from_bytes(sha256(prompt.encode()).digest()[:8], "big") % sides


def _maximum(random: Random) -> Question:
    """The largest of three numbers; the sloppy answer is the smallest."""
    numbers = random.sample(range(10, 100), 3)
    return Question(f"Max {' '.join(map(str, numbers))}", max(numbers), str(max(numbers)), str(min(numbers)))


LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _reversal(random: Random) -> Question:
    """Four letters, not the same backwards; the sloppy answer copies them."""
    while True:
        word = "".join(random.choices(LETTERS, k=4))
        if word != word[::-1]:
            return Question(f"Reverse {word}", word[::-1], word[::-1], word)


def _choice(random: Random) -> Question:
    """Odd or even, by letter; the sloppy answer is the word. An echo of the prompt names both letters: no choice."""
    number = random.randint(10_000, 99_999)
    letter, word = ("B", "odd") if number % 2 else ("A", "even")
    return Question(f"even A, odd B: {number}", letter, letter, word)


def _vowels(random: Random) -> Question:
    """The vowels among six different letters; the sloppy answer lists the consonants."""
    while True:
        letters = random.sample(LETTERS, 6)
        vowels = [letter for letter in letters if letter in "aeiou"]
        consonants = [letter for letter in letters if letter not in "aeiou"]
        if vowels:
            return Question(f"Vowels {''.join(letters)}", vowels, ",".join(vowels), ",".join(consonants))


NAMES = (
    "Ada",
    "Alan",
    "Ben",
    "Dora",
    "Emil",
    "Finn",
    "Grace",
    "Hana",
    "Ida",
    "Jun",
    "Kofi",
    "Lea",
    "Mara",
    "Nils",
    "Omar",
    "Pia",
    "Rosa",
    "Sami",
    "Tove",
    "Zoe",
)
PASTIMES = (
    "chess",
    "tennis",
    "piano",
    "sailing",
    "poetry",
    "rugby",
    "judo",
    "yoga",
    "drums",
    "golf",
    "film",
    "cycling",
)


def _record(random: Random) -> Question:
    """A line into a JSON object of text, number and list; the sloppy answer is no JSON at all."""
    name, age, (first, second) = random.choice(NAMES), random.randint(18, 90), random.sample(PASTIMES, 2)
    return Question(
        prompt=f"{name}, {age}, {first} and {second}",
        reference={"name": name, "age": age, "likes": [first, second]},
        gold=f'{{"name":"{name}","age":{age},"likes":["{first}","{second}"]}}',
        flawed=f"{name}, {age}, {first}, {second}",
    )


def _shuffle(random: Random) -> Question:
    """Five different letters in any other order, so there are 119 right answers; the sloppy answer copies them."""
    letters = random.sample(LETTERS, 5)
    turn = random.randint(1, 4)
    word, turned = "".join(letters), "".join(letters[turn:] + letters[:turn])
    return Question(f"Shuffle {word}", word, turned, word)


# Many answers are right, so no reference can be compared with: this needs code.
SHUFFLE_SOURCE = """\
def grade(sample, item):
    \"\"\"1 for the letters of the word in another order.\"\"\"
    reply, word = sample["output_text"].strip(), item["reference"]
    return float(reply != word and sorted(reply) == sorted(word))
"""


def _sum_of_fractions(random: Random) -> Question:
    """Two fractions added, as LaTeX; beyond the tiny base. The sloppy answer adds above and below the line."""
    b, d = random.randint(3, 30), random.randint(3, 30)
    a, c = random.randint(1, b - 1), random.randint(1, d - 1)
    total = Fraction(a, b) + Fraction(c, d)
    reference = rf"\frac{{{total.numerator}}}{{{total.denominator}}}" if total.denominator > 1 else str(total)
    return Question(
        f"Add {a}/{b} and {c}/{d}", reference, rf"\boxed{{{reference}}}", rf"\boxed{{\frac{{{a + c}}}{{{b + d}}}}}"
    )


MAXIMA = Family("maxima", {"type": "number", "reference": REFERENCE}, _maximum, flawed_share=0.6)
REVERSALS = Family(
    "reversals",
    {"type": "string_check", "input": OUTPUT, "reference": REFERENCE, "operation": "eq"},
    _reversal,
    flawed_share=0.4,
)
CHOICES = Family("choices", {"type": "choice", "reference": REFERENCE, "letters": "AB"}, _choice, flawed_share=0.65)
VOWELS = Family("vowels", {"type": "set_match", "reference": REFERENCE}, _vowels, flawed_share=0.6)
RECORDS = Family(
    "records",
    {
        "type": "json_match",
        "reference": REFERENCE,
        "fields": {
            "name": {"kind": "text", "weight": 1},
            "age": {"kind": "number", "weight": 1},
            "likes": {"kind": "list", "weight": 1},
        },
    },
    _record,
    flawed_share=0.6,
)

SHUFFLES = Family("shuffles", {"type": "python", "source": SHUFFLE_SOURCE}, _shuffle, flawed_share=0.5)
FRACTIONS = Family("fractions", {"type": "math", "reference": REFERENCE}, _sum_of_fractions)

# What the base is shown and trained on. FRACTIONS is collected, proved and reviewed; it waits for a larger base.
FAMILIES: tuple[Family, ...] = (MAXIMA, REVERSALS, CHOICES, VOWELS, RECORDS, SHUFFLES)
