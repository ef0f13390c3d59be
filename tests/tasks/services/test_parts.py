import hashlib
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tasks.errors import Forbidden, Invalid, NoSpace
from tasks.models import Event, File, FileInParts, FilePart
from tasks.services import parts, pruning, storage, uploads
from tasks.states import PartsState
from tests.cast import Person
from tests.tasks.services.test_files import lying, run

pytestmark = pytest.mark.django_db(transaction=True)


def begun(person: Person, size: int = 6, **given: Any) -> FileInParts:
    about = {"filename": "a.txt", "purpose": "user_data", "actor": person.user, **given}
    return parts.begin(person.team, size=size, **about)


def sent(whole: FileInParts, person: Person, *contents: bytes) -> list[int]:
    return [parts.add(whole, [content], actor=person.user).pk for content in contents]


def test_the_file_is_the_parts_in_order_and_the_parts_are_gone(contributor: Person, files: Path):
    whole = begun(contributor)
    first, second = sent(whole, contributor, b"abc", b"def")

    done = parts.complete(whole, [second, first], actor=contributor.user)

    assert done.file is not None
    assert lying(files) == [storage.stored_file(done.file)]
    assert storage.stored_file(done.file).read_bytes() == b"defabc"


def test_the_events_tell_what_became_of_it(contributor: Person):
    whole = begun(contributor)
    parts.complete(whole, sent(whole, contributor, b"abcdef"), actor=contributor.user)
    parts.cancel(begun(contributor), actor=contributor.user)

    kinds = Event.objects.filter(subject_type="fileinparts").order_by("pk").values_list("kind", "actor")
    assert list(kinds) == [
        ("fileinparts.completed", contributor.user.pk),
        ("fileinparts.cancelled", contributor.user.pk),
    ]


def test_two_who_complete_at_once_get_one_file(contributor: Person):
    whole = begun(contributor)
    order = sent(whole, contributor, b"abcdef")
    made: list[int | None] = []
    ready = threading.Barrier(3)

    def complete() -> None:
        ready.wait()
        try:
            made.append(parts.complete(whole, order, actor=contributor.user).file_id)
        finally:
            connection.close()

    threads = [threading.Thread(target=complete) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(made), len(set(made)), File.objects.count()) == (3, 1, 1)


def test_an_md5_may_be_written_in_capitals(contributor: Person):
    whole = begun(contributor)
    md5 = hashlib.md5(b"abcdef", usedforsecurity=False).hexdigest().upper()

    done = parts.complete(whole, sent(whole, contributor, b"abcdef"), actor=contributor.user, md5=md5)

    assert done.state == PartsState.COMPLETED


def test_a_wrong_md5_leaves_the_parts_and_nothing_else(contributor: Person, files: Path):
    whole = begun(contributor)
    order = sent(whole, contributor, b"abcdef")

    with pytest.raises(Invalid):
        parts.complete(whole, order, actor=contributor.user, md5="0" * 32)

    assert ([path.suffix for path in lying(files)], File.objects.count()) == ([".piece"], 0)


def test_a_sender_that_goes_away_leaves_nothing(contributor: Person, files: Path):
    def broken() -> Any:
        yield b"ab"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        parts.add(begun(contributor), broken(), actor=contributor.user)

    assert (lying(files), FilePart.objects.count()) == ([], 0)


def test_a_full_disk_is_said_and_nothing_kept(contributor: Person, files: Path, monkeypatch: Any):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)

    with pytest.raises(NoSpace):
        sent(begun(contributor), contributor, b"abc")

    assert lying(files) == []


def test_nothing_is_begun_for_which_the_disk_has_no_room(contributor: Person, files: Path, monkeypatch: Any):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())

    with pytest.raises(NoSpace):
        begun(contributor, size=6)

    assert FileInParts.objects.count() == 0


def test_a_stranger_does_nothing_with_it(contributor: Person, stranger: Person):
    whole = begun(contributor)

    for ask in (
        lambda: sent(whole, stranger, b"abc"),
        lambda: parts.complete(whole, [], actor=stranger.user),
        lambda: parts.cancel(whole, actor=stranger.user),
        lambda: parts.begin(contributor.team, size=1, filename="a", purpose="user_data", actor=stranger.user),
    ):
        with pytest.raises(Forbidden):
            ask()


def test_a_part_that_comes_while_it_is_cancelled_is_not_kept(contributor: Person, files: Path):
    whole = begun(contributor)

    def cancelling() -> Any:
        yield b"abc"
        parts.cancel(whole, actor=contributor.user)

    with pytest.raises(Invalid, match="cancelled"):
        parts.add(whole, cancelling(), actor=contributor.user)

    assert lying(files) == []


def test_the_sweep_ends_what_is_past_its_time_and_spares_the_rest(contributor: Person, files: Path):
    late, early = begun(contributor), begun(contributor)
    sent(late, contributor, b"abc")
    sent(early, contributor, b"def")
    FileInParts.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(seconds=1))

    parts.reap(older_than_seconds=-1)

    states = dict(FileInParts.objects.values_list("pk", "state"))
    assert states == {late.pk: "expired", early.pk: "pending"}
    assert [path.read_bytes() for path in lying(files)] == [b"def"]


def test_the_other_reapers_let_pieces_be(contributor: Person, files: Path):
    sent(begun(contributor), contributor, b"abc")

    uploads.reap(older_than_seconds=-1)
    pruning.prune([pruning.Rule("incoming", 1, lambda _: pruning._incoming(timezone.now() + timedelta(days=1)))])

    assert len(lying(files)) == 1


def test_a_piece_that_nobody_knows_is_reaped(contributor: Person, files: Path):
    (storage.incoming() / "nothing.piece").write_bytes(b"a")
    (storage.incoming() / f"{'0' * 32}.piece").write_bytes(b"a")

    assert (parts.reap(older_than_seconds=-1), lying(files)) == (2, [])


def test_a_piece_that_is_being_written_is_let_be(contributor: Person, files: Path):
    def watched() -> Any:
        yield b"abc"
        assert parts.reap(older_than_seconds=-1) == 0

    parts.add(begun(contributor), watched(), actor=contributor.user)

    assert len(lying(files)) == 1


# Killed

_WHO = "from tasks.models import FileInParts, User\nfrom tasks.services import parts\n"


def _script(verb: str, whole: FileInParts, person: Person, rest: str) -> str:
    actor = f"User.objects.get(pk={person.user.pk})"
    return f"{_WHO}parts.{verb}(FileInParts.objects.get(pk={whole.pk}), {rest}, actor={actor})"


def test_a_kill_between_a_piece_and_its_row_leaves_what_the_sweep_removes(
    contributor: Person, server_environment: dict[str, str], files: Path
):
    whole = begun(contributor)

    ended = run(_script("add", whole, contributor, "[b'abc']"), server_environment, files, "parts.before_row")

    assert (ended, len(lying(files)), FilePart.objects.count()) == (-signal.SIGKILL, 1, 0)
    parts.reap(older_than_seconds=-1)
    assert lying(files) == []


@pytest.mark.parametrize("point", ["file.after_link", "parts.before_commit"])
def test_a_completion_that_was_killed_can_be_done_again(
    contributor: Person, server_environment: dict[str, str], files: Path, point: str
):
    whole = begun(contributor)
    order = sent(whole, contributor, b"abc", b"def")
    ended = run(_script("complete", whole, contributor, repr(order)), server_environment, files, point)
    assert (ended, File.objects.count()) == (-signal.SIGKILL, 0)
    uploads.reap(older_than_seconds=-1)

    done = parts.complete(whole, order, actor=contributor.user)

    assert done.file is not None
    assert [path.read_bytes() for path in lying(files)] == [b"abcdef"]
