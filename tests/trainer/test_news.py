"""The vocabulary of news and its words."""

import json

import pytest

from trainer import news
from trainer.news import CHOICES, News

RUN = {"run": 12, "line": "shared", "sentence": "All 30 steps are done.", "version": None, "code": ""}


def test_everything_but_a_test_can_be_chosen():
    assert set(CHOICES) == set(News) - {News.TEST}


def test_every_kind_of_news_comes_of_an_event():
    made = {news.of_event(kind, {"back": back}) for kind in news.EVENT_KINDS for back in (True, False)}

    assert made == set(CHOICES)


def test_a_body_says_type_time_and_data_and_nothing_else():
    told = json.loads(news.body(News.RUN_FAILED, "2026-01-02T03:04:05+00:00", RUN))

    assert told == {"type": "run.failed", "timestamp": "2026-01-02T03:04:05+00:00", "data": RUN}


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        (News.RUN_SUCCEEDED, RUN, "Run 12 of shared succeeded"),
        (News.RUN_FAILED, RUN, "Run 12 of shared failed"),
        (News.RUN_PAUSED, RUN, "Run 12 of shared is paused"),
        (News.RUN_CANCELLED, RUN, "Run 12 of shared was cancelled"),
        (News.EVALUATION_FAILED, {"candidate": "shared/v3"}, "The evaluation of shared/v3 failed"),
        (
            News.GATE_DECIDED,
            {"verdict": "HOLD", "candidate": "shared/v3", "champion": "shared/v2"},
            "HOLD: shared/v3 against shared/v2",
        ),
        (News.MODEL_PROMOTED, {"version": "shared/v3", "line": "shared"}, "shared/v3 is champion of shared"),
        (News.MODEL_ROLLED_BACK, {"version": "shared/v2", "line": "shared"}, "shared/v2 is champion of shared again"),
        (News.TEST, {"webhook": "Chat"}, "A test of Chat"),
    ],
)
def test_each_has_a_headline(kind: News, data: dict[str, object], said: str):
    assert news.headline(kind, data) == said


def test_a_mail_leaves_out_what_is_empty():
    subject, text = news.mail(news.body(News.RUN_SUCCEEDED, "2026-01-02T03:04:05+00:00", RUN))

    assert subject == "[Flywheel] Run 12 of shared succeeded"
    assert text.splitlines()[:3] == ["run: 12", "line: shared", "sentence: All 30 steps are done."]
    assert "version" not in text
