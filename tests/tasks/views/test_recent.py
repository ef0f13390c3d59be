import pytest

from tasks.views import recent


class Counting:
    """A count that takes so many seconds of a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.takes, self.asked = 1000.0, 0.0, 0
        monkeypatch.setattr(recent, "monotonic", lambda: self.now)
        monkeypatch.setattr(recent, "QUICK_SECONDS", 0.2)
        recent._held.clear()

    def __call__(self) -> int:
        self.asked += 1
        self.now += self.takes
        return self.asked


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    return Counting(monkeypatch)


def test_a_quick_count_is_always_the_newest(counting: Counting):
    counting.takes = 0.19

    assert [recent.recent("a", counting) for _ in range(3)] == [1, 2, 3]


def test_a_slow_count_is_shown_again_for_fifty_times_as_long(counting: Counting):
    counting.takes = 1.0
    recent.recent("a", counting)

    counting.now += 49.9
    assert recent.recent("a", counting) == 1

    counting.now += 0.2
    assert recent.recent("a", counting) == 2


def test_what_has_become_quick_is_counted_at_once_again(counting: Counting):
    counting.takes = 1.0
    recent.recent("a", counting)
    counting.now, counting.takes = counting.now + 60, 0.0

    assert [recent.recent("a", counting) for _ in range(2)] == [2, 3]


def test_one_question_does_not_answer_another(counting: Counting):
    counting.takes = 1.0

    assert [recent.recent(key, counting) for key in ("a", "b", "a")] == [1, 2, 1]


def test_no_more_answers_are_kept_than_the_most(counting: Counting, monkeypatch: pytest.MonkeyPatch):
    counting.takes = 1.0
    monkeypatch.setattr(recent, "MOST_KEPT", 2)

    for key in ("a", "b", "c"):
        recent.recent(key, counting)

    assert list(recent._held) == ["b", "c"]
