import pytest

from tasks.screening import language

ENGLISH = "A train leaves the town at nine with two hundred people on board. How many of them are there at noon?"
GERMAN = (
    "Ein Zug fährt um neun Uhr mit zweihundert Fahrgästen los und hält an zwölf Orten. Wie viele sitzen noch darin?"
)
CHINESE = "一家面包店早上烤了120个面包，上午卖出一半，下午又卖出30个，晚上还剩下多少个面包？"
JAPANESE = "りんごが5個あります。3個食べました。残りは何個ですか。"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (ENGLISH, "Latin"), (CHINESE, "Han"), (JAPANESE, "Kana"), ("몇 개입니까", "Hangul"), ("Сколько?", "Cyrillic"),
        ("كم عدد", "Arabic"), ("कितने सेब", "Devanagari"), ("Πόσα μήλα", "Greek"), ("כמה", "Hebrew"), ("กี่ลูก", "Thai"),
    ],
)  # fmt: skip
def test_the_commonest_script_comes_first(text, name):
    assert next(iter(language.scripts(text))) == name


def test_a_formula_has_no_script():
    assert language.scripts("3 + 4 = ?") == {}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (ENGLISH, ("en",)), (CHINESE, ("zh",)), (JAPANESE, ("ja",)), (CHINESE, ("en", "zh")), ("3 + 4 = ?", ("zh",)),
        ("f(x) = sin x, x = ?", ("zh",)), ("Omar 走了 5 km, Anna-Maria 走了 7 km", ("zh",)), ("Сколько?", ("en", "uk")),
    ],
)  # fmt: skip
def test_what_is_wanted_or_cannot_be_told_stays(text, wanted):
    assert language.unwanted(text, wanted) is None


@pytest.mark.parametrize(
    ("text", "wanted", "name"),
    [
        (CHINESE, ("en",), "Han"),
        (JAPANESE, ("zh",), "Kana"),
        (ENGLISH, ("zh",), "Latin"),
        ("Сколько?", ("de",), "Cyrillic"),
    ],
)
def test_another_script_is_unwanted(text, wanted, name):
    assert language.unwanted(text, wanted) == name


def test_a_language_is_told_from_others_of_its_script_where_it_is_as_good_as_certain(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(language, "identify", lambda text: "de" if text == GERMAN else None)

    assert language.unwanted(GERMAN, ("en",)) == "de"
    assert language.unwanted(GERMAN, ("en", "de")) is None
    assert language.unwanted(ENGLISH, ("de",)) is None


def test_a_short_text_is_not_guessed_at(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(language, "identify", lambda text: "la")

    assert language.unwanted("Add 3/7 and 5/12", ("en",)) is None
