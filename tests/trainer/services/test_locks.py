"""A locked name stays where it is."""

from collections.abc import Callable

import pytest

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, Event, User
from tests.trainer.services.settling import settle
from trainer.models import GateReport, Line
from trainer.services import locks, promotion, recipes, runs
from trainer.states import AliasName

CHAMPION = AliasName.CHAMPION


@pytest.fixture
def promote(line: Line, fill: Callable[..., Dataset], operator: User, knobs: Callable[..., None]):
    """A candidate that the gate promotes."""

    def one() -> GateReport:
        knobs(champion=0.3, candidate=0.7)
        fill(sealed=60)
        recipe = recipes.create(line, "all", {}, actor=operator, overrides={"steps": 4})
        runs.start(line, actor=operator, recipe=recipe)
        settle(GateReport.objects.filter(line=line).exists)
        return GateReport.objects.get(line=line)

    return one


def test_the_gates_promotion_waits_while_the_champion_is_locked(promote, line: Line, operator: User):
    locks.lock(line, CHAMPION, actor=operator, reason="A demo on Friday.")

    report = promote()

    assert (report.verdict, line.alias(CHAMPION).number) == ("PROMOTE", 0)


def test_what_was_promoted_meanwhile_can_be_signed_after_unlocking(promote, line: Line, operator: User):
    locks.lock(line, CHAMPION, actor=operator, reason="A demo on Friday.")
    candidate = promote().evaluation.candidate
    with pytest.raises(Conflict, match=r"locked by olga \(“A demo on Friday.”\). Unlock it first."):
        promotion.promote(candidate, actor=operator, reason="It is better.")

    locks.unlock(line, CHAMPION, actor=operator)
    promotion.promote(candidate, actor=operator, reason="It is better.")

    assert line.alias(CHAMPION) == candidate


def test_a_locked_champion_is_not_rolled_back(promote, line: Line, operator: User):
    promote()
    locks.lock(line, CHAMPION, actor=operator, reason="A demo on Friday.")

    with pytest.raises(Conflict, match="Unlock it first"):
        promotion.roll_back(line, actor=operator, reason="Users complain.")


def test_one_name_is_locked_and_the_others_move(promote, line: Line, operator: User):
    locks.lock(line, AliasName.ANCHOR, actor=operator, reason="Agreed with the board.")
    candidate = promote().evaluation.candidate

    with pytest.raises(Conflict, match="anchor of"):
        promotion.move(line, AliasName.ANCHOR, candidate, actor=operator, reason="It is good.")

    assert line.alias(CHAMPION) == candidate


def test_a_locked_challenger_is_not_replaced_by_the_next_run(promote, line: Line, operator: User):
    first = promote().evaluation.candidate
    locks.lock(line, AliasName.CHALLENGER, actor=operator, reason="Under inspection.")

    run = runs.start(line, actor=operator, recipe=line.recipes.get())
    settle(lambda: line.versions.filter(run=run).exists())

    assert line.alias(AliasName.CHALLENGER) == first


def test_the_first_lock_stays_with_its_reason(line: Line, operator: User):
    locks.lock(line, CHAMPION, actor=operator, reason="First.")

    assert locks.lock(line, CHAMPION, actor=operator, reason="Second.").lock_reason == "First."


def test_every_lock_and_unlock_is_told_once(line: Line, operator: User):
    for _ in range(2):
        locks.lock(line, CHAMPION, actor=operator, reason="A demo.")
    for _ in range(2):
        locks.unlock(line, CHAMPION, actor=operator)

    kinds = list(Event.objects.filter(kind__startswith="alias.").order_by("pk").values_list("kind", flat=True))
    assert kinds[-2:] == ["alias.locked", "alias.unlocked"]
    assert kinds.count("alias.locked") == 1


def test_a_lock_needs_a_reason(line: Line, operator: User):
    with pytest.raises(Invalid, match="Say why"):
        locks.lock(line, CHAMPION, actor=operator, reason=" ")


def test_a_name_that_points_nowhere_cannot_be_locked(line: Line, operator: User):
    with pytest.raises(Conflict, match="no challenger yet"):
        locks.lock(line, AliasName.CHALLENGER, actor=operator, reason="A demo.")


def test_who_may_not_ship_may_not_lock(line: Line, stranger: User):
    with pytest.raises(Forbidden):
        locks.lock(line, CHAMPION, actor=stranger, reason="A demo.")
    with pytest.raises(Forbidden):
        locks.unlock(line, CHAMPION, actor=stranger)
