"""docs/*.md as pages: the little of Markdown that they use, escaped first."""

import pytest

from tasks.views import documents


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Two\nlines.", "<p>Two lines.</p>"),
        ("A **bold** `a < b`.", "<p>A <strong>bold</strong> <code>a &lt; b</code>.</p>"),
        ("- one\n  more\n- two", "<ul><li>one more</li><li>two</li></ul>"),
        ("1. one\n2. two", "<ol><li>one</li><li>two</li></ol>"),
        ("### Traps\nText.", "<h3>Traps</h3><p>Text.</p>"),
        ('```json\n{"a": "<b>"}\n```', '<pre tabindex="0"><code>{&quot;a&quot;: &quot;&lt;b&gt;&quot;}</code></pre>'),
        ("```jsonl dialect=trl\n{}\n```", '<pre tabindex="0"><code>{}</code></pre>'),
        ("See [errors](errors.md#not_json).", '<p>See <a href="/docs/errors#not_json">errors</a>.</p>'),
        ("See [the code](../tasks/proof.py).", "<p>See the code.</p>"),
        ("<script>x</script>", "<p>&lt;script&gt;x&lt;/script&gt;</p>"),
        ("`**not bold**`", "<p><code>**not bold**</code></p>"),
    ],
)
def test_markdown_becomes_html(text: str, html: str):
    assert documents.html(text) == html


def test_a_table_has_its_head_and_its_cells():
    assert '<th scope="col">a</th>' in documents.html("| a | b |\n|---|---|\n| 1 | x \\| y |")


def test_a_bar_in_a_cell_is_kept():
    assert "<td>x | y</td>" in documents.html("| a | b |\n|---|---|\n| 1 | x \\| y |")


def test_tables_are_left_out_by_their_first_heading():
    text = "Before.\n\n| reply | outcome |\n|---|---|\n| a | b |\n\n| other | x |\n|---|---|\n| c | d |\n"

    assert documents.without_tables(text, "reply") == "Before.\n\n\n| other | x |\n|---|---|\n| c | d |\n"


def test_the_graders_document_has_a_section_for_number():
    assert "The last number of the reply" in documents.sections("graders.md")["number"]


def test_a_document_that_is_not_installed_has_no_sections():
    assert documents.sections("nothing.md") == {}


def test_what_stands_before_the_first_section_is_the_introduction():
    assert documents.introduction("formats.md").strip().startswith("An upload is JSON Lines")


def test_a_heading_is_linked_as_in_the_documents():
    assert documents.anchor("Rejected rows, and correcting them") == "rejected-rows-and-correcting-them"
