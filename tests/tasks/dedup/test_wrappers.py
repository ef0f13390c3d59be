import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.dedup import wrappers
from tasks.dedup.wrappers import (
    APPROVED,
    Lines,
    Wrapper,
    Wrappers,
    first_piece,
    last_piece,
    last_sign,
    propose,
    strip,
    wrapper,
)
from tasks.text import normalise

QUESTION = "how many apples are left"
NAMES = [
    f"{first}{last}" for first in ("an", "ber", "car", "do", "el", "fre") for last in ("na", "lo", "mi", "ri", "da")
]


def folded(text):
    return "\n\n".join(normalise(part).rstrip(" .,:;!?。！？…") for part in text.split("\n\n"))


def stripped(text):
    return strip(folded(text), APPROVED)


@pytest.mark.parametrize(
    "text",
    [
        "How many apples are left? Let's think step by step.",
        "How many apples are left?\nLet’s think step by step and output the final answer within \\boxed{}.",
        "How many apples are left? Please reason step by step, and put your final answer within $\\boxed{}$.",
        "Solve the following math problem. How many apples are left?",
        "Answer the following question:\n\nHow many apples are left?",
        "Question: How many apples are left?\nAnswer:",
        "Q: How many apples are left?\nA:",
        "You are a helpful assistant.\n\nHow many apples are left?",
        "### Instruction:\nHow many apples are left?\n\n### Response:",
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nHow many apples are left?\n\n### Response:",
        "How many apples are left? 请一步步思考。",
    ],
)
def test_a_wrapped_question_is_the_question(text):
    assert stripped(text)[0] == QUESTION


def test_several_layers_are_taken_off_and_named_from_the_outside_in():
    text = (
        r"Solve the following math problem. Question: How many apples are left? Put your final answer within \boxed{}."
    )

    assert stripped(text) == (QUESTION, ("solve_math_problem", "question", "boxed"))


@pytest.mark.parametrize("entry", wrappers.BUILT_IN, ids=lambda entry: entry.name)
def test_every_built_in_wrapper_is_found_by_its_own_name(entry):
    assert strip(f"{entry.start} {QUESTION}? {entry.end}".strip(), APPROVED) == (QUESTION, (entry.name,))


def test_the_built_in_names_are_unique():
    assert len({entry.name for entry in wrappers.BUILT_IN}) == len(wrappers.BUILT_IN)


@pytest.mark.parametrize(
    "text",
    [
        "How many apples, let's think step by step, are left?",
        "Questionable: how many apples are left?",
        "Rethink step by step",
        "Question: which vitamin is a",
        "Let's think step by step.",
        "Question: Answer:",
        "",
        "A",
    ],
)
def test_the_middle_longer_words_and_texts_of_nothing_else_are_left_alone(text):
    kept, names = stripped(text)

    assert kept == folded(text) or names == ("question",)


def test_of_two_wrappers_the_longer_one_goes():
    approved = Wrappers([wrapper("short", end="think hard"), wrapper("long", end="please think hard")])

    assert strip("why? please think hard", approved) == ("why", ("long",))


@given(st.text(max_size=80))
def test_stripping_never_empties_and_never_invents(text):
    kept, names = strip(text, APPROVED)

    assert kept in text
    assert bool(kept) == bool(text)
    assert (kept == text) or names


def test_a_wrapper_of_one_character_is_refused():
    with pytest.raises(ValueError, match="too short"):
        Wrappers([Wrapper("a", start="a")])


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("read this. what is it? be brief", "read this.", "be brief"),
        ("question: what is it", "question:", "what is it"),
        ("one sentence only", "", ""),
        (normalise("请阅读。这是什么？请简短"), "请阅读.", "请简短"),
        ('what is it? end with "result: n"', "what is it?", 'end with "result: n"'),
        ("x" * 300 + ". what is it? " + "y" * 300, "", ""),
        ("system\n\nuser", "system", "user"),
        ("", "", ""),
    ],
)
def test_the_first_and_the_last_sentence(text, first, last):
    assert (first_piece(text), last_piece(text)) == (first, last)


def counted(*texts):
    lines = Lines()
    for line, text in enumerate(texts, 1):
        bare = folded(text)
        lines.add(bare, line, last_sign(text, bare, bare))
    return lines


def offered(pattern):
    """What is proposed of thirty rows, with nothing approved; the pattern holds a {} for what tells them apart."""
    rows = counted(*(pattern.format(f"{name} has {at} coins") for at, name in enumerate(NAMES)))
    return [(proposal.place, proposal.text) for proposal in propose(rows, Wrappers([]))]


def test_what_twenty_rows_begin_with_is_proposed_with_a_row_that_has_it():
    lines = counted("nothing here", *(f"be a pirate. what is x{at}" for at in range(20)))

    [proposal] = propose(lines, APPROVED)

    assert (proposal.place, proposal.text, proposal.count, proposal.line) == ("start", "be a pirate.", 20, 2)
    assert proposal.share == 20 / 21


def test_what_rows_end_with_is_proposed_too():
    lines = counted(*(f"what is x{at}? talk like a pirate" for at in range(20)))

    assert [(proposal.place, proposal.text) for proposal in propose(lines, APPROVED)] == [("end", "talk like a pirate")]


def test_nineteen_rows_are_too_few():
    assert propose(counted(*(f"be a pirate. what is x{at}" for at in range(19))), APPROVED) == []


def test_a_share_of_one_in_a_thousand_is_too_small():
    lines = counted(*(f"be a pirate. what is x{at}" for at in range(20)), *("nothing",) * 19_980)

    assert propose(lines, APPROVED) == []


@pytest.mark.parametrize(("text", "proposed"), [("mr. smith has x", 0), ("q: what is x", 1)])
def test_an_abbreviation_is_not_proposed_but_a_label_is(text, proposed):
    assert len(propose(counted(*(text + str(at) for at in range(20))), Wrappers([]))) == proposed


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("Let's think step by step. {}.", [("start", "let's think step by step.")]),
        ("{}. How many? Let's think step by step.", [("end", "let's think step by step")]),
        ("{}. How many? Answer:", [("end", "answer")]),
        ("Task: {}. Your solution:", [("end", "your solution"), ("start", "task:")]),
        ("Answer with (a) or (b) only. {}.", []),
        ("Use the rules in (a) below. {}.", [("start", "use the rules in (a) below.")]),
        ("{}. 有多少？请一步步思考。", [("end", "请一步步思考")]),
        ("{}. How? Think - step by step, please - and say.", [("end", "think - step by step, please - and say")]),
    ],
)
def test_instructions_and_labels_are_proposed(pattern, expected):
    assert offered(pattern) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        "What does this code print? {}.",
        "{}. How many coins are there in all?",
        "{}. 一共有多少？",
        "{}. How many?\nOptions:\n(A) yes\n(B) no",
        "{}. How many?\nOptions:\n- Yes\n- No",
        "{}. How many? (c) a dozen",
        "Sums. {}.",
        "{}. Sums.",
        "-----. {}.",
        "12345: {}.",
    ],
)
def test_what_belongs_to_the_question_is_not(pattern):
    assert offered(pattern) == []


def test_a_question_in_front_of_an_approved_wrapper_is_still_one():
    lines = Lines()
    for line, name in enumerate(NAMES):
        content = f"{name} came. Who came first? Let's think step by step."
        text = folded(content)
        bare, _ = strip(text, APPROVED)
        lines.add(bare, line, last_sign(content, text, bare))

    assert propose(lines, APPROVED) == []


def test_a_sign_counts_where_most_rows_have_it():
    rows = [f"{name} came. Say who came first{'?' if at % 3 else '.'}" for at, name in enumerate(NAMES)]

    assert propose(counted(*rows), APPROVED) == []


def test_what_is_approved_is_not_proposed_again():
    lines = counted(*(f"be a pirate. what is x{at}" for at in range(20)))

    assert propose(lines, Wrappers([wrapper("pirate", start="Be a pirate.")])) == []


def test_memory_is_bounded_and_what_is_common_survives(monkeypatch):
    monkeypatch.setattr(wrappers, "CAPACITY", 100)
    lines = counted(*(f"{'be a pirate' if at % 10 == 0 else at}. then {at}" for at in range(3_000)))

    assert len(lines.tallies) <= 100
    assert lines.lost <= 2 * lines.rows / 100
    assert 300 - lines.lost <= lines.tallies["start be a pirate."].count <= 300


def test_lines_of_several_parts_add_up_and_travel_as_json():
    parts = [counted(*(f"be a pirate. what is x{at}" for at in range(first, first + 10))) for first in (0, 10)]
    whole = Lines()
    for part in parts:
        whole.merge(msgspec.json.decode(msgspec.json.encode(part), type=Lines))

    assert (whole.rows, propose(whole, APPROVED)[0].count) == (20, 20)
