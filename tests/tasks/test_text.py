import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import text
from tasks.types import Message


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("What  is\n2 + 2?", "what is 2 + 2?"),
        ("2³", "2^3"),
        ("x₁₂", "x_12"),
        ("10⁻³", "10^-3"),
        ("1½", "1 1/2"),
        ("⅞ cup", "7/8 cup"),
        ("−5 × 3 · 2", "-5 * 3 * 2"),
        ("“quoted”。", '"quoted".'),
        ("pages 3–5", "pages 3-5"),
        ("−5 – 3 ‒ 2", "-5 - 3 - 2"),
        ("well‑known, well‐known", "well-known, well-known"),
        ("he left — alone ― again", "he left - alone - again"),
        ("10⁻³ ﹣1 －2", "10^-3 -1 -2"),
        ("｡､", ".,"),
        ("zero\u200bwidth\ufeff and\u00ad soft", "zerowidth and soft"),
        ("\u202eleft\u202c", "left"),
        ("ＡＢＣ１２", "abc12"),
        ("STRASSE", "straße"),
        ("$x$ \\(y\\)", "x y"),
        ("\\left(1\\right)", "(1)"),
        ("5\\,\\text{cm}\\!", "5cm"),
        ("\\text{\\mathrm{m}}", "m"),
        ("\\dfrac{1}{2}", "\\frac{1}{2}"),
        ("\\leftarrow", "\\leftarrow"),
        ("1,234,567.8", "1234567.8"),
        ("ﬁne", "fine"),
    ],
)
def test_what_does_not_change_the_meaning_is_folded(written, same):
    assert text.normalise(written) == text.normalise(same)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2³", "23"),
        ("x₁", "x1"),
        ("1½", "11/2"),
        ("1,23", "123"),
        ("a b", "ab"),
        ("-5", "5"),
        ("c++", "c"),
        ("サーバ", "サ-バ"),
    ],
)
def test_what_changes_the_meaning_is_kept(one, other):
    assert text.normalise(one) != text.normalise(other)


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(written):
    once = text.normalise(written)

    assert text.normalise(once) == once


def test_no_single_sign_changes_when_normalised_again():
    signs = [chr(point) for point in range(0x3100) if not 0xD800 <= point < 0xE000]
    signs += [chr(point) for point in range(0xF900, 0x10000)]

    once = [text.normalise(f"x{sign}x") for sign in signs]

    assert [text.normalise(written) for written in once] == once


def test_nul_is_refused_by_name():
    assert text.refused_character("a\0b") == "a NUL character"


def test_half_a_surrogate_pair_is_refused_by_name():
    assert text.refused_character("a\ud800b") == "half of a surrogate pair (U+D800)"


def test_every_other_character_is_accepted():
    assert text.refused_character("\x01 ü 你好 😀") is None


def test_the_prompt_is_every_message_in_order():
    assert text.prompt_text([Message("system", "Be short."), Message("user", "Why?")]) == "Be short.\n\nWhy?"


def test_nesting_is_counted_outside_strings():
    assert text.nests_deeper("[[[]]]", 2)
    assert not text.nests_deeper("[[]][[]]", 2)
    assert not text.nests_deeper('["[[[\\"[[["]', 2)


@pytest.mark.parametrize(
    ("written", "begin", "end", "shown"),
    [
        ("a gardener has 3.55 euros", 6, 22, "has 3.55"),
        ("a gardener has 3.55 euros", 3, 17, "has"),
        ("let's think, step by step", 0, 4, "let'"),
        ("farm, hand is", 0, 5, "farm,"),
        ("gardener", 3, 6, "den"),
        ("这个代码打印什么", 2, 5, "代码打"),
        ("जन किताब दिन", 0, 5, "जन"),
        ("", 0, 0, ""),
    ],
)
def test_evidence_is_cut_between_words_and_chinese_anywhere(written, begin, end, shown):
    assert text.whole_words(written, begin, end) == shown


@given(st.text(max_size=90), st.integers(0, 90), st.integers(0, 90))
def test_evidence_stands_in_its_text_and_is_no_longer_than_asked(written, begin, end):
    shown = text.whole_words(written, min(begin, end), max(begin, end), most=20)

    assert shown in written
    assert len(shown) <= 20


def test_a_run_of_letters_longer_than_words_are_is_cut_where_it_has_to_be():
    assert text.whole_words("a " + "x" * 300) == "a " + "x" * 198


def test_an_excerpt_is_never_longer_than_asked():
    assert text.excerpt("x" * 300) == "x" * 199 + "…"
    assert text.excerpt("short") == "short"
