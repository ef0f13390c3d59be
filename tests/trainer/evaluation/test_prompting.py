import pytest

from tasks.graders.outcome import AuthorFault
from trainer.evaluation import prompting
from trainer.evaluation.prompting import Message, Prompt

ASKS = Prompt([Message("system", "Be brief."), Message("user", "{{ item.question }} {{item.more[0]}}")])


def test_a_template_reads_the_item():
    found = prompting.messages_for(ASKS, {"question": "1 + 1?", "more": ["Please."]})

    assert found == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1? Please."}]


def test_what_came_out_of_an_item_is_not_read_again():
    found = prompting.messages_for(ASKS, {"question": "{{ item.secret }}", "more": [""], "secret": "x"})

    assert found[1]["content"] == "{{ item.secret }} "


def test_an_item_may_hold_the_messages_themselves():
    held = [{"role": "user", "content": [{"type": "text", "text": "1 + "}, "1?"]}]

    assert prompting.messages_for(Prompt(reference="item.asked"), {"asked": held}) == [
        {"role": "user", "content": "1 + 1?"}
    ]


def test_a_variable_that_an_item_lacks_is_its_authors_fault():
    with pytest.raises(AuthorFault, match=r"no 'item\.question'"):
        prompting.messages_for(ASKS, {})


@pytest.mark.parametrize(
    "held",
    ["text", [], [1], [{"role": "robot", "content": "a"}], [{"role": "user", "content": {"type": "image"}}], None],
)
def test_what_is_no_list_of_messages_is_its_authors_fault(held: object):
    with pytest.raises(AuthorFault, match="not a list of messages"):
        prompting.messages_for(Prompt(reference="item.asked"), {"asked": held})


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        (Prompt(), "either messages or"),
        (Prompt([Message("user", "a")], "item.x"), "either messages or"),
        (Prompt([Message("user", "{{ sample.output_text }}")]), "no `sample` before"),
        (Prompt([Message("user", "{{ system.x }}")]), "is not a variable"),
        (Prompt([Message("robot", "a")]), "no role 'robot'"),
        (Prompt(reference="sample.x"), "is unknown"),
        (Prompt(reference=""), "either messages or"),
        (Prompt(reference="1x"), "is not a variable"),
    ],
)
def test_a_prompt_that_can_ask_nothing_says_why(prompt: Prompt, why: str):
    assert why in str(prompting.problem(prompt))


def test_a_prompt_that_can_ask_has_no_problem():
    assert prompting.problem(ASKS) is None
    assert prompting.problem(Prompt(reference="item.asked")) is None
