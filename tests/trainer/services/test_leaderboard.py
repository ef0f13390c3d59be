"""The leaderboard: who stands where, who waits for what, and by which name."""

import pytest

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Team, User
from tasks.models.events import Event
from tasks.services import accounts, datasets
from tests.trainer.services.crediting import Fill, Turns, held_out, train_rows
from trainer.models import Line
from trainer.services import leaderboard
from trainer.services.leaderboard import ANONYMOUS, Board


@pytest.fixture
def turn(line: Line) -> Turns:
    return Turns(line)


@pytest.fixture
def ben(db: None) -> User:
    return User.objects.create_user("ben")


@pytest.fixture
def second(ben: User) -> Team:
    return accounts.create_team("Ben's", actor=ben)


def seen(line: Line, *own: Team) -> Board:
    return leaderboard.board(line, own=[team.pk for team in own])


def test_the_lower_end_of_the_interval_decides_the_place(turn: Turns, fill: Fill, line: Line, second: Team):
    """Ben's 24 rows rose by more than Ada's 200, and may well have risen by less."""
    many, few = fill("many", sealed=100), fill("few", sealed=12, owner=second)
    after = dict.fromkeys(held_out(many), 0.7) | dict.fromkeys(held_out(few), 0.78)

    turn(held_out(many) + held_out(few), before=0.3, after=after, trained=train_rows(many) + train_rows(few))

    first, other = seen(line).standings
    assert (first.name, other.name) == ("Ada's", "Ben's")
    assert first.effect.low > other.effect.low
    assert first.effect.difference < other.effect.difference


def test_promotions_are_added_up(turn: Turns, fill: Fill, line: Line):
    dataset = fill()
    items, trained = held_out(dataset), train_rows(dataset)
    reports = [turn(items, before=low, after=low + 0.2, trained=trained) for low in (0.2, 0.4)]

    (one,) = seen(line).standings

    effects = [report.credit.get(dataset=None).effect["difference"] for report in reports]
    assert one.versions == ("shared/v1", "shared/v2")
    assert one.effect.difference == pytest.approx(sum(effects))


def test_a_promotion_without_ones_rows_earns_nothing(turn: Turns, fill: Fill, line: Line, second: Team):
    mine, theirs = fill("mine"), fill("theirs", owner=second)
    datasets.freeze(theirs, actor=None)

    turn(held_out(mine) + held_out(theirs), trained=train_rows(mine))

    board = seen(line)
    assert [one.name for one in board.standings] == ["Ada's"]
    assert [(one.name, one.missing) for one in board.waiting] == [("Ben's", 0)]
    assert "None of its tasks has trained a champion yet" in board.waiting[0].sentence


def test_too_few_rows_wait_with_what_they_need(turn: Turns, fill: Fill, line: Line):
    small = fill("small", sealed=4)
    datasets.freeze(small, actor=None)

    turn(held_out(small), before=0.0, after=1.0, trained=train_rows(small))

    (one,) = seen(line).waiting
    assert (one.missing, one.sentence) == (12, "12 more held-out tasks are needed.")
    assert (one.effect.before, one.effect.after) == (0.0, 1.0)
    assert seen(line).standings == ()


def test_whoever_contributed_before_any_promotion_is_there_too(fill: Fill, line: Line):
    datasets.freeze(fill(), actor=None)

    (one,) = seen(line).waiting

    assert (one.name, one.sentence) == ("Ada's", "No promotion has measured it yet: the next one does.")


def test_a_candidate_that_was_held_counts_nothing(turn: Turns, fill: Fill, line: Line):
    dataset = fill()

    turn(held_out(dataset), trained=train_rows(dataset), verdict="HOLD")

    assert (seen(line).versions, seen(line).standings) == ((), ())


def test_a_team_with_private_rows_alone_is_nowhere(turn: Turns, fill: Fill, line: Line, second: Team):
    gift = fill("gift")
    secret = fill("secret", visibility="private", owner=second)
    datasets.freeze(secret, actor=None)

    turn(held_out(gift), trained=train_rows(gift))

    board = seen(line)
    assert "Ben's" not in {one.name for one in [*board.standings, *board.waiting]}


def test_a_loss_is_shown_as_one(turn: Turns, fill: Fill, line: Line, second: Team):
    won, lost = fill("won"), fill("lost", owner=second)
    after = dict.fromkeys(held_out(won), 0.9) | dict.fromkeys(held_out(lost), 0.2)

    turn(held_out(won) + held_out(lost), before=0.5, after=after, trained=train_rows(won) + train_rows(lost))

    assert [(one.name, one.claim.value) for one in seen(line).standings] == [("Ada's", "better"), ("Ben's", "worse")]


# Names


def standing_names(line: Line, *own: Team) -> list[str]:
    return [one.name for one in seen(line, *own).standings]


def test_a_team_chooses_how_it_is_named(turn: Turns, fill: Fill, line: Line, team: Team, contributor: User):
    dataset = fill()
    turn(held_out(dataset), trained=train_rows(dataset))

    leaderboard.set_name(team, "  Ada  and friends ", anonymous=False, actor=contributor)

    assert standing_names(line) == ["Ada and friends"]
    assert Event.objects.get(kind="team.credit_name").data == {"name": "Ada and friends", "anonymous": False}


def test_without_a_name_only_the_team_itself_sees_whose_figures_they_are(
    turn: Turns, fill: Fill, line: Line, team: Team, contributor: User
):
    dataset = fill()
    turn(held_out(dataset), trained=train_rows(dataset))

    leaderboard.set_name(team, "", anonymous=True, actor=contributor)

    assert standing_names(line) == [ANONYMOUS]
    assert standing_names(line, team) == [f"Ada's (others read: {ANONYMOUS})"]


@pytest.mark.parametrize("name", ["ada's", "ANONYMOUS contributor", "Friends of ada"])
def test_nobody_takes_the_name_of_another(team: Team, contributor: User, second: Team, ben: User, name: str):
    leaderboard.set_name(team, "Friends of Ada", anonymous=False, actor=contributor)

    with pytest.raises(Conflict, match="choose another name"):
        leaderboard.set_name(second, name, anonymous=False, actor=ben)


def test_a_name_of_control_characters_or_endless_length_is_refused(team: Team, contributor: User):
    for name in ("Ada\u202e", "a" * 61):
        with pytest.raises(Invalid, match="at most 60 printable"):
            leaderboard.set_name(team, name, anonymous=False, actor=contributor)


def test_only_an_administrator_of_the_team_names_it(team: Team, ben: User, contributor: User):
    accounts.join(team, ben, "contributor", actor=contributor)

    with pytest.raises(Forbidden):
        leaderboard.set_name(team, "Ours", anonymous=False, actor=ben)
