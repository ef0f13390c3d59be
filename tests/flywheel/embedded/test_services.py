import socket

import pytest

from flywheel.embedded.refusals import EmbeddedError
from flywheel.embedded.services import claim_port


def test_a_port_in_use_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("WEB_PORT", str(taken.getsockname()[1]))

        with pytest.raises(EmbeddedError, match=r"already in use: .* choose another port with WEB_PORT"):
            claim_port("WEB_PORT", 8000)


@pytest.mark.parametrize("nonsense", ["http", "-1", "65536", "80.5"])
def test_a_port_that_is_no_port_is_refused(nonsense: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WEB_PORT", nonsense)

    with pytest.raises(EmbeddedError, match="WEB_PORT must be a port number"):
        claim_port("WEB_PORT", 8000)


def test_zero_stands_for_any_free_port(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WEB_PORT", "0")

    assert claim_port("WEB_PORT", 8000) > 0
