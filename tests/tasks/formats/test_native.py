import json

import pytest

from tasks.formats import native
from tasks.types import Message


def fields(**raw):
    return native.fields(raw, 1)


def codes(**raw):
    return [found.code for found in native.fields(raw, 1)[1]]


def message(role, content="text", **more):
    return {"role": role, "content": content, **more}


def test_a_prompt_is_one_user_message():
    assert fields(prompt="Why?")[0].messages == (Message("user", "Why?"),)


def test_messages_are_kept_with_their_roles():
    read, issues = fields(
        messages=[message("system", "Be short."), message("developer", "Now."), message("user", "Why?")]
    )

    assert issues == []
    assert read.messages == (Message("system", "Be short."), Message("developer", "Now."), Message("user", "Why?"))


def test_a_prompt_may_be_a_list_of_messages():
    assert fields(prompt=[message("user", "Why?")])[0].messages == (Message("user", "Why?"),)


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]

    assert fields(messages=[message("user", parts)])[0].messages == (Message("user", "ab"),)


@pytest.mark.parametrize(
    "roles",
    [
        ["user", "assistant", "user"],
        ["system", "user", "assistant", "developer", "user"],
        ["assistant", "user"],
        ["user", "user"],
    ],
)
def test_a_conversation_in_which_the_user_speaks_last_is_read_whole(roles):
    read, issues = fields(messages=[message(role) for role in roles])

    assert ([each.role for each in read.messages], issues) == (roles, [])


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ({}, "prompt_missing"),
        ({"prompt": None}, "prompt_missing"),
        ({"prompt": "  "}, "prompt_missing"),
        ({"messages": []}, "prompt_missing"),
        ({"messages": [message("system")]}, "prompt_missing"),
        ({"prompt": "a", "messages": [message("user")]}, "prompt_twice"),
        ({"prompt": 5}, "messages_bad"),
        ({"messages": {"role": "user"}}, "messages_bad"),
        ({"messages": ["text"]}, "messages_bad"),
        ({"messages": [{"content": "a"}]}, "messages_bad"),
        ({"messages": [message("narrator")]}, "messages_bad"),
        ({"messages": [message("user", 5)]}, "messages_bad"),
        ({"messages": [message("user", [{"text": "a"}])]}, "messages_bad"),
        ({"messages": [message("user"), message("system")]}, "messages_bad"),
        ({"messages": [message("user"), message("assistant")]}, "several_turns"),
        ({"messages": [message("assistant")]}, "several_turns"),
        ({"messages": [message("user"), message("assistant"), message("user", " ")]}, "prompt_missing"),
        ({"prompt": "a", "tools": [{"type": "function"}]}, "tools_unsupported"),
        ({"messages": [message("user"), message("tool")]}, "tools_unsupported"),
        ({"messages": [message("assistant", None, tool_calls=[{}])]}, "tools_unsupported"),
        ({"messages": [message("user", [{"type": "image_url"}])]}, "image_unsupported"),
        ({"messages": [message("user", [{"type": "input_audio"}])]}, "image_unsupported"),
        ({"messages": [message("user", "a" * 100_001)]}, "too_long"),
        ({"prompt": "a", "gold": "a" * 100_001}, "too_long"),
        ({"prompt": "a", "item": "b"}, "item_not_object"),
        ({"prompt": "a", "metadata": ["b"]}, "metadata_not_object"),
        ({"prompt": "a", "domain": "b" * 65}, "domain_bad"),
        ({"prompt": "a", "domain": "b\nc"}, "domain_bad"),
        ({"prompt": "a", "item": {"x": 1}, "x": 2}, "item_conflict"),
    ],
)
def test_what_cannot_be_read_is_one_issue(raw, code):
    assert codes(**raw) == [code]


def test_several_faults_of_a_row_are_reported_together():
    assert codes(messages=[message("narrator")], domain=5, metadata=5) == [
        "messages_bad",
        "domain_bad",
        "metadata_not_object",
    ]


def test_an_issue_names_the_message():
    assert fields(messages=[message("user"), message("narrator")])[1][0].field == "messages[1].role"


def test_empty_tools_are_ignored():
    assert codes(prompt="a", tools=[]) == []


def test_a_reference_beside_the_item_is_the_items():
    assert fields(prompt="a", reference=4, item={"unit": "m"})[0].item == {"reference": 4, "unit": "m"}


def test_every_other_key_is_readable_as_an_items():
    assert fields(prompt="a", answer="b", tests=[1])[0].item == {"answer": "b", "tests": [1]}


def test_what_is_given_twice_and_equal_is_no_conflict():
    assert fields(prompt="a", reference=4, item={"reference": 4})[0].item == {"reference": 4}


def test_a_reference_of_null_is_none():
    assert fields(prompt="a", reference=None)[0].item == {}


def test_a_gold_that_is_no_text_is_written_as_json():
    assert fields(prompt="a", gold={"b": 1})[0].gold == '{"b":1}'


def test_domain_and_metadata_are_told_apart_from_the_item():
    read, _ = fields(prompt="a", domain=" maths ", metadata={"source": "book"})

    assert (read.domain, read.metadata, read.item) == ("maths", {"source": "book"}, {})


def test_a_written_row_reads_as_the_same_fields():
    grader = {"type": "number"}
    read, _ = fields(prompt="a", reference=4, gold="4", grader=grader, domain="maths", metadata={"b": 1})

    line = native.write(read.messages, read.item, read.gold, read.grader, read.domain, read.metadata)

    assert native.fields(json.loads(line), 1) == (read, [])
