import os
import stat
from pathlib import Path

import pytest

from flywheel.embedded.places import Places, make_private, make_secrets


def test_the_sockets_lie_inside_the_data_folder_where_its_path_is_short(tmp_path: Path):
    data = Path("/srv/flywheel")

    assert Places(data).run == data / "run"


def test_a_long_data_folder_moves_the_sockets_to_a_short_path_of_its_own(tmp_path: Path):
    long = tmp_path / ("x" * 100)

    run = Places(long).run

    assert len(os.fsencode(run / ".s.PGSQL.5432.lock")) <= 107
    assert run != Places(long / "y").run


def test_secrets_are_random_and_for_the_owner_only(tmp_path: Path):
    make_secrets(tmp_path)

    files = [tmp_path / "secret_key", tmp_path / "model_server_token"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert len({file.read_text() for file in files}) == 2


def test_secrets_are_made_once(tmp_path: Path):
    make_secrets(tmp_path)
    first = (tmp_path / "secret_key").read_text()

    make_secrets(tmp_path)

    assert (tmp_path / "secret_key").read_text() == first
    assert sorted(os.listdir(tmp_path)) == ["model_server_token", "secret_key"]


def test_a_private_folder_is_closed_to_others(tmp_path: Path):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o777)

    make_private(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_that_somebody_put_in_the_way_is_refused(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "run"
    link.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(PermissionError, match="another account"):
        make_private(link)
