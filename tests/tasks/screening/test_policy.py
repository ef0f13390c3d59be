import pytest
from msgspec.structs import replace

from tasks.errors import Invalid
from tasks.screening.policy import Action, Policy, parse, screen
from tasks.types import Message, Row

ROW = Row(
    line=3,
    messages=(Message("system", "Answer briefly."), Message("user", "How much is 2 + 2?")),
    item={"reference": "4"},
    gold="4",
    grader=None,
    domain="",
    metadata={},
)
KEY = "sk-" + "aB3dE5gH7jK9mN1pQ" * 2
SECRET = replace(ROW, messages=(Message("user", f"Use {KEY} to ask."),))
PERSONAL = replace(
    ROW, messages=(Message("user", "Write to anna@firma.de, please."),), item={"to": ["anna@firma.de", 1]}
)


def test_a_clean_row_stays_as_it_is():
    screened = screen(ROW, Policy())

    assert screened.row is ROW
    assert (screened.issues, screened.findings) == ([], [])


def test_a_secret_refuses_the_row_without_repeating_it():
    (found,) = screen(SECRET, Policy()).issues

    assert (found.line, found.code, found.field) == (3, "secret_found", "messages[0].content")
    assert found.sentence == "The row holds an API key."
    assert found.value == "Use [API key] to ask."


def test_personal_data_is_flagged_where_it_stands():
    screened = screen(PERSONAL, Policy())

    finding = screened.findings[0]
    assert (screened.row, screened.issues) == (PERSONAL, [])
    assert (finding.field, finding.name, finding.action) == ("messages[0].content", "e-mail", Action.FLAG)
    assert PERSONAL.messages[0].content[finding.start : finding.end] == "anna@firma.de"
    assert "anna" not in finding.excerpt


def test_a_mask_takes_the_place_in_every_field():
    screened = screen(PERSONAL, Policy(personal=Action.MASK))

    assert screened.row.messages[0].content == "Write to [e-mail], please."
    assert screened.row.item == {"to": ["[e-mail]", 1]}
    assert [finding.field for finding in screened.findings] == ["messages[0].content", "item.to[0]"]
    assert screened.row.gold == "4"


def test_a_finding_of_a_masked_row_says_where_the_placeholder_stands():
    screened = screen(PERSONAL, Policy(personal=Action.MASK))

    finding = screened.findings[0]
    assert screened.row.messages[0].content[finding.start : finding.end] == "[e-mail]"


def test_masks_reach_the_right_field_though_a_key_holds_a_dot():
    row = replace(ROW, item={"a.b": "anna@firma.de", "a": {"b": "nothing"}})

    assert screen(row, Policy(personal=Action.MASK)).row.item == {"a.b": "[e-mail]", "a": {"b": "nothing"}}


@pytest.mark.parametrize("field", ["gold", "item", "metadata", "grader"])
def test_every_field_is_screened(field):
    row = replace(ROW, **{field: KEY if field == "gold" else {"a": [{"b": KEY}]}})

    (found,) = screen(row, Policy()).issues

    assert found.field == ("gold" if field == "gold" else f"{field}.a[0].b")


def test_a_refused_row_is_not_masked_in_part():
    row = replace(SECRET, gold="anna@firma.de")

    screened = screen(row, Policy(personal=Action.MASK))

    assert screened.row is row
    assert [found.code for found in screened.issues] == ["secret_found"]


def test_personal_data_can_be_refused():
    assert [found.code for found in screen(PERSONAL, Policy(personal=Action.REFUSE)).issues] == ["personal_data"] * 2


def test_a_refusal_that_a_reviewer_has_lifted_only_flags():
    screened = screen(SECRET, Policy(), waived={"secret_found"})

    assert screened.issues == []
    assert [finding.action for finding in screened.findings] == [Action.FLAG]


def test_a_lifted_refusal_lifts_no_other():
    screened = screen(SECRET, Policy(min_characters=500), waived={"secret_found"})

    assert [found.code for found in screened.issues] == ["prompt_too_short"]


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (Policy(min_characters=100), "prompt_too_short"),
        (Policy(max_characters=20), "prompt_too_long"),
        (Policy(languages=("zh",)), "language_not_wanted"),
    ],
)
def test_a_prompt_outside_the_policy_is_refused(policy, code):
    row = replace(ROW, messages=(Message("user", "How many apples and pears are there in the basket?"),))

    assert [found.code for found in screen(row, policy).issues] == [code]


def test_a_row_under_another_licence_is_refused():
    row = replace(ROW, metadata={"license": "GPL-3.0-only"})

    assert [found.code for found in screen(row, Policy(licences=("MIT",))).issues] == ["licence_not_allowed"]


@pytest.mark.parametrize("metadata", [{}, {"license": "mit"}, {"licence": "MIT "}])
def test_a_row_under_an_accepted_licence_or_none_comes_in(metadata):
    assert screen(replace(ROW, metadata=metadata), Policy(licences=("MIT",))).issues == []


def test_an_empty_policy_is_the_default():
    assert parse({}) == Policy(secrets=Action.REFUSE, personal=Action.FLAG)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"secrets": "ignore"}, "'ignore'"),
        ({"secret": "mask"}, "secret"),
        ({"languages": ["English"]}, "ISO 639-1"),
        ({"languages": "en"}, "languages"),
        ({"min_characters": 0}, "at least 1"),
        ({"min_characters": 50, "max_characters": 20}, "between"),
        ({"max_characters": 1_000_000}, "100,000"),
        ({"licences": [""]}, "licences"),
        ([], "object"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(raw, told):
    with pytest.raises(Invalid) as refused:
        parse(raw)

    assert told in refused.value.sentence
