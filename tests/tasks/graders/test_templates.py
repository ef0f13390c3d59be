import pytest

from tasks.graders import templates
from tasks.graders.outcome import AuthorFault, ModelFault

ITEM = {"x": "one", "a": {"b": ["first", {"c": 3}]}, "n": 1.5, "list": [1, "two"], "odd key": "odd"}


def filled(source, completion="reply", item=ITEM):
    return templates.parse(source).text(completion, item)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{ item.x }}", "one"),
        ("{{item.x}}", "one"),
        ("<{{ item.a.b[0] }}>", "<first>"),
        ("{{ item.a.b[1].c }}", "3"),
        ("{{ item.a.b.0 }}", "first"),
        ("{{ item['odd key'] }}", "odd"),
        ("{{ item.n }} {{ item.list }}", '1.5 [1,"two"]'),
        ("{{ sample.output_text }}", "reply"),
        ("{{ sample.choices[0].message.content }}", "reply"),
        ("\\frac{{1}}{{2}} {{ item.x }}", "\\frac{{1}}{{2}} one"),
        ("{{ open", "{{ open"),
    ],
)
def test_variables_are_looked_up_and_the_rest_is_literal(source, text):
    assert filled(source) == text


def test_a_single_variable_keeps_its_type():
    assert templates.parse("{{ item.list }}").value("", ITEM) == [1, "two"]


def test_the_reply_is_read_as_json_where_asked():
    assert filled("{{ sample.output_json.a[0] }}", '{"a": [7]}') == "7"


def test_what_was_filled_in_is_not_expanded_again():
    assert filled("{{ item.x }}", item={"x": "{{ item.y }}", "y": "secret"}) == "{{ item.y }}"
    assert filled("{{ sample.output_text }}", "{{ item.x }}") == "{{ item.x }}"


@pytest.mark.parametrize(
    "source", ["{{ item.missing }}", "{{ item.x.y }}", "{{ item.list[9] }}", "{{ item.list.name }}"]
)
def test_a_missing_item_field_is_the_authors_fault(source):
    with pytest.raises(AuthorFault) as fault:
        filled(source)
    assert fault.value.flag == "invalid_variable_error"


def test_a_missing_field_of_the_reply_is_the_models_fault():
    with pytest.raises(ModelFault) as fault:
        filled("{{ sample.output_json.b }}", '{"a": 1}')
    assert fault.value.flag == "invalid_variable_error"


@pytest.mark.parametrize("completion", ["text", "", "[" * 100_000, '{"a": ' * 1000])
def test_a_reply_that_is_not_json_is_the_models_fault(completion):
    with pytest.raises(ModelFault) as fault:
        filled("{{ sample.output_json.a }}", completion)
    assert fault.value.flag == "sample_parse_error"


@pytest.mark.parametrize(
    "source",
    [
        "{{ x }}",
        "{{ items.x }}",
        "{{ item.x | upper }}",
        "{{ item.__class__() }}",
        "{{ sample }}",
        "{{ sample.tokens }}",
        "{{ item.x + 1 }}",
    ],
)
def test_anything_but_a_look_up_is_refused(source):
    with pytest.raises(ValueError, match=r"variable|unknown"):
        templates.parse(source)


def test_python_attributes_cannot_be_reached():
    with pytest.raises(AuthorFault):
        filled("{{ item.__class__ }}")


@pytest.mark.timeout(20)
def test_many_braces_take_no_time():
    templates.parse("{{" * 100_000)
    templates.parse("{{1 " * 20_000 + "}}")


def test_a_place_of_thousands_of_digits_is_a_field_that_is_absent():
    with pytest.raises(AuthorFault, match="The item has no"):
        filled("{{ item.list." + "1" * 5_000 + " }}")


def test_a_value_that_nests_without_end_is_the_rows_fault():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(AuthorFault, match="nests too deep"):
        filled("{{ item.deep }}", item={"deep": deep})


def test_a_template_that_would_fill_the_memory_is_the_authors_fault():
    source = "{{ item.text }} " * 1000

    assert len(filled(source, "", {"text": "ab"})) == 3000
    with pytest.raises(AuthorFault, match="shorten it"):
        filled(source, "", {"text": "a" * 100_000})
