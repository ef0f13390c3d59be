import subprocess
import sys
from pathlib import Path

import pytest

from tasks import proof
from tasks.errors import Invalid
from tasks.graders import ifeval, registry
from tasks.types import Outcome

REPOSITORY = Path(__file__).resolve().parents[3]

# id, arguments, a reply that follows it, one that does not
CASES = [
    ("keywords:existence", {"keywords": ["tea", "C++"]}, "Tea for c++ people", "Tea for people"),
    ("keywords:frequency", {"keyword": "tea", "frequency": 2, "relation": "at least"}, "tea, tea", "tea"),
    ("keywords:frequency", {"keyword": "t.a", "frequency": 1, "relation": "less than"}, "tea", "t.a"),
    ("keywords:forbidden_words", {"forbidden_words": ["tea", "a.c"]}, "Teas and abc", "No tea"),
    ("keywords:letter_frequency", {"letter": "q", "let_frequency": 2, "let_relation": "at least"}, "Qq", "q"),
    ("language:response_language", {"language": "de"}, "Das ist ein deutscher Satz.", "This is an English text."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", "one\n\ntwo"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "two words", "three words now"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"},
        "one\n\nSo, two",
        "so\n\none",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b]", "[a] and [b"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye\nP.S. hello", "Bye"),
    ("detectable_content:postscript", {"postscript_marker": "N.B."}, "Bye\nN.B. hello", "Bye\nNaBa"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2.0}, "* a\n- b", "* a"),
    ("detectable_format:constrained_response", {}, "My answer is yes.", "Yes."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and *b*", "*a* and b"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "PART", "num_sections": 2},
        "PART 1\na\nPART 2\nb",
        "PART 1\na",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "a: 1"),
    ("detectable_format:title", {}, "<<Tea>>\nIt is good.", "<Tea>\nIt is good."),
    ("combination:two_responses", {}, "one\n******\ntwo", "one\n******\none"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Name a drink."}, "Name a drink. Tea.", "Tea."),
    ("startend:end_checker", {"end_phrase": "That is all."}, "Tea. That is all.", "That is all. Tea."),
    ("startend:quotation", {}, '"Tea."', "Tea."),
    ("change_case:english_capital", {}, "THIS IS AN ENGLISH SENTENCE", "THIS is an English sentence"),
    ("change_case:english_lowercase", {}, "this is an english sentence", "This is an English sentence"),
    ("punctuation:no_comma", {}, "tea and coffee", "tea, coffee"),
]


def grade(completion, *instructions, **fields):
    return registry.grade({"type": "ifeval", **fields}, completion, {"instructions": list(instructions)})


@pytest.fixture
def with_a_sentence_model(monkeypatch):
    """Untrained: it knows no abbreviations, and needs no data."""
    from nltk.tokenize import punkt

    ifeval._library()
    model = punkt.PunktSentenceTokenizer()
    monkeypatch.setattr(ifeval, "_without_punkt", lambda: None)
    monkeypatch.setattr("nltk.data.load", lambda name: model)
    monkeypatch.setattr("nltk.tokenize._get_punkt_tokenizer", lambda language: model)
    sys.modules["if_verifiable.ifeval.instructions_util"]._get_sentence_tokenizer.cache_clear()
    yield
    sys.modules["if_verifiable.ifeval.instructions_util"]._get_sentence_tokenizer.cache_clear()


@pytest.fixture
def without_a_sentence_model(monkeypatch):
    monkeypatch.setattr(ifeval, "_without_punkt", lambda: "needs NLTK's sentence model.")


@pytest.mark.parametrize(("name", "arguments", "right", "wrong"), CASES, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("mode", ["strict", "loose"])
def test_each_instruction_tells_a_reply_that_follows_it_from_one_that_does_not(name, arguments, right, wrong, mode):
    instruction = {"id": name, "kwargs": arguments}

    assert grade(right, instruction, mode=mode).correct
    assert grade(wrong, instruction, mode=mode).outcome is Outcome.INCORRECT


@pytest.mark.parametrize(
    ("name", "arguments", "right", "wrong"),
    [
        ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "One. Two.", "One"),
        ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "A BC", "A b"),
    ],
)
def test_the_instructions_about_sentences_work_with_the_sentence_model(
    with_a_sentence_model, name, arguments, right, wrong
):
    assert grade(right, {"id": name, "kwargs": arguments}).correct
    assert grade(wrong, {"id": name, "kwargs": arguments}).outcome is Outcome.INCORRECT


def test_every_instruction_of_the_library_is_tested_here():
    tested = {name for name, *_ in CASES} | ifeval._NEEDS_PUNKT

    assert tested == set(ifeval._library().checkers)


@pytest.mark.parametrize("name", sorted(ifeval._NEEDS_PUNKT))
def test_a_row_with_a_checker_that_lacks_its_data_is_refused_by_name(without_a_sentence_model, name):
    found = grade("One. Two.", {"id": name, "kwargs": {}})

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("checker_unavailable",))
    assert found.reason.startswith(f"{name} needs NLTK's sentence model")


def test_a_configuration_with_a_checker_that_lacks_its_data_is_refused_before_any_row(without_a_sentence_model):
    config = {"type": "ifeval", "instructions": ["length_constraints:number_sentences"]}

    with pytest.raises(Invalid, match="needs NLTK's sentence model"):
        registry.parse(config)


def drawing():
    """The ids whose rule the library draws at random when nothing is said."""
    return sorted({name for name, arguments, *_ in CASES if arguments and name != "combination:repeat_prompt"})


@pytest.mark.parametrize("name", drawing())
def test_an_instruction_without_its_arguments_is_the_authors_fault(name):
    found = grade("tea", {"id": name, "kwargs": {}})

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_reference",))
    assert "would be drawn at random" in found.reason


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("combination:repeat_prompt", {}),
        ("keywords:letter_frequency", {"letter": "!", "let_frequency": 2, "let_relation": "at least"}),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 2, "let_relation": "at least"}),
        ("keywords:letter_frequency", {"letter": "q", "let_frequency": 2, "let_relation": None}),
        ("keywords:letter_frequency", {"letter": "q", "let_frequency": 2, "let_relation": "exactly"}),
        ("keywords:existence", {"keywords": []}),
        ("keywords:existence", {"keywords": "tea"}),
        ("keywords:existence", {"keywords": ["tea", 5]}),
        ("keywords:forbidden_words", {"forbidden_words": ["C++"]}),
        ("keywords:frequency", {"keyword": " ", "frequency": 2, "relation": "at least"}),
        ("length_constraints:number_words", {"num_words": -1, "relation": "at least"}),
        ("length_constraints:number_words", {"num_words": "3", "relation": "at least"}),
        ("length_constraints:number_words", {"num_words": True, "relation": "at least"}),
        ("length_constraints:number_words", {"num_words": 2.5, "relation": "at least"}),
        ("length_constraints:number_words", {"num_words": 1e400, "relation": "at least"}),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "so"},
        ),
        ("language:response_language", {"language": "klingon"}),
        ("punctuation:no_comma", {"num_words": 3}),
        ("punctuation:no_semicolon", {}),
        ("count:numbers", {"N": 3}),
    ],
)
def test_an_instruction_that_cannot_be_checked_is_the_authors_fault(name, arguments):
    item = {"instructions": [{"id": name, "kwargs": arguments}]}
    found = registry.grade({"type": "ifeval"}, "tea", item)

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_reference",))
    assert registry.reference_problem({"type": "ifeval"}, item) == found.reason


@pytest.mark.parametrize(
    "instructions",
    [None, [], {}, 5, "", "punctuation:no_comma", "[", [5], [{"kwargs": {}}], [{"id": "startend:quotation", "x": 1}]],
)
def test_instructions_that_are_no_list_of_them_are_the_authors_fault(instructions):
    found = registry.grade({"type": "ifeval"}, "tea", {"instructions": instructions})

    assert (found.outcome, found.errors) == (Outcome.UNGRADABLE, ("bad_reference",))


def test_the_columns_of_the_ifeval_data_set_are_read():
    config = {"type": "ifeval", "instructions": "{{ item.instruction_id_list }}", "kwargs": "{{ item.kwargs }}"}
    ids = ["punctuation:no_comma", "detectable_format:number_bullet_lists"]
    item = {"instruction_id_list": ids, "kwargs": [{"num_bullets": None}, {"num_bullets": 1, "language": None}]}

    assert registry.grade(config, "* tea", item).correct
    assert registry.grade(config, "* tea, coffee", item).reason == "Not followed: punctuation:no_comma."
    assert registry.grade(config, "* tea", {**item, "kwargs": [{}]}).errors == ("bad_reference",)


def test_instructions_as_json_text_are_read():
    assert registry.grade({"type": "ifeval"}, "tea", {"instructions": '[{"id": "punctuation:no_comma"}]'}).correct


def test_the_configuration_may_name_the_instructions_itself():
    config = {"type": "ifeval", "instructions": ["punctuation:no_comma", "startend:quotation"]}

    assert registry.grade(config, '"tea"', {}).correct


def test_a_configuration_that_names_an_unknown_instruction_is_refused():
    with pytest.raises(Invalid, match="There is no instruction 'punctuation:none'"):
        registry.parse({"type": "ifeval", "instructions": ["punctuation:none"]})


TWO = [
    {"id": "punctuation:no_comma"},
    {"id": "detectable_format:number_bullet_lists", "kwargs": {"num_bullets": 1}},
    {"id": "punctuation:no_comma"},
]


def test_every_instruction_has_its_sub_score():
    assert grade("tea", *TWO).sub_scores == {
        "punctuation:no_comma": 1,
        "detectable_format:number_bullet_lists": 0,
        "punctuation:no_comma#2": 1,
    }


def test_all_must_be_followed_unless_the_share_is_asked_for():
    assert grade("tea", *TWO).score == 0
    assert grade("tea", *TWO, aggregate="share").score == pytest.approx(2 / 3)
    assert grade("tea", *TWO, aggregate="share", pass_threshold=0.6).correct


def test_loose_forgives_a_lead_in_a_closing_line_and_asterisks():
    quoted = {"id": "startend:quotation"}

    assert not grade('Sure:\n**"tea"**', quoted).correct
    assert grade('Sure:\n**"tea"**', quoted, mode="loose").correct
    assert grade('Sure:\n"tea"\nEnjoy!', quoted, mode="loose").correct
    assert not grade("tea", quoted, mode="loose").correct


@pytest.mark.parametrize("completion", ["", " \n", "<think>tea</think>", "<think>tea", "tea</think>"])
@pytest.mark.parametrize("mode", ["strict", "loose"])
def test_an_answer_only_in_the_reasoning_does_not_count(completion, mode):
    found = grade(completion, {"id": "punctuation:no_comma"}, mode=mode)

    assert (found.outcome, found.reason) == (Outcome.INCORRECT, "The reply is empty.")


@pytest.mark.parametrize("completion", ["12345 67890", "\U0001f600" * 9, "ქართული ენა"])
@pytest.mark.parametrize("mode", ["strict", "loose"])
def test_a_text_in_no_known_language_is_not_in_the_language_asked_for(completion, mode):
    found = grade(completion, {"id": "language:response_language", "kwargs": {"language": "de"}}, mode=mode)

    assert found.outcome is Outcome.INCORRECT


def test_english_in_capitals_is_english():
    text = "I LOVE THE SUMMER. THE WEATHER IS NICE AND WE GO TO THE BEACH."

    assert grade(text, {"id": "change_case:english_capital"}).correct
    assert not grade("ICH LIEBE DEN SOMMER UND WIR GEHEN AN DEN STRAND.", {"id": "change_case:english_capital"}).correct


def test_the_same_reply_is_always_told_to_be_in_the_same_language():
    instruction = {"id": "language:response_language", "kwargs": {"language": "en"}}

    found = {grade("tea mate kaffe the", instruction).correct for _ in range(30)}

    assert len(found) == 1


def test_the_random_state_of_the_process_is_left_alone():
    import random

    random.seed(5)
    before = random.getstate()
    grade("Das ist ein Satz", {"id": "language:response_language", "kwargs": {"language": "de"}})

    assert random.getstate() == before


def test_the_library_is_loaded_without_its_data_sets_and_without_a_download():
    script = """
import socket, sys
sys.path.insert(0, sys.argv[1])
socket.socket.connect = socket.getaddrinfo = None
from tasks.graders import ifeval, registry
before = "if_verifiable.ifeval" in sys.modules or "nltk" in sys.modules
grade = registry.grade(ifeval.EXAMPLE["grader"], ifeval.EXAMPLE["completion"], ifeval.EXAMPLE["item"])
print(before, grade.correct, "datasets" in sys.modules, "if_verifiable" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-I", "-c", script, str(REPOSITORY)], capture_output=True, text=True)

    assert done.stdout.split() == ["False", "True", "False", "False"], done.stderr


def test_the_gold_is_the_example_and_nothing_without_one():
    assert registry.gold({"type": "ifeval", "example": "{{ item.good }}"}, {"good": "tea"}) == "tea"
    assert registry.gold({"type": "ifeval"}, {"instructions": ["punctuation:no_comma"]}) is None


def test_the_example_is_proved_and_refuses_the_decoys():
    row = ifeval.EXAMPLE

    found = proof.prove(row["grader"], row["item"], None, "Two bullets on tea and coffee please.", ["* only tea"])

    assert found.outcome is proof.ProofOutcome.PROVED


def test_instructions_that_any_text_follows_are_refused_by_proof():
    item = {"instructions": ["punctuation:no_comma"]}

    found = proof.prove({"type": "ifeval"}, item, "tea and coffee", "Two drinks please.", ["rum"])

    assert found.code == "decoy_passed"


def test_a_row_of_instructions_without_a_gold_stays_unproved():
    found = proof.prove({"type": "ifeval"}, {"instructions": ["punctuation:no_comma"]}, None, "Two drinks please.")

    assert found.code == "no_gold"


def test_a_reply_beyond_the_limit_is_incorrect_with_its_flag():
    found = grade("tea " * 30_000, {"id": "punctuation:no_comma"})

    assert (found.outcome, found.errors) == (Outcome.INCORRECT, ("too_long",))


HOSTILE = [
    "[" * 100_000,
    "\n" * 99_999 + "x",
    " \t\n" * 33_000 + "x",
    "* " * 50_000,
    "*" * 100_000,
    "<<" * 50_000,
    "\n* " * 33_000,
    "p. " * 33_000,
    "p." * 50_000,
    "Section" * 14_000,
    "1" * 100_000,
    '{"a":' * 20_000,
    "\ud800" * 100_000,
    "\0" * 100_000,
    "\U0001f600" * 100_000,
    "А" * 100_000,
    "http://" * 14_000,
    "a@" * 50_000,
    "hello world " * 8_000,
]


@pytest.mark.parametrize("completion", HOSTILE, ids=lambda text: repr(text[:8]))
@pytest.mark.timeout(60)
def test_hostile_replies_are_graded_in_no_time(completion):
    instructions = [{"id": name, "kwargs": arguments} for name, arguments, *_ in CASES]

    assert grade(completion, *instructions, mode="loose").outcome is Outcome.INCORRECT
