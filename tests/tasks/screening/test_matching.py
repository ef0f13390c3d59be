"""Keys are put together from random characters here: written out, they would be taken for leaked ones."""

from random import Random
from string import ascii_letters, ascii_uppercase, digits

import pytest

from tasks.screening import matching
from tasks.screening.rules import Kind


def characters(count: int, alphabet: str = ascii_letters + digits) -> str:
    return "7x" + "".join(Random(count).choices(alphabet, k=count - 2))


def names(text: str) -> list[str]:
    return [found.name for found in matching.find(text)]


SECRETS = [
    ("AWS key", "AKIA" + characters(16, ascii_uppercase + digits).upper()),
    ("GitHub token", "ghp_" + characters(36)),
    ("GitHub token", "github_pat_" + characters(22) + "_" + characters(59)),
    ("API key", "sk-" + characters(48)),
    ("API key", "sk-proj-" + characters(60)),
    ("API key", "sk-ant-api03-" + characters(90)),
    ("Google key", "AIza" + characters(35)),
    ("Slack token", "xoxb-" + characters(12, digits) + "-" + characters(24)),
    ("Stripe key", "sk_live_" + characters(24)),
    ("private key", "-----BEGIN RSA PRIVATE KEY-----\n" + characters(300) + "\n-----END RSA PRIVATE KEY-----"),
    ("private key", "-----BEGIN OPENSSH PRIVATE KEY-----\\n" + characters(200)),
    ("JSON web token", "eyJ" + characters(30) + ".eyJ" + characters(80) + "." + characters(43)),
    ("bearer token", "Bearer " + characters(40)),
    ("password in an address", "postgres://bob:" + characters(12) + "@db.firm.de"),
]


@pytest.mark.parametrize(("name", "secret"), SECRETS)
def test_a_secret_is_found_wherever_it_stands(name, secret):
    assert names(f"Use '{secret}' for this.") == [name]


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn-is-a-library-for-everyone",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
        "the task-2f8b1c77aa10d3e4f9b2 and the risk-2f8b1c77aa10d3e4f9b2",
        "AKIAIOSFODNN7EXAMPLE",
        "Bearer YOUR_API_KEY_GOES_HERE_1",
        "the bearer of 12 apples",
        "https://user:password@host.com/",
        "git clone https://github.com/someone/something.git",
        "-----BEGIN PUBLIC KEY-----",
    ],
)
def test_what_documentation_shows_is_no_secret(text):
    assert names(text) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("e-mail", "anna.berg@firma.de"),
        ("e-mail", "x_y+z@mail.uni-bonn.de"),
        ("card number", "4111 1111 1111 1111"),
        ("card number", "3782-822463-10005"),
        ("card number", "Visa: 4111111111111111"),
        ("IBAN", "DE89 3704 0044 0532 0130 00"),
        ("IBAN", "GB82WEST12345698765432"),
        ("social security number", "219-09-9998"),
        ("Chinese id", "11010519491231002X"),
        ("Spanish id", "12345678Z"),
        ("Spanish id", "X1234567L"),
        ("French social security number", "2 55 08 14 168 025 38"),
        ("Brazilian id", "529.982.247-25"),
        ("German tax id", "Steuer-ID 65 929 970 489"),
        ("telephone number", "+49 30 901820"),
        ("telephone number", "+1 (415) 736-2671"),
        ("telephone number", "(415) 736-2671"),
        ("telephone number", "Tel.: 0171 2345678"),
        ("telephone number", "手机:13812345678"),
    ],
)
def test_personal_data_is_found(name, text):
    assert names(f"Well, {text} it is.") == [name]


@pytest.mark.parametrize(
    "text",
    [
        "A@B.T and w@x.shape and a@b.mean()",
        "bob@example.com, eve@mail.test",
        "4111 1111 1111 1112",  # Luhn
        "4111111111111111 is it prime",
        "What is 4111111111111111 * 3",
        "DE88 3704 0044 0532 0130 00",
        "123-45-6789",
        "666-09-9998 and 219-00-9998",
        "11010519491331002X",  # the thirteenth month
        "12345678A",
        "12 345 678 901",
        "65929970489",
        "(415) 555-0123",
        "5 +12 345 678",
        "2 + 415-736-2671 * 3",
        "+49 - 3",
        "2024-01-02 10:11:12",
        "1,234,567,890.12",
        "192.168.100.200",
        "978-3-16-148410-0",
        "0.12345678901234567",
        "3 5 8 13 21 34 55 89 144",
    ],
)
def test_mathematics_dates_and_examples_are_nobodys(text):
    assert names(text) == []


@pytest.mark.parametrize("place", range(4))
def test_a_number_with_a_wrong_check_digit_is_only_a_number(place):
    wrong = ("4111 1111 1111 1113", "GB83WEST12345698765432", "529.982.247-26", "X1234567M")[place]

    assert names(f"Well, {wrong} it is.") == []


def test_findings_stand_in_the_order_of_the_text_and_say_where():
    text = "Ask anna@firma.de or +49 30 901820."

    found = matching.find(text)

    assert [(one.kind, text[one.start : one.end]) for one in found] == [
        (Kind.PERSONAL, "anna@firma.de"),
        (Kind.PERSONAL, "+49 30 901820"),
    ]


def test_a_masked_text_holds_placeholders_that_are_not_found_again():
    text = "Ask anna@firma.de or +49 30 901820."

    masked, placed = matching.mask(text, matching.find(text))

    assert masked == "Ask [e-mail] or [telephone number]."
    assert [masked[one.start : one.end] for one in placed] == ["[e-mail]", "[telephone number]"]
    assert matching.find(masked) == ()


def test_only_the_kinds_that_are_named_are_masked():
    text = f"Ask anna@firma.de, key sk-{characters(40)}."

    masked, placed = matching.mask(text, matching.find(text), {Kind.SECRET})

    assert masked == "Ask anna@firma.de, key [API key]."
    assert [masked[one.start : one.end] for one in placed] == ["anna@firma.de", "[API key]"]


def test_an_excerpt_shows_what_stands_around_and_nothing_that_was_found():
    text = f"{'before ' * 20}anna@firma.de and ben@firma.de{' behind' * 20}"

    shown = matching.excerpts(text, matching.find(text))[1]

    assert "[e-mail] and [e-mail]" in shown
    assert "firma" not in shown
    assert (shown[0], shown[-1]) == ("…", "…")
    assert len(shown) < 120


def written_numbers(seed: int) -> list[str]:
    """Numbers as the rules know them, nearly as they know them, and what may stand around."""
    random = Random(seed)

    def digit_groups(*counts: int) -> str:
        mark = random.choice((" ", "-", ".", ""))
        return mark.join("".join(random.choices(digits, k=count)) for count in counts)

    numbers = [
        "4" + digit_groups(3, 4, 4, 4), "37" + digit_groups(2, 6, 5), digit_groups(3, 2, 4), digit_groups(3, 3, 3, 2),
        "1" + digit_groups(5) + "19800229" + digit_groups(3) + "x", digit_groups(8) + "Z", "X" + digit_groups(7) + "T",
        "2 55 08 " + digit_groups(2, 3, 3, 2), digit_groups(2, 3, 3, 3), "GB82WEST12345698765432", "DE89 3704 0044 05",
        "+" + digit_groups(2, 3, 6), "(415) 736-2671", "tel. 030 " + digit_groups(7), "MOBİLE 030 " + digit_groups(6),
        "mobıl：030 " + digit_groups(6), "WhatſApp is 030 " + digit_groups(6), "电话为 030 " + digit_groups(6),
        "٣" * 8 + "Z", digit_groups(3) + "-٣٣-" + digit_groups(4),
    ]  # fmt: skip
    around = ["", " ", "é", "²", "_", ".", ",", "-", "+", "(", ")", "\n", "\0", "\udc80", "社"]
    return [random.choice(around) + number + random.choice(around) for number in numbers]


@pytest.mark.parametrize("seed", range(40))
def test_a_rule_is_tried_wherever_its_pattern_matches(seed):
    texts = [*written_numbers(seed), "".join(written_numbers(seed)), " ".join(written_numbers(seed))]

    passed_over = [
        (rule.name, text)
        for text in texts
        for rule in matching._NUMBERED
        if rule.pattern.search(text) and not matching._shape(rule).search(text.encode("utf-8", "surrogatepass"))
    ]

    assert passed_over == []


@pytest.mark.timeout(20)
def test_a_text_of_many_findings_is_read_in_linear_time():
    text = " ".join(f"anna{number}@firma.de" for number in range(20_000))

    shown = matching.excerpts(text, matching.find(text))

    assert len(shown) == 20_000


@pytest.mark.parametrize("number", ["000-12-3456", "666-12-3456", "912-12-3456", "219-00-3456", "219-12-0000"])
def test_a_social_security_number_that_was_never_given_is_nobodys(number):
    assert names(f"It is {number}.") == []


@pytest.mark.parametrize(
    "hostile",
    ["@" * 50_000, "a@" * 30_000, "a." * 30_000 + "@", "1 " * 50_000, "+1 " * 30_000, "sk-" * 30_000, "eyJ." * 30_000,
     "eyJ" + "a" * 100_000, "://:" * 20_000, "-----BEGIN " * 9_000, "DE12 3456 " * 10_000, "Bearer  " * 12_000,
     "tel.: 1234 " * 9_000, "4111 1111 " * 10_000, "\udc80@" * 20_000],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_hostile_text_is_read_in_linear_time(hostile):
    assert isinstance(matching.find(hostile), tuple)
