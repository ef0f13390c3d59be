import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.openai_compat import ids


@given(st.integers(min_value=1, max_value=2**63 - 1))
def test_an_id_leads_back_to_its_key(key: int):
    assert ids.decode(ids.JOB, ids.encode(ids.JOB, key)) == key


def test_ids_of_two_kinds_do_not_end_alike():
    assert ids.encode(ids.JOB, 7).removeprefix(ids.JOB) != ids.encode(ids.FILE, 7).removeprefix(ids.FILE)


def test_an_id_is_of_one_kind_only():
    assert ids.decode(ids.FILE, ids.encode(ids.JOB, 7)) is None


@pytest.mark.parametrize(
    "given", ["", "file-", "file-abc", "file-" + "Z" * 11, "file-" + "é" * 11, "file-00000000000/"]
)
def test_what_is_no_id_has_no_key(given: str):
    assert ids.decode(ids.FILE, given) is None
