import subprocess
import sys

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


def test_a_short_text_is_not_guessed_at():
    assert language.unwanted("Addiere 3/7 und 5/12, dann kürze", ("en",)) is None


# One question in languages that share a script
IN_LATIN = {
    "de": GERMAN,
    "fr": "Un train part à neuf heures avec deux cents passagers et s'arrête dans douze villes. Combien en reste-t-il?",
    "es": "Un tren sale a las nueve con doscientos pasajeros y se detiene en doce pueblos. ¿Cuántos quedan a mediodía?",
    "it": "Un treno parte alle nove con duecento passeggeri e si ferma in dodici città. Quanti ce ne sono ancora?",
    "pt": "Um comboio parte às nove com duzentos passageiros e para em doze cidades. Quantos ainda estão lá?",
    "nl": "Een trein vertrekt om negen uur met tweehonderd reizigers en stopt in twaalf plaatsen. Hoeveel blijven er?",
    "pl": "Pociąg wyrusza o dziewiątej z dwustoma pasażerami i staje w dwunastu miastach. Ile osób jest w nim potem?",
    "sv": "Ett tåg avgår klockan nio med tvåhundra passagerare och stannar i tolv städer. Hur många sitter kvar då?",
    "da": "Et tog kører klokken ni med to hundrede passagerer og standser i tolv byer. Hvor mange sidder der stadig?",
    "tr": "Bir tren saat dokuzda iki yüz yolcuyla hareket ediyor ve on iki şehirde duruyor. Sonunda kaç kişi kalır?",
    "vi": "Một chuyến tàu khởi hành với hai trăm hành khách và dừng ở mười hai thành phố. Còn bao nhiêu người?",
    "hu": "Egy vonat kilenc órakor indul kétszáz utassal, és tizenkét városban áll meg. Hányan ülnek még rajta délben?",
}  # fmt: skip


@pytest.mark.parametrize("name", IN_LATIN)
def test_a_language_is_told_from_the_wanted_one_of_its_script(name):
    assert language.unwanted(IN_LATIN[name], ("en",)) == name


@pytest.mark.parametrize("name", IN_LATIN)
def test_a_wanted_language_stays(name):
    assert language.unwanted(IN_LATIN[name], (name, "en")) is None


@pytest.mark.parametrize("name", IN_LATIN)
def test_english_is_told_from_any_other_wanted_language(name):
    assert language.unwanted(ENGLISH, (name,)) == "en"


def test_a_variety_of_a_wanted_language_stays():
    text = "Et tog går klokka ni med to hundre passasjerer og stopper i tolv byer. Hvor mange sitter igjen klokka tolv?"

    assert language.unwanted(text, ("nb",)) is None


def test_where_a_wanted_language_is_not_known_to_the_model_nothing_is_said():
    assert language.unwanted(GERMAN, ("mi",)) is None  # Maori is written in Latin letters too


@pytest.mark.parametrize(
    "text",
    [
        f"Translate the following sentences into English: {GERMAN}",
        f"{IN_LATIN['fr']}\n\nWhich language is the text above written in?",
        "Question: Teressa lies. Willian says Teressa lies. Jamey says Willian lies. Ryan says Jamey lies. Who lies?",
        'def modp(n: int, p: int):\n    """Return 2^n modulo p (be aware of numerics).\n    >>> modp(3, 5)\n    3\n',
        "Solve for x: 3x^2 - 12x + 9 = 0, and evaluate \\int_0^1 \\frac{\\sin x}{x} \\, dx to three digits.",
        "for i in range(len(xs)):\n    total += xs[i] * ys[i]\nprint(total, max(xs), min(ys), sorted(xs + ys)[:3])",
        "Teressa, Willian, Jamey, Delfina, Alejandro, Shaunda, Osvaldo, Kandi, Conception, Maybelle, Lorine",
    ],
)
def test_english_among_names_code_formulas_and_other_languages_is_never_refused(text):
    assert language.unwanted(text, ("en",)) is None


def test_the_model_is_not_loaded_where_no_policy_names_languages():
    program = """
import sys
from tasks.screening.policy import Policy, screen
from tasks.types import Message, Row

screen(Row(1, (Message("user", "How many?" * 30),), {"reference": "5"}, None, None, "", {}), Policy())
print("py3langid" in sys.modules)
"""

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert said == "False\n"
