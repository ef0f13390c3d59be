"""Who judges here: patterns, served models, and what an operator may write."""

import json
import os

import msgspec
import pytest

from tasks.graders import judges
from tasks.graders.judges import Endpoint, Judges

OWN = Endpoint("http://own/v1", "secret")


@pytest.fixture(autouse=True)
def fresh():
    """Nothing is kept of another test's environment."""
    judges.of_this_process.cache_clear()
    yield
    judges.of_this_process.cache_clear()


def test_without_a_word_nobody_judges():
    assert judges.of_environment({}).endpoints == {}


def test_one_server_judges_for_every_model():
    found = judges.of_environment({"JUDGE_URL": "https://judge.example/v1", "JUDGE_API_KEY": "secret"})

    assert found.find("any-model") == Endpoint("https://judge.example/v1", "secret")


def test_a_pattern_goes_before_the_server_for_all():
    table = {"gpt-*": {"url": "https://b.example/v1", "api_key_env": "KEY_B", "model": "b"}}
    found = judges.of_environment(
        {"JUDGE_URL": "https://a.example/v1", "JUDGES": json.dumps(table), "KEY_B": "secret b"}
    )

    assert found.find("gpt-5") == Endpoint("https://b.example/v1", "secret b", "b")
    assert found.find("other").url == "https://a.example/v1"


def test_the_first_pattern_that_matches_decides():
    table = {"gpt-5-mini": {"url": "http://a/v1"}, "gpt-*": {"url": "http://b/v1"}}
    found = judges.of_environment({"JUDGES": json.dumps(table)})

    assert [found.find(model).url for model in ("gpt-5-mini", "gpt-5")] == ["http://a/v1", "http://b/v1"]


def test_a_key_is_for_its_own_server_only():
    table = {"local": {"url": "http://local/v1"}}
    environment = {"JUDGE_URL": "https://a/v1", "JUDGE_API_KEY": "secret", "JUDGES": json.dumps(table)}

    assert judges.of_environment(environment).find("local").api_key == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JUDGES", "gpt"),
        ("JUDGES", "[]"),
        ("JUDGES", '{"m": "http://a"}'),
        ("JUDGES", '{"m": {"url": "http://a/v1", "key": "secret"}}'),
        ("JUDGES", '{"m": {"url": 5}}'),
        ("JUDGES", '{"m": {}}'),
        ("JUDGES", '{"m": {"url": "http://a/v1", "api_key_env": "NOT_SET"}}'),
        ("JUDGE_URL", "judge.example"),
        ("JUDGE_URL", "file:///etc/passwd"),
        ("JUDGE_URL", "https://a b"),
        ("JUDGE_SECONDS", "0"),
        ("JUDGE_SECONDS", "soon"),
        ("JUDGE_CONCURRENCY", "1e3"),
    ],
)
def test_nonsense_is_refused_and_named(name: str, value: str):
    with pytest.raises(ValueError, match=name):
        judges.of_environment({name: value})


def test_nonsense_makes_judges_unavailable_rather_than_raise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUDGES", "gpt")

    assert "JUDGES must be a JSON object" in str(judges.unavailable("m"))


def test_an_unknown_model_says_what_to_set():
    with judges.using(Judges()):
        assert judges.unavailable("gpt-5") == (
            "No judge is known for the model 'gpt-5': set JUDGE_URL, add it to JUDGES, or name a served model."
        )


def test_a_served_model_is_asked_before_the_server_for_all():
    judges.resolve_with(lambda model, team: OWN if model == "shared/champion" else None)

    with judges.using(Judges({"*": Endpoint("https://all/v1")})):
        assert judges.look_up("shared/champion") == OWN
        assert judges.look_up("gpt-5").url == "https://all/v1"


def test_an_operators_pattern_goes_before_a_served_model():
    judges.resolve_with(lambda model, team: OWN)

    with judges.using(Judges({"shared/*": Endpoint("https://named/v1")})):
        assert judges.look_up("shared/champion").url == "https://named/v1"


def test_the_resolver_is_told_for_which_team():
    asked = []
    judges.resolve_with(lambda model, team: asked.append(team))

    with judges.using(Judges()):
        judges.unavailable("m")
        with judges.for_team(7):
            judges.unavailable("m")

    assert asked == [None, 7]


def test_a_settled_model_is_looked_up_once():
    asked = []
    judges.resolve_with(lambda model, team: asked.append(model) or OWN)

    with judges.using(Judges()), judges.settled(["m"]):
        judges.look_up("m")
        judges.look_up("m")

    assert asked == ["m"]


def test_what_a_name_means_is_looked_up_once_for_a_team():
    asked = []
    judges.resolve_with(lambda model, team: asked.append((model, team)))

    with judges.using(Judges()):
        for team in (7, 8):
            with judges.for_team(team):
                judges.unavailable("m")
                judges.unavailable("m")

    assert asked == [("m", 7), ("m", 8)]


def test_an_engine_reads_its_judges_from_an_open_descriptor_once(monkeypatch: pytest.MonkeyPatch):
    bench = Judges({"*": OWN}, seconds=9)
    reading, writing = os.pipe()
    os.write(writing, msgspec.json.encode(bench))
    os.close(writing)
    monkeypatch.setenv(judges.DESCRIPTOR, str(reading))

    assert judges.current() == judges.current() == bench
    assert judges.DESCRIPTOR not in os.environ
    with pytest.raises(OSError):
        os.fstat(reading)


def test_a_key_does_not_show_when_judges_are_printed():
    assert "secret" not in repr(Judges({"*": OWN}))
